import {
  AckPolicy,
  type ConsumerInfo,
  DeliverPolicy,
  type JetStreamClient,
  jetstream,
  type JetStreamManager,
  jetstreamManager,
  type JsMsg,
} from "@nats-io/jetstream";
import { headers, type NatsConnection } from "@nats-io/transport-node";
import {
  DEAD_LETTER_STREAM,
  durableName,
  EVENT_STREAM,
  eventHeaders,
  HEADER,
  KNOWN_CONSUMER,
  parseEventHeaders,
  readDurableName,
  REPLAY_STREAM,
  replaySubject,
} from "@tributary/contracts";
import { setTimeout as sleep } from "node:timers/promises";
import { CONSUMER_NOT_FOUND, MESSAGE_NOT_FOUND, nothingWhen, STREAM_NOT_FOUND } from "./broker-answers.ts";
import type { LedgerEvent } from "./ledger.ts";
import { connectUntil, type NatsOptions } from "./nats-connection.ts";
import { type BrokerConsumer, type BrokerLetter, type SideEvent, type SideRoad, SideRoadAway } from "./side-road.ts";

const ANSWER_MS_MAX = 5_000;
const CONNECTED_MS_MAX = 2_000;
const RETRY_MS = 1_000;
const LETTER_ACK_WAIT_NS = 30e9;
/** Every hub takes letters in by it; the broker gives each to one of them. */
const LETTER_CONSUMER = "tributary-dead-letters";
/** Room for the framing of the headers. */
const FRAMING_BYTES = 256;

interface Connected {
  readonly nc: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
}

/** {@link SideRoad} on JetStream. Connects in the background, for as long as it takes, and never holds up a start. */
export function openSideRoad(
  options: NatsOptions & {
    readonly log?: { warn(fields: Readonly<Record<string, unknown>>, message: string): void };
  },
): SideRoad {
  const closing = new AbortController();
  const connecting = connect(options, closing.signal);
  connecting.catch(() => {});

  /** @throws SideRoadAway when the broker does not answer in time, or answers that it cannot. */
  async function ask<T>(work: (on: Connected) => Promise<T>): Promise<T> {
    try {
      const late = sleep(CONNECTED_MS_MAX, undefined, { ref: false }).then(() => Promise.reject(new SideRoadAway()));
      return await work(await Promise.race([connecting, late]));
    } catch (cause) {
      throw cause instanceof SideRoadAway ? cause : new SideRoadAway({ cause });
    }
  }

  return {
    publish: (events) =>
      ask(async ({ nc, js }) => {
        const refused = new Set<LedgerEvent>();
        const sent: Promise<unknown>[] = [];
        for (const one of events) {
          const head = messageHeaders(one);
          const { event, via, redrive = 0 } = one;
          const bytes = event.payload.length + FRAMING_BYTES + headerBytes(head);
          if (bytes > (nc.info?.max_payload ?? Infinity)) {
            options.log?.warn({ id: event.id, bytes }, "too large for the broker: not published again");
            refused.add(event);
            continue;
          }
          const msgID = redrive === 0 ? `${via}:${event.id}` : `${via}:${event.id}:${redrive}`;
          sent.push(js.publish(replaySubject(via, event.subject), event.payload, { headers: head, msgID }));
        }
        await Promise.all(sent);
        return refused;
      }),
    lastPublished: (replayId) =>
      ask(async ({ jsm }) => {
        const last = await jsm.streams
          .getMessage(REPLAY_STREAM, { last_by_subj: `rpl.v1.${replayId}.>` })
          .catch(nothingWhen(...MESSAGE_NOT_FOUND));
        if (last == null) return undefined;
        const { connectionId, sequence } = parseEventHeaders((name) => last.header.get(name));
        return { connectionId, sequence };
      }),
    consumers: (organizationId, everybodys) =>
      ask(async ({ jsm }) => {
        const found: BrokerConsumer[] = [];
        try {
          for await (const info of jsm.consumers.list(EVENT_STREAM)) {
            const consumer = consumerOf(info, organizationId, everybodys);
            if (consumer !== undefined) found.push(consumer);
          }
        } catch (error) {
          nothingWhen(STREAM_NOT_FOUND)(error);
        }
        return found;
      }),
    createConsumer: (organizationId, name) =>
      ask(async ({ jsm }) => {
        const durable = durableName(name, organizationId);
        const known = await jsm.consumers.info(EVENT_STREAM, durable).catch(nothingWhen(CONSUMER_NOT_FOUND));
        if (known !== undefined) return false;
        await jsm.consumers.add(EVENT_STREAM, {
          durable_name: durable,
          ack_policy: AckPolicy.Explicit,
          deliver_policy: DeliverPolicy.All,
          filter_subject: `evt.v1.${organizationId}.>`,
          ack_wait: 10e9,
          max_ack_pending: 1_000,
          max_deliver: -1,
        });
        return true;
      }),
    removeConsumer: (organizationId, name) =>
      ask(async ({ jsm }) => {
        const durable = durableName(name, organizationId);
        await jsm.consumers.delete(REPLAY_STREAM, durable).catch(() => {});
        return (await jsm.consumers.delete(EVENT_STREAM, durable).catch(nothingWhen(CONSUMER_NOT_FOUND))) === true;
      }),
    takeLetters: (keep, signal) =>
      takeLetters(connecting, keep, AbortSignal.any([signal, closing.signal]), options.log),
    close: async () => {
      closing.abort();
      await connecting.then(
        ({ nc }) => nc.close(),
        () => {},
      );
    },
  };
}

