/** Thrown by a handler: try this event again later. Its connection's later events wait behind it. */
export class Retry extends Error {
  /** Milliseconds to wait, 24 days at most; undefined for the back-off that any error gets. */
  readonly afterMs: number | undefined;
  /** @throws RangeError for what is no length of time. */
  constructor(afterMs?: number, options?: ErrorOptions) {
    super("retry: the handler asked to be called again", options);
    if (afterMs !== undefined && !(afterMs >= 0)) throw new RangeError("retry takes milliseconds, 0 or more");
    this.name = "Retry";
    this.afterMs = afterMs === undefined ? undefined : Math.min(afterMs, TIMER_MS_MAX);
  }
}

/** A timer of Node's that is set for longer ends at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Thrown by a handler: never try this event again. It becomes a dead letter, and its connection goes on. */
export class Drop extends Error {
  /** Shown to whoever looks after dead letters; no personal data. Cut at 500 characters; what is no text becomes a space. */
  readonly reason: string;
  constructor(reason: string, options?: ErrorOptions) {
    super("drop: the handler gave the event up", options);
    this.name = "Drop";
    this.reason = shown(reason);
  }
}

/** A reason as every road can carry it; an untyped caller may give none. */
export const shown = (reason: unknown): string =>
  (typeof reason === "string" ? reason : "no reason given")
    .replaceAll(/\p{Cc}/gu, " ")
    .slice(0, 500)
    .toWellFormed();

/** `throw retry(5_000)`: see {@link Retry}. */
export const retry = (afterMs?: number): Retry => new Retry(afterMs);

/** `throw drop("unknown customer")`: see {@link Drop}. */
export const drop = (reason: string): Drop => new Drop(reason);

/** What became of an event, for its source. */
export type Settlement =
  | { readonly outcome: "handled" }
  | { readonly outcome: "dead_letter"; readonly reason: string; readonly attempts: number }
  /** Delivered again while it is under way: of this delivery nobody will say anything. */
  | { readonly outcome: "pending" }
  /** Not settled: the subscriber is stopping, and somebody else shall have it at once. */
  | { readonly outcome: "released" };
