import {
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
  type JsMsg,
} from "@nats-io/jetstream";
import {
  type Authenticator,
  connect,
  credsAuthenticator,
  errors,
  headers,
  type MsgHdrs,
  type NatsConnection,
  nkeyAuthenticator,
  nkeys,
  type Status,
  tokenAuthenticator,
} from "@nats-io/transport-node";
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
  REPLAY_STREAM,
} from "@tributary/contracts";
import { setTimeout as sleep } from "node:timers/promises";
import { type EnsureConsumer, eventConsumer, replayConsumer } from "./nats-consumer.ts";
import type { Held } from "./nats-hands.ts";
import { readAttributes } from "./nats-headers.ts";
import { createRoad, type Road, saidBy } from "./nats-road.ts";
import type { Settlement } from "./outcome.ts";
import { createProof, type Proof, type Refused, refusedAgain } from "./shown.ts";
import { type Delivery, type Sink, type Source, type SourceOptions, SubscriberError } from "./source.ts";

const CONNECT_MS_MAX = 5_000;
/** A connection that is dead without a word is noticed after two of these. */
const PING_MS = 10_000;
const FLUSH_MS = 500;
/** Before it dials again: at least, and at most as long as it is refused. */
const DIAL_EVERY_MS = 500;
const REFUSED_EVERY_MS_MAX = 5_000;
/** More than that, so that those whom a broker lost together do not come back together. */
const SPREAD_MS = 100;

const STILL_OLD = "no other token or credentials for the broker: those before are shown again";

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
  const proofs = { token: createProof(options.token, log), credentials: createProof(options.credentials, log) };
  const renew = (): Promise<unknown> => Promise.all(Object.values(proofs).map((proof) => proof.renew()));
  let connected: Connected | undefined;
  let roads: readonly Road[] = [];
  /** What was shown when it was dialled last, and what became of that since the broker let it in. */
  let dialled: string | undefined;
  let refused: Refused | undefined;
  let refusals = 0;

  const dialling = {
    renewable: Object.values(proofs).some((proof) => proof.renewable),
    showing: (): void => void (dialled = `${proofs.token.value} ${proofs.credentials.value}`),
    waitMs: (): number => {
      const pauseMs = refusals === 0 ? 0 : Math.min(backoff(refusals), REFUSED_EVERY_MS_MAX);
      return Math.max(DIAL_EVERY_MS, pauseMs) + Math.random() * SPREAD_MS;
    },
  };

  async function open(): Promise<void> {
    await renew();
    const nc = await connect(connectionOptions(options, proofs, dialling)).catch((cause: unknown) => {
      const at = options.hosts.join(", ");
      if (isRefusal(cause))
        throw new SubscriberError("refused", `the broker at ${at} refuses the credentials`, { cause });
      throw new SubscriberError("unreachable", `no broker answers at ${at}: ${saidBy(cause)}`, { cause });
    });
    try {
      const jsm = await jetstreamManager(nc, { checkAPI: false });
      const ensureEvents = eventConsumer(jsm, options, durable);
      await ensureEvents();
      connected = { nc, js: jetstream(nc), jsm, ensureEvents };
    } catch (cause) {
      await nc.close();
      if (cause instanceof SubscriberError) throw cause;
      const forbidden = [cause, (cause as ErrorOptions).cause].some(
        (one) => one instanceof errors.PermissionViolationError,
      );
      throw new SubscriberError(
        forbidden ? "refused" : "unreachable",
        forbidden
          ? `the broker lets these credentials have no consumer ${durable}: ${saidBy(cause)}`
          : `the broker serves no consumer: ${saidBy(cause)}; is JetStream enabled?`,
        { cause },
      );
    }
  }

  async function run(signal: AbortSignal, { take }: Sink): Promise<void> {
    if (connected === undefined) throw new SubscriberError("usage", "not open");
    const { nc, js, jsm, ensureEvents } = connected;
    const statuses = watchStatuses(nc);
    const forget = keepShowing(nc, statuses);
    const shared = {
      log,
      backoff,
      durable,
      js,
      jsm,
      flush: () => nc.flush().catch(() => {}),
      onLoss: (listener: () => void) => statuses.on(({ type }) => void (type === "disconnect" && listener())),
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
      forget();
      await Promise.allSettled(running);
    }
  }

  /**
   * The client asks for what to show each time that it dials, and waits for nobody: so the answer has to be there. While
   * there is none it dials with the one before, and is refused: that counts once for each answer. The client itself does
   * not count where there is somebody to ask.
   */
  function keepShowing(nc: NatsConnection, statuses: ReturnType<typeof watchStatuses>): () => void {
    let watching: readonly (() => void)[] = [];
    const forget = (): void => {
      for (const one of watching) one();
    };
    const watch = (): void => {
      forget();
      watching = Object.values(proofs).map((proof) => proof.watch(() => {}));
    };
    watch();
    let over = false;
    let answered = true;
    statuses.on((status) => {
      if (status.type === "reconnect") [refused, refusals, answered] = [undefined, 0, true];
      if (status.type === "error" && isRefusal(status.error) && dialling.renewable) {
        refusals++;
        if (!answered) return;
        answered = false;
        refused = refusedAgain(dialled, refused);
        // Every status ends with the connection, this one too: it is not waited for.
        if (refused === undefined) void nc.close();
      }
    });
    statuses.on(({ type }) => {
      if (type !== "disconnect") return;
      renew().then(
        () => {
          answered = true;
          if (!over) watch();
        },
        ({ code }: SubscriberError) => log.warn({ code }, STILL_OLD),
      );
    });
    return () => {
      over = true;
      forget();
    };
  }

  function deliver(road: Road, held: Held, take: Sink["take"]): void {
    const { message } = held;
    const attributes = readAttributes(message);
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
    if (settlement.outcome === "dead_letter")
      return keepDeadLetter(held.message, attributes, settlement, giveUp).then(() => road.hands.acknowledge(held));
    if (settlement.outcome === "released") road.release(held);
    else if (settlement.outcome === "pending") road.hands.forget(held);
    else road.hands.acknowledge(held);
    return undefined;
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
    const { head, data } = letter(message, reason, attempts, connected.nc.info?.max_payload);
    const subject = deadLetterSubject(knownAs, organizationId);
    // One that dies again after it was delivered again is another letter.
    const again = replayId !== undefined || redrive > 0;
    const msgID = [knownAs, id, ...(again ? [replayId ?? "", redrive] : [])].join(":");
    for (let attempt = 1; ; attempt++) {
      giveUp.throwIfAborted();
      try {
        await js.publish(subject, data, { headers: head, msgID });
        return;
      } catch (error) {
        log.warn({ id, attempt, error: saidBy(error) }, "the dead letter is not kept yet");
        await jsm.streams.add({ name: DEAD_LETTER_STREAM, subjects: [...DEAD_LETTER_SUBJECTS] }).catch(() => {});
        await sleep(backoff(attempt), undefined, { signal: giveUp });
      }
    }
  }

  return {
    open,
    run,
    close: async () => {
      for (const road of roads) road.close();
      if (connected === undefined) return;
      const { nc } = connected;
      // A broker that is away hears nothing any more.
      await Promise.race([nc.flush().catch(() => {}), sleep(FLUSH_MS, undefined, { ref: false })]);
      await nc.close();
    },
  };
}

