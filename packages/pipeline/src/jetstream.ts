import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { headers, type NatsConnection } from "@nats-io/transport-node";
import { eventHeaders, EVENT_STREAM, HEADER } from "@tributary/contracts";
import type { LedgerEvent } from "./ledger.ts";
import { connectUntil } from "./nats-connection.ts";
import { type BrokerWarning, brokerWarnings, ensureStreams, type StreamDifference } from "./stream-settings.ts";

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
  /** The broker did not answer: the event may or may not be in the stream. */
  | { readonly kind: "unavailable"; readonly reason: string };

export interface StreamState {
  /** When the stream was made; tells it from another of the same name. */
  readonly created: string;
  /** The first message that it still holds; one behind the last when it holds none. */
  readonly firstSequence: number;
  readonly lastSequence: number;
  /** How long it keeps messages; 0: for ever. */
  readonly keptMs: number;
  /** It drops the oldest when it is full: what is missing at its beginning was not purged. */
  readonly drops: boolean;
}

/** A message that the stream holds. */
export interface StoredMessage {
  readonly streamSequence: number;
  readonly connectionId: string;
  readonly sequence: bigint;
}

/** The broker, as the relay sees it. */
export interface Broker {
  /** Makes the streams when they are missing. @returns how existing ones differ from what they should be. */
  ensureStreams(retentionDays: number): Promise<readonly StreamDifference[]>;
  /** What an operator should know; nothing of it is a reason not to start. */
  warnings(): Promise<readonly BrokerWarning[]>;
  state(): Promise<StreamState>;
  /** Why an event can never be published; undefined when it can. */
  refusal(event: LedgerEvent): string | undefined;
  /** Publishes in order, each only behind the one before it, the first behind `lastSequence`. Never throws. */
  publish(events: readonly LedgerEvent[], lastSequence: number): Promise<readonly Outcome[]>;
  /** What the stream holds behind a stream sequence, without payloads. */
  after(lastSequence: number): AsyncGenerator<StoredMessage>;
  close(): Promise<void>;
}

export interface BrokerOptions {
  /** `nats://[user:password@]host:port`, one or several of one cluster. */
  readonly servers: string | readonly string[];
  readonly signal: AbortSignal;
  /** `http://host:8222` of nats-server's monitoring, if it may be asked. */
  readonly monitorUrl?: string;
}

/** Longer than any healthy broker takes; then what became of a window is looked up. */
const ACK_WAIT_MS = 5_000;

/** Connects, and tries until the signal aborts. Afterwards the client reconnects by itself, for ever. */
export async function openBroker({ servers, signal, ...monitor }: BrokerOptions): Promise<Broker> {
  const nc = await connectUntil({ servers, name: "tributary-relay" }, signal);
  const js = jetstream(nc, { timeout: ACK_WAIT_MS });
  const jsm = await jetstreamManager(nc, { timeout: ACK_WAIT_MS, checkAPI: false });
  const tracker = createAckTracker(nc);
  return {
    ensureStreams: async (retentionDays) => {
      // The client drops what is asked while it has no connection, and the answer would be waited for in vain.
      await nc.flush();
      return (await ensureStreams(jsm, retentionDays)).flatMap(({ differences }) => differences);
    },
    warnings: () => brokerWarnings(nc, monitor),
    state: async () => {
      const { created, config, state } = await jsm.streams.info(EVENT_STREAM);
      return {
        created,
        firstSequence: state.first_seq,
        lastSequence: state.last_seq,
        keptMs: config.max_age / 1e6,
        drops:
          config.discard === "old" && (config.max_bytes > 0 || config.max_msgs > 0 || config.max_msgs_per_subject > 0),
      };
    },
    refusal: (event) => refusal(event, nc.info?.max_payload ?? Number.MAX_SAFE_INTEGER),
    publish: (events, lastSequence) => tracker.publish(events, lastSequence),
    after: async function* (lastSequence) {
      const { state: known } = await jsm.streams.info(EVENT_STREAM);
      if (known.last_seq <= lastSequence) return;
      const consumer = await js.consumers.get(EVENT_STREAM, { opt_start_seq: lastSequence + 1, headers_only: true });
      // What was there may have been erased since.
      if ((await consumer.info()).num_pending === 0) return;
      const messages = await consumer.consume({ max_messages: 1_000, idle_heartbeat: 1_000 });
      const stop = (): void => messages.stop();
      signal.addEventListener("abort", stop);
      try {
        for await (const message of messages) {
          const connectionId = message.headers?.get(HEADER.connection) ?? "";
          const sequence = message.headers?.get(HEADER.sequence) ?? "";
          if (connectionId !== "" && /^\d+$/.test(sequence))
            yield { streamSequence: message.seq, connectionId, sequence: BigInt(sequence) };
          if (message.seq >= known.last_seq || message.info.pending === 0) return;
        }
        signal.throwIfAborted();
      } finally {
        signal.removeEventListener("abort", stop);
        await messages.close();
      }
    },
    close: () => nc.close(),
  };
}

