import type { MsgHdrs } from "@nats-io/transport-node";
import { eventHeaders } from "@tributary/contracts";
import type { LedgerEvent } from "./ledger.ts";

/** What the stream has to end with for an event to be taken. */
export interface Expected {
  readonly lastSequence: number;
  /** Of the event before it in the same window. */
  readonly before?: LedgerEvent | undefined;
}

/**
 * The headers of a published event, as the bytes that the client would make of them. Its own `set` looks through every
 * name for each: 7.1 µs for an event, against 1.6 µs here, which was the greatest part of the relay's time.
 */
export function publishHeaders(event: LedgerEvent, { lastSequence, before }: Expected): MsgHdrs {
  let text = "NATS/1.0";
  for (const [name, value] of eventHeaders({ ...event, time: new Date(event.timeMs).toISOString() }))
    text += line(name, value);
  text += line("Nats-Msg-Id", messageId(event));
  text += line("Nats-Expected-Last-Sequence", String(lastSequence));
  // Somebody else's message in the first place would make the numbers right again for all that follow it.
  if (before !== undefined) text += line("Nats-Expected-Last-Msg-Id", messageId(before));
  const bytes = Buffer.from(`${text}\r\n\r\n`);
  // All that the client asks of headers when it publishes.
  return { encode: () => bytes } as unknown as MsgHdrs;
}

/** What the stream knows an event by. */
const messageId = ({ id }: LedgerEvent): string => id;

/** A line's end in a value would make a header of what follows it. */
const line = (name: string, value: string): string =>
  `\r\n${name}: ${/[\r\n]/.test(value) ? encodeURIComponent(value) : value}`;
