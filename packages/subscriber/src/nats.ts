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

/** The broker takes a subscriber for dead that has not spoken for so long about an event it holds. */
const ACK_WAIT_MS = 10_000;
const WORKING_EVERY_MS = 3_000;
const LOOK_EVERY_MS = 500;
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
    }, WORKING_EVERY_MS);
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
   * What a process before this one held when it died comes again only after the broker's ack wait, while newer events
   * come at once: the newer ones are kept back until the older ones are settled.
   */
  async function* inOrder(
    js: JetStreamClient,
    jsm: JetStreamManager,
    { delivered, num_ack_pending: unsettled }: ConsumerInfo,
    signal: AbortSignal,
  ): AsyncGenerator<JsMsg> {
    const consumer = await js.consumers.get(EVENT_STREAM, name);
    const messages = await consumer.consume({ max_messages: window, abort_on_missing_resource: true });
    const stop = (): void => messages.stop();
    signal.addEventListener("abort", stop, { once: true });
    const kept: JsMsg[] = [];
    let older = unsettled > 0;
    let looking: Promise<void> | undefined;
    const look = async (): Promise<void> => {
      while (older && !signal.aborted) {
        await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => {});
        const info = await jsm.consumers.info(EVENT_STREAM, name);
        older = info.ack_floor.stream_seq < delivered.stream_seq && info.num_ack_pending > kept.length;
      }
    };
    if (older) looking = look().catch(() => void (older = false));
    try {
      const iterator = messages[Symbol.asyncIterator]();
      let next = iterator.next();
      for (;;) {
        // While something is kept back, the end of the wait counts as much as a message.
        const step = looking === undefined ? await next : await Promise.race([next, looking]);
        if (step === undefined) {
          looking = undefined;
          for (const message of kept.splice(0)) yield message;
          continue;
        }
        if (step.done === true) return;
        next = iterator.next();
        held.add(step.value);
        if (older && step.value.seq > delivered.stream_seq) kept.push(step.value);
        else yield step.value;
      }
    } finally {
      signal.removeEventListener("abort", stop);
      for (const message of kept) release(message);
      await messages.close();
    }
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
    const attempt = message.info.deliveryCount;
    yield { attributes, data: message.data, attempt, settle: (settlement) => settle(message, attributes, settlement) };
  }

  async function settle(message: JsMsg, attributes: EventAttributes, settlement: Settlement): Promise<void> {
    if (settlement.outcome === "released") return release(message);
    if (settlement.outcome === "dead_letter") await keepDeadLetter(message, attributes, settlement);
    held.delete(message);
    message.ack();
  }

  function release(message: JsMsg): void {
    held.delete(message);
    message.nak();
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
 * Makes the consumer when it is missing; one that exists is left as it is. It hears every type, for nats-server before
 * 2.10 knows one filter a consumer, and a consumer for each type would lose the order across types.
 * @throws SubscriberError when the existing one is of another kind.
 */
async function ensureConsumer(jsm: JetStreamManager, { name, organization, window }: SourceOptions): Promise<void> {
  const wanted = {
    durable_name: name,
    ack_policy: AckPolicy.Explicit,
    deliver_policy: DeliverPolicy.All,
    filter_subject: `*.v1.${organization ?? "*"}.>`,
    ack_wait: ACK_WAIT_MS * 1_000_000,
    max_ack_pending: window,
    max_deliver: -1,
  };
  try {
    const { config } = await jsm.consumers.info(EVENT_STREAM, name).catch((error: unknown) => {
      if (error instanceof JetStreamApiError && error.code === CONSUMER_NOT_FOUND)
        return jsm.consumers.add(EVENT_STREAM, wanted);
      throw error;
    });
    for (const key of ["filter_subject", "ack_policy", "deliver_policy"] as const)
      if (config[key] !== wanted[key])
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