/** One look at the client's reports for all who want to know of a lost connection. */
function watchStatuses(nc: NatsConnection) {
  const listeners = new Set<(status: Status) => void>();
  void (async () => {
    for await (const status of nc.status()) for (const listener of listeners) listener(status);
  })();
  return {
    on: (listener: (status: Status) => void) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

const isRefusal = (error: unknown): boolean =>
  error instanceof errors.AuthorizationError || error instanceof errors.UserAuthenticationExpiredError;

/** What the client adds: the message's id, and the framing. */
const FRAMING_BYTES = 512;
const SHORT_REASON = 50;

/**
 * The event as it came, with the reason. One that has become too large for the broker by that leaves its payload to the
 * ledger, from which the hub takes it anyway, and then most of its reason: otherwise it would be tried for ever, and hold
 * its connection.
 */
function letter(message: JsMsg, reason: string, attempts: number, bytesMax = Number.POSITIVE_INFINITY) {
  const head = headers();
  for (const [key, values] of message.headers ?? []) if (!key.startsWith("Nats-")) head.set(key, values[0] ?? "");
  head.set(HEADER.deadLetterReason, encodeURIComponent(reason));
  head.set(HEADER.deadLetterAttempts, String(attempts));
  const room = bytesMax - FRAMING_BYTES - headerBytes(head);
  if (room < 0) head.set(HEADER.deadLetterReason, encodeURIComponent(reason.slice(0, SHORT_REASON).toWellFormed()));
  return { head, data: message.data.length <= room ? message.data : new Uint8Array() };
}

function headerBytes(head: MsgHdrs): number {
  let bytes = 0;
  for (const [name, [value = ""]] of head) bytes += name.length + value.length + 4;
  return bytes;
}

function withoutAddressee(event: EventAttributes): Delivery["attributes"] {
  const { onlyFor: _, ...attributes } = event;
  return attributes;
}

interface Proofs {
  readonly token: Proof;
  readonly credentials: Proof;
}

/** How the client dials: whether it may be refused more than once, whom it tells, and how long it waits in between. */
interface Dialling {
  readonly renewable: boolean;
  readonly showing: () => void;
  readonly waitMs: () => number;
}

function connectionOptions(
  { url, hosts, name, organization }: SourceOptions,
  { token, credentials }: Proofs,
  { renewable, showing, waitMs }: Dialling,
) {
  const { username, password } = url;
  const user = username === "" ? {} : { user: decodeURIComponent(username), pass: decodeURIComponent(password) };
  const shown = [
    ...(credentials.value === undefined ? [] : [signing(credentials)]),
    ...(token.value === undefined ? [] : [tokenAuthenticator(() => token.value ?? "")]),
  ];
  return {
    servers: [...hosts],
    timeout: CONNECT_MS_MAX,
    pingInterval: PING_MS,
    name: `tributary-subscriber-${name}`,
    maxReconnectAttempts: -1,
    reconnectDelayHandler: waitMs,
    ignoreAuthErrorAbort: renewable,
    ...user,
    ...(shown.length === 0 ? {} : { authenticator: [...shown, showing] }),
    ...(organization === undefined ? {} : { inboxPrefix: brokerInbox(organization) }),
    ...(url.protocol === "tls:" ? { tls: {} } : {}),
  };
}

/** Signs by what the credentials are now. @throws SubscriberError for what is neither. */
function signing(credentials: Proof): Authenticator {
  const by = (): Authenticator => {
    const { value = "" } = credentials;
    const text = new TextEncoder().encode(value.trim());
    return value.includes("-----BEGIN") ? credsAuthenticator(text) : nkeyAuthenticator(text);
  };
  const { value = "" } = credentials;
  try {
    // The authenticator itself would look at it while it connects, and be taken for a broker that is not there.
    if (!value.includes("-----BEGIN")) nkeys.fromSeed(new TextEncoder().encode(value.trim()));
  } catch (cause) {
    throw new SubscriberError("usage", "credentials are the content of a .creds file, or the seed of an nkey", {
      cause,
    });
  }
  return (nonce) => by()(nonce);
}
