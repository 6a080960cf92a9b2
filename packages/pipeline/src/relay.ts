import { type Span, SpanKind, trace } from "@opentelemetry/api";
import { EVENT_STREAM } from "@tributary/contracts";
import type { Database } from "@tributary/db";
import { channel } from "node:diagnostics_channel";
import { setTimeout as sleep } from "node:timers/promises";
import { createBell } from "./bell.ts";
import type { HandOff } from "./hand-off.ts";
import { type Broker, openBroker, type Outcome, type StreamState } from "./jetstream.ts";
import type { LedgerEvent } from "./ledger.ts";
import { createHolds, ID_REMEMBERED } from "./relay-holds.ts";
import { lead, LEADER_RENEW_MS, resign } from "./relay-leader.ts";
import { createTally, type Leadership, LeadershipLost, reconcile, record, trimRanges } from "./relay-progress.ts";
import { createRelaySource, type RelayWindow } from "./relay-source.ts";

/** Tells tests where the relay is. Costs nothing when nobody listens. */
const steps = channel("tributary:step");

/** Structured: fields are ids, codes and counts. */
export interface RelayLog {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export interface RelayOptions {
  readonly database: Database;
  readonly handOff: HandOff;
  /** `nats://[user:password@]host:port`, one or several of one cluster. */
  readonly servers: string | readonly string[];
  /** A UUID: which process leads. Default: a new one. */
  readonly holder?: string;
  /** Days that the stream keeps messages, when it is made. Default 30. */
  readonly retentionDays?: number;
  /** `http://host:8222` of nats-server's monitoring, if it may be asked how it flushes. */
  readonly monitorUrl?: string;
  readonly log?: RelayLog;
  /** In [0, 1); spreads retries. Default Math.random. */
  readonly random?: () => number;
  /** Stands between the broker's answer and the mark; a test dies here. */
  readonly beforeRecord?: () => Promise<void>;
}

export interface RelayStatus {
  /** "standby": another process leads. "waiting": the broker or the database is away; it tries again. */
  readonly state: "connecting" | "standby" | "leading" | "waiting" | "stopped";
  /** Events published by this process. */
  readonly published: number;
  /** Connections that the broker refused lately, set aside so that the others go on. */
  readonly held: number;
  /** Why it waits: a code. */
  readonly reason?: string;
}

export interface Relay {
  status(): RelayStatus;
  /** Finishes the window under way, resigns and closes the connection. */
  stop(): Promise<void>;
}

const LOOK_EVERY_MS = 1_000;
const CHECK_EVERY_MS = 5_000;
const BACKOFF_MIN_MS = 100;
const BACKOFF_MAX_MS = 5_000;
const TRIM_EVERY_WINDOWS = 1_000;

/**
 * Moves events from the ledger to JetStream for as long as it leads the stream: its only publisher, in order for each
 * connection, each event once. Intake never waits for it: while the broker is away it tries again with growing pauses,
 * and then drains in order.
 */
export function startRelay(options: RelayOptions): Relay {
  const { database, handOff, servers, log, random = Math.random } = options;
  const holder = options.holder ?? crypto.randomUUID();
  const stopping = new AbortController();
  const { signal } = stopping;
  let status: RelayStatus = { state: "connecting", published: 0, held: 0 };
  const holds = createHolds(() => performance.now());
  const tell = (state: RelayStatus["state"], reason?: string): void => {
    if (state !== status.state) log?.info({ state, reason }, "relay");
    status = { state, published: status.published, held: holds.size, ...(reason === undefined ? {} : { reason }) };
  };

  async function live(): Promise<void> {
    const { monitorUrl } = options;
    const broker = await openBroker({ servers, signal, ...(monitorUrl === undefined ? {} : { monitorUrl }) });
    for (const warning of await broker.warnings()) log?.warn({ warning }, "about the broker");
    try {
      for (let failures = 0; !signal.aborted;) {
        try {
          const token = await lead(database, EVENT_STREAM, holder);
          if (token === undefined) tell("standby");
          else await reign(broker, { stream: EVENT_STREAM, holder, token }, () => (failures = 0));
          await pause(LEADER_RENEW_MS / 2);
        } catch (error) {
          if (error instanceof LeadershipLost) tell("standby");
          else tell("waiting", error instanceof Error ? error.name : "unknown");
          const limit = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** failures++);
          await pause(limit * (0.5 + random() / 2));
        }
      }
    } finally {
      await resign(database, EVENT_STREAM, holder).catch(() => {});
      await broker.close().catch(() => {});
    }
  }

