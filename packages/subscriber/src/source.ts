import type { EventAttributes } from "@tributary/contracts";
import type { Settlement } from "./outcome.ts";

/** One event as it came, and the way to answer. */
export interface Delivery {
  readonly attributes: Omit<EventAttributes, "onlyFor">;
  readonly data: Uint8Array;
  /** How often it was delivered, from 1. */
  readonly attempt: number;
  /**
   * Tells the source, and tries again for as long as it is away: an outcome that nobody heard is lost, and with it a dead
   * letter. Settling twice is harmless.
   * @param giveUp the subscriber ends and waits no longer: the event comes again, to whoever reads next. @throws then.
   */
  settle(settlement: Settlement, giveUp: AbortSignal): Promise<void> | undefined;
}

/** What a source has for whoever drives it. */
export interface Sink {
  take(delivery: Delivery): void;
  /** Events that were gone before this consumer came to them: it will not get them. */
  gone(events: Gone): void;
}

/** Events of one connection, one after the other, that are no longer there. */
export interface Gone {
  readonly connectionId: string;
  /** How many, of whatever type. */
  readonly count: number;
  /** Sequence of the last of them. */
  readonly upTo: bigint;
}

/** Where events come from. */
export interface Source {
  /** Connects. @throws SubscriberError when it makes no sense to try again. */
  open(): Promise<void>;
  /**
   * Hands deliveries over as they come, until the signal aborts; reconnects by itself. At most `window` are unsettled at
   * a time, so whoever takes them need not slow it down. @throws SubscriberError when it cannot go on.
   */
  run(signal: AbortSignal, sink: Sink): Promise<void>;
  /** After everything is settled or given up. */
  close(): Promise<void>;
}

/** What is shown to be let in, or whom to ask for it. */
export type Shown = string | (() => string | Promise<string>);

export interface SourceOptions {
  readonly url: URL;
  /** Of a broker's cluster: the hosts with their ports, that of `url` first. */
  readonly hosts: readonly string[];
  readonly name: string;
  readonly token: Shown | undefined;
  readonly credentials: Shown | undefined;
  readonly organization: string | undefined;
  /** Full protobuf names that have a handler. */
  readonly types: readonly string[];
  /** Undefined: whatever the consumer has, and {@link WINDOW} for a new one. */
  readonly window: number | undefined;
  /** Undefined: whatever the consumer has, and {@link ACK_WAIT_MS} for a new one. */
  readonly ackWaitMs: number | undefined;
  readonly log: SubscriberLog;
  readonly backoff: (attempt: number) => number;
}

export const WINDOW = 1_000;
export const WINDOW_MAX = 10_000;
export const ACK_WAIT_MS = 10_000;

/** Structured: fields are ids, codes and counts, never content. */
export interface SubscriberLog {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

/** The subscription cannot work as it is set up. */
export class SubscriberError extends Error {
  readonly code: "consumer_differs" | "stream_missing" | "refused" | "unreachable" | "usage";
  constructor(code: SubscriberError["code"], message: string, options?: ErrorOptions) {
    super(`${code}: ${message}`, options);
    this.name = "SubscriberError";
    this.code = code;
  }
}
