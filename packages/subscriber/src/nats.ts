import {
  AckPolicy,
  type ConsumerInfo,
  DeliverPolicy,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  JetStreamApiError,
  jetstreamManager,
  type JsMsg,
} from "@nats-io/jetstream";
import { connect, headers, type NatsConnection } from "@nats-io/transport-node";
import {
  DEAD_LETTER_STREAM,
  DEAD_LETTER_SUBJECTS,
  deadLetterSubject,
  EVENT_STREAM,
  type EventAttributes,
  parseEventHeaders,
} from "@tributary/contracts";
import { setTimeout as sleep } from "node:timers/promises";
import type { Settlement } from "./outcome.ts";
import { type Delivery, type Source, type SourceOptions, SubscriberError } from "./source.ts";

const LOOK_EVERY_MS = 250;
const FORGET_EVERY_MS = 25;
const FORGET_LOOKS_MAX = 20;
const CONSUMER_NOT_FOUND = 10014;
const STREAM_NOT_FOUND = 10059;

interface Connected {
  readonly nc: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
}

/** Events from JetStream, through a durable pull consumer. */
export function createNatsSource(options: SourceOptions): Source {
  const { name, window, log, backoff } = options;
  /** Held and not settled: the broker is told now and then that they are being worked on. */
  const held = new Set<JsMsg>();
  const givenBack: JsMsg[] = [];
  let pulling = false;
  let connected: Connected | undefined;

  async function open(): Promise<void> {
    const nc = await connect(connectionOptions(options)).catch((cause: unknown) => {
      throw new SubscriberError("unreachable", "the broker does not answer, or refuses the credentials", { cause });
    });
    try {
      connected = { nc, js: jetstream(nc), jsm: await jetstreamManager(nc, { checkAPI: false }) };
      await ensureConsumer(connected.jsm, options);
    } catch (error) {
      await nc.close();
      throw error;
    }
  }

  async function* deliveries(signal: AbortSignal): AsyncGenerator<Delivery> {
    if (connected === undefined) throw new SubscriberError("usage", "not open");
    const { js, jsm } = connected;
    const working = setInterval(() => {
      for (const message of held) message.working();
    }, options.ackWaitMs / 3);
    try {
      for (let failures = 0; !signal.aborted;) {
        try {
          await ensureConsumer(jsm, options);
          const before = await awaitTurn(jsm, signal);
          for await (const message of inOrder(js, jsm, before, signal)) {
            failures = 0;
            yield* delivery(message);
          }
        } catch (error) {
          if (error instanceof SubscriberError && error.code !== "stream_missing") throw error;
          log.warn({ failures }, "the broker is away; trying again");
        }
        if (signal.aborted) return;
        failures++;
        await sleep(backoff(failures), undefined, { signal }).catch(() => {});
      }
    } finally {
      clearInterval(working);
    }
  }

  /** While another process pulls for this consumer, this one stands by: two would break the order of a connection. */
  async function awaitTurn(jsm: JetStreamManager, signal: AbortSignal): Promise<ConsumerInfo> {
    for (let told = false; ; told = true) {
      signal.throwIfAborted();
      const info = await jsm.consumers.info(EVENT_STREAM, name);
      if (info.num_waiting === 0) return info;
      if (!told) log.info({ name }, "another process serves this consumer: standing by");
      await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => {});
    }
  }

  /**
   * What a process before this one held when it died comes again only after the broker's ack wait, in no certain order,
   * while newer events come at once: all are kept back until everything unsettled is in these hands, then sorted.
   */
  async function* inOrder(
    js: JetStreamClient,
    jsm: JetStreamManager,
    { num_ack_pending: unsettled }: ConsumerInfo,
    signal: AbortSignal,
  ): AsyncGenerator<JsMsg> {
    const consumer = await js.consumers.get(EVENT_STREAM, name);
    pulling = true;
    const messages = await consumer.consume({ max_messages: window, abort_on_missing_resource: true });
    const stop = (): void => messages.stop();
    signal.addEventListener("abort", stop, { once: true });
    const kept = new Map<number, JsMsg>();
    const complete = async (): Promise<void> => {
      for (let pending = unsettled; pending > kept.size && !signal.aborted;) {
        await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => {});
        pending = await jsm.consumers.info(EVENT_STREAM, name).then(
          (info) => info.num_ack_pending,
          () => pending,
        );
      }
    };
    let waiting = unsettled > 0 ? complete() : undefined;
    try {
      const iterator = messages[Symbol.asyncIterator]();
      let next = iterator.next();
      for (;;) {
        // While events are kept back, the end of the wait counts as much as another one.
        const step = waiting === undefined ? await next : await Promise.race([next, waiting]);
        if (step === undefined) {
          waiting = undefined;
          const sorted = [...kept.values()].toSorted((a, b) => a.seq - b.seq);
          kept.clear();
          yield* sorted;
          continue;
        }
        if (step.done === true) return;
        next = iterator.next();
        held.add(step.value);
        if (waiting === undefined) yield step.value;
        else kept.set(step.value.seq, step.value);
      }
    } finally {
      signal.removeEventListener("abort", stop);
      for (const message of kept.values()) release(message);
      await messages.close();
      await giveBack(jsm);
    }
  }

  /** The broker would send what is given back to a pull of this process that it has not forgotten yet. */
  async function giveBack(jsm: JetStreamManager): Promise<void> {
    for (let look = 0; look < FORGET_LOOKS_MAX; look++) {
      const info = await jsm.consumers.info(EVENT_STREAM, name).catch(() => undefined);
      if (info === undefined || info.num_waiting === 0) break;
      await sleep(FORGET_EVERY_MS);
    }
    pulling = false;
    for (const message of givenBack.splice(0)) message.nak();
  }

  function* delivery(message: JsMsg): Generator<Delivery> {
    let attributes: EventAttributes;
    try {
      attributes = parseEventHeaders((header) => message.headers?.get(header));
    } catch {
      log.warn({ streamSequence: message.seq }, "a message that is not an event");
      held.delete(message);
      message.term();
      return;
    }
    if (options.organization !== undefined && options.organization !== attributes.organizationId) {
      held.delete(message);
      message.ack();
      return;
    }
    const attempt = message.info.deliveryCount;
    yield { attributes, data: message.data, attempt, settle: (settlement) => settle(message, attributes, settlement) };
  }

  async function settle(message: JsMsg, attributes: EventAttributes, settlement: Settlement): Promise<void> {
    if (settlement.outcome === "released") return release(message);
    if (settlement.outcome === "dead_letter") await keepDeadLetter(message, attributes, settlement);
    held.delete(message);
    message.ack();
  }

  /** As long as this process pulls, the broker would send it what it gives back. */
  function release(message: JsMsg): void {
    held.delete(message);
    if (pulling) givenBack.push(message);
    else message.nak();
  }

  /** Tries until it is kept: an event is not given up before somebody else has it. */
  async function keepDeadLetter(
    message: JsMsg,
    { id, organizationId }: EventAttributes,
    { reason, attempts }: Extract<Settlement, { outcome: "dead_letter" }>,
  ): Promise<void> {
    if (connected === undefined) return;
    const { nc, js, jsm } = connected;
    const head = headers();
    for (const [key, values] of message.headers ?? []) if (!key.startsWith("Nats-")) head.set(key, values[0] ?? "");
    head.set("trib-dead-letter-reason", encodeURIComponent(reason));
    head.set("trib-dead-letter-attempts", String(attempts));
    const subject = deadLetterSubject(name, organizationId);
    for (let attempt = 1; !nc.isClosed(); attempt++) {
      try {
        await js.publish(subject, message.data, { headers: head, msgID: `${name}:${id}` });
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
      await connected?.nc.drain().catch(() => {});
    },
  };
}