/**
 * Publishes and pairs answers by the last token of the reply subject, all on one subscription. The client's own
 * `js.publish` makes a request object and a promise a message and stops at 44–50 k/s; this reaches 140–176 k/s with
 * the same headers.
 */
function createAckTracker(nc: NatsConnection) {
  const inbox = `_INBOX.${crypto.randomUUID().replaceAll("-", "")}`;
  interface Window {
    readonly outcomes: (Outcome | undefined)[];
    open: number;
    readonly done: () => void;
  }
  const windows = new Map<string, Window>();
  let count = 0;
  nc.subscribe(`${inbox}.*.*`, {
    callback: (error, message) => {
      const [, , id = "", index = ""] = message.subject.split(".");
      const window = windows.get(id);
      if (window === undefined || window.outcomes[Number(index)] !== undefined) return;
      window.outcomes[Number(index)] =
        error === null && message.data.length > 0
          ? outcome(message.json<PubAck>())
          : { kind: "refused", reason: "no_stream" };
      if (--window.open === 0) window.done();
    },
  });

  // Answers do not outlive the connection, and what is published while there is none is dropped by the client: whoever
  // waits for them goes and asks the stream what it holds.
  let away = false;
  void (async () => {
    for await (const { type } of nc.status()) {
      if (type !== "disconnect" && type !== "reconnect") continue;
      away = type === "disconnect";
      if (away) for (const { done } of windows.values()) done();
    }
  })();

  async function publish(events: readonly LedgerEvent[], lastSequence: number): Promise<readonly Outcome[]> {
    if (events.length === 0) return [];
    if (away) return events.map(() => ({ kind: "unavailable", reason: "no_connection" }));
    const id = String(count++);
    const { promise, resolve } = Promise.withResolvers<void>();
    const outcomes: (Outcome | undefined)[] = Array.from({ length: events.length });
    windows.set(id, { outcomes, open: events.length, done: resolve });
    const timer = setTimeout(resolve, ACK_WAIT_MS);
    try {
      events.forEach((event, index) => {
        const head = messageHeaders(event);
        head.set("Nats-Expected-Last-Sequence", String(lastSequence + index));
        // Somebody else's message in the first place would make the numbers right again for all that follow it.
        const before = events[index - 1];
        if (before !== undefined) head.set("Nats-Expected-Last-Msg-Id", messageId(before));
        nc.publish(event.subject, event.payload, { headers: head, reply: `${inbox}.${id}.${index}` });
      });
      await promise;
    } catch {
      // The connection is closed or draining: nobody will answer.
    } finally {
      clearTimeout(timer);
      windows.delete(id);
    }
    return outcomes.map((known) => known ?? { kind: "unavailable", reason: "no_answer" });
  }
  return { publish };
}

interface PubAck {
  readonly seq?: number;
  readonly duplicate?: boolean;
  readonly error?: { readonly err_code?: number; readonly code?: number };
}

const WRONG_LAST_SEQUENCE = 10071;
const WRONG_LAST_MSG_ID = 10070;
const MESSAGE_TOO_LARGE = 10054;

function outcome({ seq, duplicate, error }: PubAck): Outcome {
  if (error === undefined && seq !== undefined)
    return { kind: duplicate === true ? "duplicate" : "stored", streamSequence: seq };
  if (error?.err_code === WRONG_LAST_SEQUENCE || error?.err_code === WRONG_LAST_MSG_ID) return { kind: "out_of_turn" };
  if (error?.err_code === MESSAGE_TOO_LARGE) return { kind: "poison", reason: "message_too_large" };
  return { kind: "refused", reason: `refused_${error?.err_code ?? error?.code ?? "unknown"}` };
}

/** What the stream knows an event by, and the one before it. */
const messageId = ({ id }: LedgerEvent): string => id;

function messageHeaders(event: LedgerEvent) {
  const head = headers();
  const attributes = { ...event, time: new Date(event.timeMs).toISOString() };
  for (const [name, value] of eventHeaders(attributes)) head.set(name, value);
  head.set("Nats-Msg-Id", messageId(event));
  return head;
}

/** Room for the expected sequence, the expected id and the framing of the headers. */
const FRAMING_BYTES = 192;

function refusal(event: LedgerEvent, maxPayloadBytes: number): string | undefined {
  if (!/^(evt|sys)\.v1(\.[a-z0-9_-]+)+$/.test(event.subject)) return "subject_refused";
  // Only near the limit is it worth counting the headers; none is longer than a few kilobytes.
  if (event.payload.length + event.objectKey.length * 3 + 4_096 < maxPayloadBytes) return undefined;
  let bytes = event.payload.length + FRAMING_BYTES;
  for (const [name, value] of eventHeaders({ ...event, time: new Date(event.timeMs).toISOString() }))
    bytes += name.length + value.length + 4;
  return bytes > maxPayloadBytes ? "message_too_large" : undefined;
}
