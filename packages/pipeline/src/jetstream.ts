import { jetstreamManager, RetentionPolicy, type StreamConfig } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { eventHeaders, EVENT_STREAM, HEADER } from "@tributary/contracts";
import { type Outcome, outcome, type PubAck } from "./broker-answers.ts";
import type { LedgerEvent } from "./ledger.ts";
import { connectUntil, watchConnection } from "./nats-connection.ts";
import { publishHeaders } from "./relay-headers.ts";
import { streamMessages } from "./stream-messages.ts";
import { type BrokerWarning, brokerWarnings, ensureStreams, type StreamDifference } from "./stream-settings.ts";

export interface StreamState {
  /** When the stream was made; tells it from another of the same name. */
  readonly created: string;
  /** The first message that it still holds; one behind the last when it holds none. */
  readonly firstSequence: number;
  readonly lastSequence: number;
  /** How long it keeps messages; 0: for ever. */
  readonly keptMs: number;
  /** It takes messages out by itself, for another reason than their age: what is missing at its beginning was not purged. */
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
  /** Why nothing can be asked now, as a code; undefined while it is connected. */
  trouble(): string | undefined;
  /** Only another connection helps. */
  over(): boolean;
  close(): Promise<void>;
}

export interface BrokerOptions {
  /** `nats://[user:password@]host:port`, one or several of one cluster. */
  readonly servers: string | readonly string[];
  readonly signal: AbortSignal;
  /** `http://host:8222` of nats-server's monitoring, if it may be asked. */
  readonly monitorUrl?: string;
  /** Copies that a new stream has in the cluster; see {@link StreamWish}. */
  readonly replicas?: number;
  /** Told why, as a code, each time that connecting did not work. */
  readonly onFailure?: (reason: string) => void;
}

/** Longer than any healthy broker takes; then what became of a window is looked up. */
const ACK_WAIT_MS = 5_000;

/** Connects, and tries until the signal aborts. Afterwards the client reconnects by itself, for ever. */
export async function openBroker({ servers, signal, ...options }: BrokerOptions): Promise<Broker> {
  const nc = await connectUntil({ servers, name: "tributary-relay" }, signal, options.onFailure);
  const jsm = await jetstreamManager(nc, { timeout: ACK_WAIT_MS, checkAPI: false });
  const tracker = createAckTracker(nc);
  // Answers do not outlive the connection, and what is published while there is none is dropped by the client: whoever
  // waits for them goes and asks the stream what it holds.
  const watch = watchConnection(nc, tracker.giveUp);
  return {
    ensureStreams: async (retentionDays) => {
      // The client drops what is asked while it has no connection, and the answer would be waited for in vain.
      await nc.flush();
      const wish = { retentionDays, ...(options.replicas === undefined ? {} : { replicas: options.replicas }) };
      return (await ensureStreams(jsm, wish)).flatMap(({ differences }) => differences);
    },
    warnings: () => brokerWarnings(nc, jsm, options),
    state: async () => {
      const { created, config, state } = await jsm.streams.info(EVENT_STREAM);
      return {
        created,
        firstSequence: state.first_seq,
        lastSequence: state.last_seq,
        keptMs: config.max_age / 1e6,
        drops: drops(config),
      };
    },
    refusal: (event) => refusal(event, nc.info?.max_payload ?? Number.MAX_SAFE_INTEGER),
    publish: async (events, lastSequence) => {
      const trouble = watch.trouble();
      if (trouble !== undefined) return events.map(() => ({ kind: "unavailable", reason: trouble }));
      return tracker.publish(events, lastSequence);
    },
    after: async function* (lastSequence) {
      const { state } = await jsm.streams.info(EVENT_STREAM);
      if (state.last_seq <= lastSequence) return;
      for await (const message of streamMessages(nc, jsm, { stream: EVENT_STREAM, from: lastSequence + 1, signal })) {
        const connectionId = message.headers?.get(HEADER.connection) ?? "";
        const sequence = message.headers?.get(HEADER.sequence) ?? "";
        if (connectionId !== "" && /^\d+$/.test(sequence))
          yield { streamSequence: message.seq, connectionId, sequence: BigInt(sequence) };
        if (message.seq >= state.last_seq) return;
      }
    },
    trouble: () => watch.trouble(),
    over: () => watch.over,
    close: () => nc.close(),
  };
}

/**
 * Publishes and pairs answers by the last token of the reply subject, all on one subscription. The client's own
 * `js.publish` makes a request object and a promise a message and stops at 44–50 k/s; this reaches 140–176 k/s with
 * the same headers, made by the client.
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
      // A right that was taken away: there is no message, and the connection's watch tells of it.
      if (error !== null) return;
      const [, , id = "", index = ""] = message.subject.split(".");
      const window = windows.get(id);
      if (window === undefined || window.outcomes[Number(index)] !== undefined) return;
      window.outcomes[Number(index)] =
        message.data.length > 0 ? outcome(message.json<PubAck>()) : { kind: "refused", reason: "no_stream" };
      if (--window.open === 0) window.done();
    },
  });

  const giveUp = (): void => {
    for (const { done } of windows.values()) done();
  };

  async function publish(events: readonly LedgerEvent[], lastSequence: number): Promise<readonly Outcome[]> {
    if (events.length === 0) return [];
    const id = String(count++);
    const { promise, resolve } = Promise.withResolvers<void>();
    const outcomes: (Outcome | undefined)[] = Array.from({ length: events.length });
    windows.set(id, { outcomes, open: events.length, done: resolve });
    const timer = setTimeout(resolve, ACK_WAIT_MS);
    try {
      events.forEach((event, index) => {
        const head = publishHeaders(event, { lastSequence: lastSequence + index, before: events[index - 1] });
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
  return { publish, giveUp };
}

/** Room for the expected sequence, the expected id and the framing of the headers. */
const FRAMING_BYTES = 192;

/** Besides by age: when it is full, when a subject has too many, or when everybody has read. */
const drops = (config: StreamConfig): boolean =>
  config.retention !== RetentionPolicy.Limits ||
  (config.max_msgs_per_subject > 0 && !config.discard_new_per_subject) ||
  (config.discard === "old" && (config.max_bytes > 0 || config.max_msgs > 0));

function refusal(event: LedgerEvent, maxPayloadBytes: number): string | undefined {
  if (!/^(evt|sys)\.v1(\.[a-z0-9_-]+)+$/.test(event.subject)) return "subject_refused";
  // Only near the limit is it worth counting the headers; none is longer than a few kilobytes.
  if (event.payload.length + event.objectKey.length * 3 + 4_096 < maxPayloadBytes) return undefined;
  let bytes = event.payload.length + FRAMING_BYTES;
  for (const [name, value] of eventHeaders({ ...event, time: new Date(event.timeMs).toISOString() }))
    bytes += name.length + value.length + 4;
  return bytes > maxPayloadBytes ? "message_too_large" : undefined;
}