async function connect(options: NatsOptions, signal: AbortSignal): Promise<Connected> {
  const nc = await connectUntil({ name: "tributary-side", ...options }, signal);
  const js = jetstream(nc, { timeout: ANSWER_MS_MAX });
  return { nc, js, jsm: await jetstreamManager(nc, { timeout: ANSWER_MS_MAX, checkAPI: false }) };
}

/** Letters become rows, and leave the stream: then one place holds them, to be listed, and to be erased. */
async function takeLetters(
  connecting: Promise<Connected>,
  keep: (letter: BrokerLetter) => Promise<void>,
  signal: AbortSignal,
  log: { warn(fields: Readonly<Record<string, unknown>>, message: string): void } | undefined,
): Promise<void> {
  while (!signal.aborted) {
    try {
      const { js, jsm } = await connecting;
      await ensureLetterConsumer(jsm);
      const consumer = await js.consumers.get(DEAD_LETTER_STREAM, LETTER_CONSUMER);
      const messages = await consumer.consume({ max_messages: 100, abort_on_missing_resource: true });
      const stop = (): void => messages.stop();
      signal.addEventListener("abort", stop, { once: true });
      try {
        if (signal.aborted) return;
        for await (const message of messages) await takeLetter(jsm, message, keep, log);
      } finally {
        signal.removeEventListener("abort", stop);
        await messages.close();
      }
    } catch {
      // The broker is away, or the stream is not there yet.
    }
    await sleep(RETRY_MS, undefined, { signal }).catch(() => {});
  }
}

async function takeLetter(
  jsm: JetStreamManager,
  message: JsMsg,
  keep: (letter: BrokerLetter) => Promise<void>,
  log: { warn(fields: Readonly<Record<string, unknown>>, message: string): void } | undefined,
): Promise<void> {
  const letter = letterOf(message);
  if (letter === undefined) {
    log?.warn({ streamSequence: message.seq }, "no dead letter of ours");
    return message.term();
  }
  try {
    await keep(letter);
    await jsm.streams.deleteMessage(DEAD_LETTER_STREAM, message.seq);
    message.ack();
  } catch {
    message.nak(RETRY_MS);
  }
}

async function ensureLetterConsumer(jsm: JetStreamManager): Promise<void> {
  await jsm.consumers.info(DEAD_LETTER_STREAM, LETTER_CONSUMER).catch((error: unknown) => {
    nothingWhen(CONSUMER_NOT_FOUND)(error);
    return jsm.consumers.add(DEAD_LETTER_STREAM, {
      durable_name: LETTER_CONSUMER,
      ack_policy: AckPolicy.Explicit,
      deliver_policy: DeliverPolicy.All,
      ack_wait: LETTER_ACK_WAIT_NS,
    });
  });
}