  const pause = (ms: number): Promise<void> => sleep(ms, undefined, { signal }).catch(() => {});

  /** Leads until stopped. @throws LeadershipLost, or what the broker or the database failed with. */
  async function reign(broker: Broker, leadership: Leadership, healthy: () => void): Promise<void> {
    const differences = await broker.ensureStreams(options.retentionDays ?? 30);
    for (const difference of differences)
      log?.warn({ ...difference }, "a stream is not set up as it should be: see `tributary relay stream`");
    const over = new AbortController();
    const renewing = renew(leadership, over, AbortSignal.any([signal, over.signal]));
    const source = createRelaySource(database, holds.has);
    const bell = createBell();
    const unsubscribe = handOff.subscribe((wake) => {
      if (wake.kind === "batch") source.offer(wake.batch, wake.firstSequence);
      else if (wake.kind === "connection") source.wake(wake.connectionId);
      else if (wake.kind === "unknown") source.look();
      bell.ring();
    });
    const ring = (): void => bell.ring();
    signal.addEventListener("abort", ring);
    over.signal.addEventListener("abort", ring);
    try {
      while (!signal.aborted) {
        source.reset();
        steps.publish("relay.reconcile.before");
        const { state, repair, found } = await reconcile(database, broker, leadership);
        if (repair !== undefined) log?.warn({ repair, found }, "the stream lost events: publishing them again");
        steps.publish("relay.reconcile.after");
        tell("leading");
        const stream = { broker, leadership, source, bell, state, lastSequence: state.lastSequence, healthy };
        const trouble = await publishOn(stream, over.signal);
        if (trouble !== undefined) throw new BrokerTrouble(trouble);
      }
    } finally {
      unsubscribe();
      signal.removeEventListener("abort", ring);
      over.abort();
      await renewing;
    }
  }

  async function renew(leadership: Leadership, over: AbortController, ended: AbortSignal): Promise<void> {
    while (!ended.aborted) {
      await sleep(LEADER_RENEW_MS, undefined, { signal: ended }).catch(() => {});
      if (ended.aborted) return;
      const token = await lead(database, leadership.stream, holder).catch(() => leadership.token);
      if (token !== leadership.token) over.abort(new LeadershipLost());
    }
  }

  interface Publishing {
    readonly broker: Broker;
    readonly leadership: Leadership;
    readonly source: ReturnType<typeof createRelaySource>;
    readonly bell: ReturnType<typeof createBell>;
    /** As it was reconciled. */
    readonly state: StreamState;
    readonly healthy: () => void;
    lastSequence: number;
  }

  /**
   * Publishes window after window, reading the next one meanwhile and recording the last one meanwhile.
   * @returns when the stream must be looked at again: undefined when that is all, or why it should wait before.
   */
  async function publishOn(stream: Publishing, over: AbortSignal): Promise<string | undefined> {
    let reading = stream.source.next();
    let recording: Promise<void> = Promise.resolve();
    let lookAt = performance.now() + LOOK_EVERY_MS;
    let checkAt = performance.now() + CHECK_EVERY_MS;
    try {
      for (let windows = 1; ; windows++) {
        const window = await reading;
        if (signal.aborted) return undefined;
        if (over.aborted) throw over.reason;
        if (performance.now() >= lookAt) {
          stream.source.look();
          lookAt = performance.now() + LOOK_EVERY_MS;
        }
        if (window.events.length === 0 && window.passed.size === 0) {
          await stream.bell.wait(Math.max(1, lookAt - performance.now()));
          // A publisher with nothing to say would learn of a stream that lost something with its next event only.
          if (performance.now() >= checkAt) {
            checkAt = performance.now() + CHECK_EVERY_MS;
            await recording;
            if (!isAsKnown(stream, await stream.broker.state())) return undefined;
          }
        }
        const sorted = sortOut(stream.broker, window.events);
        if (sorted.sent.length > 0) steps.publish("relay.publish.before");
        const span = sorted.sent.length === 0 ? undefined : publishSpan(sorted.sent.length);
        const publishing = stream.broker.publish(sorted.sent, stream.lastSequence);
        reading = stream.source.next();
        reading.catch(() => {});
        const outcomes = await publishing;
        span?.end();
        if (outcomes.length > 0) steps.publish("relay.publish.after");
        await recording;
        recording = settle(stream, window, sorted, outcomes);
        recording.catch(() => {});
        const trouble = outcomes.find(({ kind }) => kind !== "stored");
        if (trouble !== undefined || sorted.refused.size > 0) {
          await recording;
          return outcomes.find((one) => one.kind === "unavailable")?.reason;
        }
        if (windows % TRIM_EVERY_WINDOWS === 0) await trimRanges(database, stream.leadership.stream);
      }
    } finally {
      await Promise.allSettled([reading, recording]);
    }
  }

