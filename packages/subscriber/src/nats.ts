import {
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
  type JsMsg,
} from "@nats-io/jetstream";
import { connect, headers, type NatsConnection } from "@nats-io/transport-node";
import {
  brokerInbox,
  DEAD_LETTER_STREAM,
  DEAD_LETTER_SUBJECTS,
  deadLetterSubject,
  EVENT_STREAM,
  type EventAttributes,
  HEADER,
  parseEventHeaders,
  REPLAY_STREAM,
} from "@tributary/contracts";
import { setTimeout as sleep } from "node:timers/promises";
import { merge } from "./merge.ts";
import { ensureEventConsumer, ensureReplayConsumer } from "./nats-consumer.ts";
import { createRoad, type Road } from "./nats-road.ts";
import type { Settlement } from "./outcome.ts";
import { type Delivery, type Source, type SourceOptions, SubscriberError } from "./source.ts";

interface Connected {
  readonly nc: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
}

/** Events from JetStream: live ones on one road, replays and redriven dead letters on another beside it. */
export function createNatsSource(options: SourceOptions): Source {
  const { name, log, backoff } = options;
  const acks = createAcks();
  let connected: Connected | undefined;

  async function open(): Promise<void> {
    const nc = await connect(connectionOptions(options)).catch((cause: unknown) => {
      throw new SubscriberError("unreachable", "the broker does not answer, or refuses the credentials", { cause });
    });
    try {
      connected = { nc, js: jetstream(nc), jsm: await jetstreamManager(nc, { checkAPI: false }) };
      await ensureEventConsumer(connected.jsm, options);
    } catch (error) {
      await nc.close();
      throw error;
    }
  }

  function deliveries(signal: AbortSignal): AsyncGenerator<Delivery> {
    if (connected === undefined) throw new SubscriberError("usage", "not open");
    const { js, jsm } = connected;
    const live = createRoad({
      ...options,
      js,
      jsm,
      stream: EVENT_STREAM,
      ensure: () => ensureEventConsumer(jsm, options),
    });
    const again = createRoad({
      ...options,
      js,
      jsm,
      stream: REPLAY_STREAM,
      // A hub of an older version has no such stream.
      optional: true,
      ensure: () => ensureReplayConsumer(jsm, options),
    });
    return merge(
      signal,
      (both) => [along(live, both), along(again, both)],
      (delivery) => void delivery.settle({ outcome: "released" }),
    );
  }

  async function* along(road: Road, signal: AbortSignal): AsyncGenerator<Delivery> {
    for await (const message of road.messages(signal)) {
      const attributes = read(message);
      if (attributes === undefined) {
        log.warn({ streamSequence: message.seq }, "a message that is not an event");
        road.settled(message);
        message.term();
      } else if (isForOthers(attributes)) {
        road.settled(message);
        acks.push(message);
      } else
        yield {
          attributes,
          data: message.data,
          attempt: message.info.deliveryCount,
          settle: (settlement) => settle(road, message, attributes, settlement),
        };
    }
  }

  const isForOthers = ({ organizationId, onlyFor = name }: EventAttributes): boolean =>
    onlyFor !== name || (options.organization !== undefined && options.organization !== organizationId);

  async function settle(road: Road, message: JsMsg, attributes: EventAttributes, settlement: Settlement) {
    if (settlement.outcome === "released") return road.release(message);
    if (settlement.outcome === "dead_letter") await keepDeadLetter(message, attributes, settlement);
    road.settled(message);
    acks.push(message);
  }

  /** Tries until it is kept: an event is not given up before somebody else has it. */
  async function keepDeadLetter(
    message: JsMsg,
    { id, organizationId, replayId, redrive = 0 }: EventAttributes,
    { reason, attempts }: Extract<Settlement, { outcome: "dead_letter" }>,
  ): Promise<void> {
    if (connected === undefined) return;
    const { nc, js, jsm } = connected;
    const head = headers();
    for (const [key, values] of message.headers ?? []) if (!key.startsWith("Nats-")) head.set(key, values[0] ?? "");
    head.set(HEADER.deadLetterReason, encodeURIComponent(reason));
    head.set(HEADER.deadLetterAttempts, String(attempts));
    const subject = deadLetterSubject(name, organizationId);
    // One that dies again after it was delivered again is another letter.
    const again = replayId !== undefined || redrive > 0;
    const msgID = [name, id, ...(again ? [replayId ?? "", redrive] : [])].join(":");
    for (let attempt = 1; !nc.isClosed(); attempt++) {
      try {
        await js.publish(subject, message.data, { headers: head, msgID });
        return;
      } catch {
        log.warn({ id, attempt }, "the dead letter is not kept yet");
        await jsm.streams.add({ name: DEAD_LETTER_STREAM, subjects: [...DEAD_LETTER_SUBJECTS] }).catch(() => {});
        await sleep(backoff(attempt));
      }
    }
  }

  return {
    open,
    deliveries,
    close: async () => {
      acks.flush();
      await connected?.nc.drain().catch(() => {});
    },
  };
}

/**
 * Acknowledgements of one turn of the event loop leave together: each for itself is a write to the socket, which was the
 * largest part of a subscriber's work.
 */
function createAcks() {
  let due: JsMsg[] = [];
  const flush = (): void => {
    const messages = due;
    due = [];
    for (const message of messages) message.ack();
  };
  return {
    push: (message: JsMsg): void => {
      if (due.push(message) === 1) setImmediate(flush);
    },
    flush,
  };
}

function read(message: JsMsg): EventAttributes | undefined {
  try {
    return parseEventHeaders((header) => message.headers?.get(header));
  } catch {
    return undefined;
  }
}

function connectionOptions({ url, name, token, organization }: SourceOptions) {
  const { username, password } = url;
  const credentials = username === "" ? {} : { user: decodeURIComponent(username), pass: decodeURIComponent(password) };
  return {
    servers: url.host,
    name: `tributary-subscriber-${name}`,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 500,
    ...credentials,
    ...(organization === undefined ? {} : { inboxPrefix: brokerInbox(organization) }),
    ...(token === undefined ? {} : { token }),
    ...(url.protocol === "tls:" ? { tls: {} } : {}),
  };
}