const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/;

/**
 * The organisation is the subject's: who may publish there is what the broker checks; headers are the sender's word.
 * @returns undefined for what is none.
 */
function letterOf(message: JsMsg): BrokerLetter | undefined {
  const [, , consumer = "", organizationId = "", ...rest] = message.subject.split(".");
  const get = (name: string): string | undefined => message.headers?.get(name);
  try {
    const attributes = parseEventHeaders(get);
    if (
      rest.length > 0 ||
      !KNOWN_CONSUMER.test(consumer) ||
      attributes.organizationId !== organizationId ||
      !UUID.test(attributes.connectionId)
    )
      return;
    const { replayId = "", redrive = 0, onlyFor: _, time, ...event } = attributes;
    const [object = ""] = attributes.objectKey.split("/");
    return {
      consumer,
      event: {
        ...event,
        timeMs: new Date(time).getTime(),
        // The ledger knows better, if it still has it.
        subject: `evt.v1.${organizationId}.${attributes.connector}.${object}.unknown`,
        payload: message.data,
      },
      replayId,
      redrives: redrive,
      reason: readable(get(HEADER.deadLetterReason) ?? "").slice(0, 500),
      attempts: Number.parseInt(get(HEADER.deadLetterAttempts) ?? "0", 10) || 0,
      diedAtMs: message.timestampNanos === undefined ? Date.parse(time) : Number(message.timestampNanos / 1_000_000n),
    };
  } catch {
    return undefined;
  }
}

/** A subscriber in another language may have written it as it is: a letter is not lost for that. */
function readable(reason: string): string {
  try {
    return decodeURIComponent(reason);
  } catch {
    return reason;
  }
}

function messageHeaders({ event, replayId, redrive, onlyFor }: SideEvent) {
  const head = headers();
  const marks = {
    ...(replayId === undefined ? {} : { replayId }),
    ...(redrive === undefined ? {} : { redrive }),
    ...(onlyFor === undefined ? {} : { onlyFor }),
  };
  const attributes = { ...event, ...marks, time: new Date(event.timeMs).toISOString() };
  for (const [name, value] of eventHeaders(attributes)) head.set(name, value);
  return head;
}

function headerBytes(head: ReturnType<typeof headers>): number {
  let bytes = 0;
  for (const [name, values] of head) for (const value of values) bytes += name.length + value.length + 4;
  return bytes;
}

/** The organisation that a filter lets through; "*" for every one. */
function organizationHeard(filterSubject: string): string {
  const [, , organizationId = "*"] = filterSubject.split(".");
  return organizationId === ">" ? "*" : organizationId;
}

/**
 * Whose a consumer is, its name says; what it hears, its filter: one that hears everybody's events is the operator's to
 * look at, whoever made it. Consumers under other names are not ours.
 */
function consumerOf(info: ConsumerInfo, organizationId: string, everybodys: boolean): BrokerConsumer | undefined {
  const named = readDurableName(info.name);
  const heard = organizationHeard(info.config.filter_subject ?? "");
  if (named === undefined || (heard !== organizationId && !(everybodys && heard === "*"))) return undefined;
  if (named.organizationId === undefined ? !everybodys : named.organizationId !== organizationId) return undefined;
  const seenNs = Math.max(lastActiveNs(info.delivered), lastActiveNs(info.ack_floor));
  return {
    name: named.knownAs,
    filterSubject: info.config.filter_subject ?? "",
    pending: info.num_pending,
    outstanding: info.num_ack_pending,
    connected: info.num_waiting > 0,
    lastSeenAtMs: seenNs === 0 ? undefined : Math.round(seenNs / 1e6),
    createdAtMs: new Date(info.created).getTime(),
  };
}

/** The broker writes a time; the client's types say nanoseconds. */
function lastActiveNs(info: { readonly last_active?: unknown }): number {
  const { last_active: at } = info;
  if (typeof at === "number") return at;
  return typeof at === "string" ? new Date(at).getTime() * 1e6 : 0;
}