  async function settle(stream: Publishing, window: RelayWindow, sorted: Sorted, outcomes: readonly Outcome[]) {
    const tally = createTally(stream.state.created);
    for (const [event, reason] of sorted.refused) tally.park(event, reason);
    let published = 0;
    const stopped = new Set<string>();
    for (const [index, outcome] of outcomes.entries()) {
      const event = sorted.sent[index];
      // Behind its first failure nothing of a connection counts.
      if (event === undefined || stopped.has(event.connectionId)) continue;
      const { connectionId } = event;
      if (outcome.kind === "poison") tally.park(event, outcome.reason);
      else if (outcome.kind === "refused" || isGone(outcome, stream.state)) {
        stopped.add(connectionId);
        const reason = outcome.kind === "refused" ? outcome.reason : ID_REMEMBERED;
        const verdict = holds.refuse(connectionId, reason, status.published + published);
        if (verdict === "park") tally.park(event, reason);
        log?.warn({ connection: connectionId, reason, verdict }, "the broker refuses an event");
      } else if (outcome.kind === "stored" || outcome.kind === "duplicate") {
        tally.add(connectionId, event.sequence, outcome.streamSequence);
        stream.lastSequence = Math.max(stream.lastSequence, outcome.streamSequence);
        if (holds.size > 0) holds.clear(connectionId);
        published++;
      } else stopped.add(connectionId);
    }
    status = { ...status, published: status.published + published, held: holds.size };
    const progress = tally.progress(window.passed);
    if (progress.published.size === 0 && progress.parked.size === 0) return;
    await options.beforeRecord?.();
    steps.publish("relay.record.before");
    await record(database, stream.leadership, progress);
    steps.publish("relay.record.after");
    stream.healthy();
    const { size } = progress.parked;
    if (size > 0) log?.warn({ connections: size }, "parked: the broker refuses an event for good");
  }

  const living = live().then(
    () => tell("stopped"),
    () => tell("stopped"),
  );
  return {
    status: () => status,
    stop: async () => {
      stopping.abort();
      await living;
    },
  };
}

/** Stands for the SDK's tracer once somebody has installed one, and does nothing before. */
const tracer = trace.getTracer("tributary.pipeline");

/** One for a window: each of its events carries the context of the run that committed it. Names as OpenTelemetry has them. */
const publishSpan = (events: number): Span =>
  tracer.startSpan("tributary.publish", {
    kind: SpanKind.PRODUCER,
    attributes: {
      "messaging.system": "nats",
      "messaging.destination.name": EVENT_STREAM,
      "messaging.batch.message_count": events,
    },
  });

/** The stream knows the id of a message that it no longer has: it was purged within the last two minutes. */
const isGone = (outcome: Outcome, { firstSequence }: StreamState): boolean =>
  outcome.kind === "duplicate" && outcome.streamSequence < firstSequence;

const isAsKnown = (known: { readonly state: StreamState; readonly lastSequence: number }, is: StreamState): boolean =>
  is.created === known.state.created &&
  is.lastSequence === known.lastSequence &&
  is.firstSequence === known.state.firstSequence;

interface Sorted {
  readonly sent: readonly LedgerEvent[];
  /** The first event of each connection that can never be published, and why. */
  readonly refused: ReadonlyMap<LedgerEvent, string>;
}

/** Leaves out what can never be published, and what follows it in its connection. */
function sortOut(broker: Broker, events: readonly LedgerEvent[]): Sorted {
  const stopped = new Set<string>();
  const refused = new Map<LedgerEvent, string>();
  const sent = events.filter((event) => {
    if (stopped.has(event.connectionId)) return false;
    const reason = broker.refusal(event);
    if (reason === undefined) return true;
    stopped.add(event.connectionId);
    refused.set(event, reason);
    return false;
  });
  return { sent, refused };
}

/** The broker answered that it cannot, or did not answer. */
class BrokerTrouble extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = reason;
  }
}