function connectionOptions({ url, name, token }: SourceOptions) {
  const { username, password } = url;
  const credentials = username === "" ? {} : { user: decodeURIComponent(username), pass: decodeURIComponent(password) };
  return {
    servers: url.host,
    name: `tributary-subscriber-${name}`,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 500,
    ...credentials,
    ...(token === undefined ? {} : { token }),
    ...(url.protocol === "tls:" ? { tls: {} } : {}),
  };
}

/**
 * Makes the consumer when it is missing; one that exists is left as it is. nats-server before 2.10 knows one filter a
 * consumer, which must lie within one subject of the stream, and a consumer for each type would lose the order across
 * types: so it hears every event of the organisation, and with handlers for both events and system events, everything.
 * @throws SubscriberError when the existing one is of another kind.
 */
async function ensureConsumer(
  jsm: JetStreamManager,
  { name, organization = "*", types, window, ackWaitMs }: SourceOptions,
): Promise<void> {
  const roots = new Set(types.map((type) => (type.startsWith("tributary.system.") ? "sys" : "evt")));
  const [root] = roots;
  const wanted = {
    durable_name: name,
    ack_policy: AckPolicy.Explicit,
    deliver_policy: DeliverPolicy.All,
    ...(roots.size === 1 ? { filter_subject: `${root}.v1.${organization}.>` } : {}),
    ack_wait: ackWaitMs * 1_000_000,
    max_ack_pending: window,
    max_deliver: -1,
  };
  try {
    const { config } = await jsm.consumers.info(EVENT_STREAM, name).catch((error: unknown) => {
      if (error instanceof JetStreamApiError && error.code === CONSUMER_NOT_FOUND)
        return jsm.consumers.add(EVENT_STREAM, wanted);
      throw error;
    });
    const asked: Partial<typeof config> = wanted;
    for (const key of ["filter_subject", "ack_policy", "deliver_policy"] as const)
      if (config[key] !== asked[key])
        throw new SubscriberError(
          "consumer_differs",
          `the consumer ${name} exists with another ${key}: delete it, or take another name`,
        );
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === STREAM_NOT_FOUND)
      throw new SubscriberError("stream_missing", `the broker has no stream ${EVENT_STREAM}: is the relay running?`);
    throw error;
  }
}
