/** Thrown by a handler: try this event again later. Its connection's later events wait behind it. */
export class Retry extends Error {
  /** Milliseconds to wait; undefined for the back-off that any error gets. */
  readonly afterMs: number | undefined;
  constructor(afterMs?: number, options?: ErrorOptions) {
    super("retry: the handler asked to be called again", options);
    this.name = "Retry";
    this.afterMs = afterMs;
  }
}

/** Thrown by a handler: never try this event again. It becomes a dead letter, and its connection goes on. */
export class Drop extends Error {
  /** Shown to whoever looks after dead letters; at most 500 characters, no personal data. */
  readonly reason: string;
  constructor(reason: string, options?: ErrorOptions) {
    super("drop: the handler gave the event up", options);
    this.name = "Drop";
    this.reason = reason;
  }
}

/** `throw retry(5_000)`: see {@link Retry}. */
export const retry = (afterMs?: number): Retry => new Retry(afterMs);

/** `throw drop("unknown customer")`: see {@link Drop}. */
export const drop = (reason: string): Drop => new Drop(reason);

/** What became of an event, for its source. */
export type Settlement =
  | { readonly outcome: "handled" }
  | { readonly outcome: "dead_letter"; readonly reason: string; readonly attempts: number }
  /** Not settled: the subscriber is stopping, and somebody else shall have it at once. */
  | { readonly outcome: "released" };
