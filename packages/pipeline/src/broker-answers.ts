import { JetStreamApiError } from "@nats-io/jetstream";
import { natsReason } from "./nats-connection.ts";

/** What became of one published event. */
export type Outcome =
  | { readonly kind: "stored"; readonly streamSequence: number }
  /** The stream has had it: by its id, within the last two minutes. */
  | { readonly kind: "duplicate"; readonly streamSequence: number }
  /** The stream did not end where, or with what, it was expected to. */
  | { readonly kind: "out_of_turn" }
  /** The event itself is refused, for good. */
  | { readonly kind: "poison"; readonly reason: string }
  /** The broker refused this event, for now or for a reason that may pass. */
  | { readonly kind: "refused"; readonly reason: string }
  /** Nothing can be published now; or nobody answered, and the event may or may not be in the stream. */
  | { readonly kind: "unavailable"; readonly reason: string };

export interface PubAck {
  readonly seq?: number;
  readonly duplicate?: boolean;
  readonly error?: { readonly err_code?: number; readonly code?: number; readonly description?: string };
}

/** Codes of nats-server's `server/errors.json`, up to 2.15. What is not here is refused for now. */
const OUT_OF_TURN = new Set([
  10_070, // wrong last msg ID
  10_071, // wrong last sequence
  10_164, // wrong last sequence, as a constant: nats-server 2.12
]);

const POISON = new Map([
  [10_054, "message_too_large"],
  [10_097, "headers_too_large"],
]);

/** The stream, the account or the server as a whole: any other event would be refused as well, so nothing is held or parked. */
const WHOLE = new Map([
  [10_002, "account_limit_reached"],
  [10_008, "jetstream_unavailable"],
  [10_009, "jetstream_unavailable"], // not the leader: it has just moved
  [10_023, "insufficient_resources"],
  [10_028, "insufficient_memory"],
  [10_039, "jetstream_not_enabled"],
  [10_047, "insufficient_storage"],
  [10_076, "jetstream_not_enabled"],
  [10_109, "stream_sealed"],
  // The same id is on its way to the replicas: 2.10 and newer say so of what a window left behind at the last leader.
  [10_158, "duplicate_in_process"],
]);

const STORE_FAILED = 10_077;

/** Tells what an answer of JetStream to a published event means. */
export function outcome({ seq, duplicate, error }: PubAck): Outcome {
  if (error === undefined && seq !== undefined)
    return { kind: duplicate === true ? "duplicate" : "stored", streamSequence: seq };
  const code = error?.err_code ?? error?.code ?? 0;
  if (OUT_OF_TURN.has(code)) return { kind: "out_of_turn" };
  const poison = POISON.get(code);
  if (poison !== undefined) return { kind: "poison", reason: poison };
  const whole = code === STORE_FAILED ? storeFailed(error?.description ?? "") : WHOLE.get(code);
  if (whole !== undefined) return { kind: "unavailable", reason: whole };
  return { kind: "refused", reason: `refused_${code === 0 ? "unknown" : code}` };
}

/**
 * One code stands for everything that the store may fail with, and only the words tell them apart (`server/store.go`). A
 * limit for each subject concerns this event alone.
 */
function storeFailed(description: string): string | undefined {
  if (description.includes("per subject")) return undefined;
  return /maximum (messages|bytes)/.test(description) ? "stream_full" : "store_failed";
}

export const STREAM_NOT_FOUND = 10_059;
export const CONSUMER_NOT_FOUND = 10_014;
/** Two codes: it was never there or is gone, and it is gone already when somebody deletes it. */
export const MESSAGE_NOT_FOUND = [10_037, 10_057] as const;

/** For a `catch`: these refusals of JetStream are no error, everything else goes on. */
export const nothingWhen =
  (...codes: number[]) =>
  (error: unknown): undefined => {
    if (error instanceof JetStreamApiError && codes.includes(error.code)) return undefined;
    throw error;
  };

/** Why the broker or the database could not be used, as a code that an operator can search for. */
export function troubleReason(error: unknown): string {
  if (error instanceof BrokerTrouble) return error.message;
  if (error instanceof JetStreamApiError) return WHOLE.get(error.code) ?? `jetstream_${error.code}`;
  // The client's class of that name is not one that it lets be imported.
  if (error instanceof Error && error.name === "JetStreamNotEnabled") return "jetstream_not_enabled";
  return natsReason(error) ?? databaseReason(error) ?? (error instanceof Error ? error.name : "unknown");
}

/** SQLSTATE, or the system's code of a connection that failed; a driver's error may stand below another. */
function databaseReason(error: unknown): string | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code } = at as NodeJS.ErrnoException;
    if (typeof code === "string") return `database_${code.toLowerCase()}`;
  }
  return undefined;
}

/** The broker answered that it cannot, or did not answer. */
export class BrokerTrouble extends Error {
  /** @param reason a code. */
  constructor(reason: string) {
    super(reason);
    this.name = "BrokerTrouble";
  }
}
