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
  consumerKnownAs,
  DEAD_LETTER_STREAM,
  DEAD_LETTER_SUBJECTS,
  deadLetterSubject,
  durableName,
  EVENT_STREAM,
  type EventAttributes,
  HEADER,
  parseEventHeaders,
  REPLAY_STREAM,
} from "@tributary/contracts";
import { setTimeout as sleep } from "node:timers/promises";
import { type EnsureConsumer, eventConsumer, replayConsumer } from "./nats-consumer.ts";
import type { Held } from "./nats-hands.ts";
import { createRoad, type Road } from "./nats-road.ts";
import type { Settlement } from "./outcome.ts";
import { type Delivery, type Source, type SourceOptions, SubscriberError } from "./source.ts";

interface Connected {
  readonly nc: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  readonly ensureEvents: EnsureConsumer;
}

/** Events from JetStream: live ones on one road, replays and redriven dead letters on another beside it. */
export function createNatsSource(options: SourceOptions): Source {
  const { organization, log, backoff } = options;
  const knownAs = consumerKnownAs(options.name, organization);
  const durable = durableName(knownAs, organization);
  let connected: Connected | undefined;
  let roads: readonly Road[] = [];

  async function open(): Promise<void> {
    const nc = await connect(connectionOptions(options)).catch((cause: unknown) => {
      throw new SubscriberError("unreachable", "the broker does not answer, or refuses the credentials", { cause });
    });
    try {
      const jsm = await jetstreamManager(nc, { checkAPI: false });
      const ensureEvents = eventConsumer(jsm, options, durable);
      await ensureEvents();
      connected = { nc, js: jetstream(nc), jsm, ensureEvents };
    } catch (error) {
      await nc.close();
      throw error;
    }
  }

  async function run(signal: AbortSignal, take: (delivery: Delivery) => void): Promise<void> {
    if (connected === undefined) throw new SubscriberError("usage", "not open");
    const { nc, js, jsm, ensureEvents } = connected;
    const losses = watchLosses(nc);
    const shared = {
      log,
      backoff,
      durable,
      js,
      jsm,
      flush: () => nc.flush().catch(() => {}),
      onLoss: losses.on,
      isClosed: () => nc.isClosed(),
      server: () => nc.info?.server_id,
    };
    const live = createRoad({
      ...shared,
      stream: EVENT_STREAM,
      ensure: ensureEvents,
    });
    const again = createRoad({
      ...shared,
      stream: REPLAY_STREAM,
      // A hub of an older version has no such stream.
      optional: true,
      ensure: replayConsumer(jsm, options, durable),
    });
    const over = new AbortController();
    const both = AbortSignal.any([signal, over.signal]);
    roads = [live, again];
    const running = roads.map((road) => road.run(both, (held) => deliver(road, held, take)));
    try {
      await Promise.all(running);
    } finally {
      // One that cannot go on ends its sibling.
      over.abort();
      await Promise.allSettled(running);
    }
  }

  function deliver(road: Road, held: Held, take: (delivery: Delivery) => void): void {
    const { message } = held;
    const attributes = read(message);
    if (attributes === undefined) {
      log.warn({ streamSequence: message.seq }, "a message that is not an event");
      road.hands.refuse(held);
    } else if (isForOthers(attributes)) {
      road.hands.acknowledge(held);
    } else {
      take({
        attributes: attributes.onlyFor === undefined ? attributes : withoutAddressee(attributes),
        data: message.data,
        attempt: message.info.deliveryCount,
        settle: (settlement, giveUp) => settle(road, held, attributes, settlement, giveUp),
      });
    }
  }

  const isForOthers = ({ organizationId, onlyFor = knownAs }: EventAttributes): boolean =>
    onlyFor !== knownAs || (organization !== undefined && organization !== organizationId);

  function settle(road: Road, held: Held, attributes: EventAttributes, settlement: Settlement, giveUp: AbortSignal) {
    if (settlement.outcome === "released") return road.release(held);
    if (settlement.outcome === "pending") return road.hands.forget(held);
    if (settlement.outcome === "handled") return road.hands.acknowledge(held);
    return keepDeadLetter(held.message, attributes, settlement, giveUp).then(() => road.hands.acknowledge(held));
  }

  /** Tries until it is kept: an event is not given up before somebody else has it. */
  async function keepDeadLetter(
    message: JsMsg,
    { id, organizationId, replayId, redrive = 0 }: EventAttributes,
    { reason, attempts }: Extract<Settlement, { outcome: "dead_letter" }>,
    giveUp: AbortSignal,
  ): Promise<void> {
    if (connected === undefined) return;
    const { js, jsm } = connected;
    const head = headers();
    for (const [key, values] of message.headers ?? []) if (!key.startsWith("Nats-")) head.set(key, values[0] ?? "");
    head.set(HEADER.deadLetterReason, encodeURIComponent(reason));
    head.set(HEADER.deadLetterAttempts, String(attempts));
    const subject = deadLetterSubject(knownAs, organizationId);
    // One that dies again after it was delivered again is another letter.
    const again = replayId !== undefined || redrive > 0;
    const msgID = [knownAs, id, ...(again ? [replayId ?? "", redrive] : [])].join(":");
    for (let attempt = 1; ; attempt++) {
      giveUp.throwIfAborted();
      try {
        await js.publish(subject, message.data, { headers: head, msgID });
        return;
      } catch {
        log.warn({ id, attempt }, "the dead letter is not kept yet");
        await jsm.streams.add({ name: DEAD_LETTER_STREAM, subjects: [...DEAD_LETTER_SUBJECTS] }).catch(() => {});
        await sleep(backoff(attempt), undefined, { signal: giveUp });
      }
    }
  }

  return {
    open,
    run,
    close: async () => {
      for (const { hands } of roads) hands.flush();
      await connected?.nc.drain().catch(() => {});
    },
  };
}

/** One look at the client's reports for all who want to know of a lost connection. */
function watchLosses(nc: NatsConnection) {
  const listeners = new Set<() => void>();
  void (async () => {
    for await (const { type } of nc.status()) if (type === "disconnect") for (const listener of listeners) listener();
  })();
  return {
    on: (listener: () => void) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

function withoutAddressee(event: EventAttributes): Delivery["attributes"] {
  const { onlyFor: _, ...attributes } = event;
  return attributes;
}

/** One pass over the client's headers: each `get` of its makes a list of all names. */
function read({ headers: head }: JsMsg): EventAttributes | undefined {
  const values: Record<string, string | undefined> = {};
  for (const [name, [value]] of head ?? []) values[name] = value;
  try {
    return parseEventHeaders((name) => values[name]);
  } catch {
    return undefined;
  }
}

/** A connection that breaks while it is being made is not noticed by the client before this is over; its default is 20 s. */
const HANDSHAKE_MS_MAX = 5_000;

function connectionOptions({ url, name, token, organization }: SourceOptions) {
  const { username, password } = url;
  const credentials = username === "" ? {} : { user: decodeURIComponent(username), pass: decodeURIComponent(password) };
  return {
    servers: url.host,
    name: `tributary-subscriber-${name}`,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 500,
    timeout: HANDSHAKE_MS_MAX,
    ...credentials,
    ...(organization === undefined ? {} : { inboxPrefix: brokerInbox(organization) }),
    ...(token === undefined ? {} : { token }),
    ...(url.protocol === "tls:" ? { tls: {} } : {}),
  };
}
