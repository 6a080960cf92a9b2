import { EVENT_STREAM } from "@tributary/contracts";
import type { Database } from "@tributary/db";
import { channel } from "node:diagnostics_channel";
import { setTimeout as sleep } from "node:timers/promises";
import { createBell } from "./bell.ts";
import type { HandOff } from "./hand-off.ts";
import { BrokerTrouble, type Outcome, troubleReason } from "./broker-answers.ts";
import { type Broker, openBroker, type StreamState } from "./jetstream.ts";
import { createHolds, ID_REMEMBERED } from "./relay-holds.ts";
import { lead, LEADER_RENEW_MS, resign } from "./relay-leader.ts";
import {
  createTally,
  type Leadership,
  LeadershipLost,
  reconcile,
  record,
  type RepairKind,
  trimRanges,
} from "./relay-progress.ts";
import { createRelaySource, type RelayWindow } from "./relay-source.ts";
import type { StreamDifference } from "./stream-settings.ts";
import { ANOTHER_PUBLISHER, isAsKnown, isGone, publishSpan, type Sorted, sortOut, whyStopped } from "./relay-window.ts";

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
  /** Copies of the streams in the cluster, when they are made. Default: the broker's, which is one. */
  readonly replicas?: number;
  /** `http://host:8222` of nats-server's monitoring, if it may be asked how it flushes. */
  readonly monitorUrl?: string;
  readonly log?: RelayLog;
  /** In [0, 1); spreads retries. Default Math.random. */
  readonly random?: () => number;
  /** Stands between the broker's answer and the mark; a test dies here. */
  readonly beforeRecord?: () => Promise<void>;
}

export interface RelayStatus {
  /**
   * "standby": another process leads. "catching_up": it leads, and finds out what the stream holds. "waiting": the broker
   * or the database is away or refuses; it tries again, and lets another process lead that fares better.
   */
  readonly state: "connecting" | "standby" | "catching_up" | "leading" | "waiting" | "stopped";
  /** When the state began; milliseconds since the epoch. */
  readonly sinceMs: number;
  /** Why it waits: a code of docs/OPERATIONS.md. */
  readonly reason?: string;
  /** Events published by this process. */
  readonly published: number;
  /** Messages that this process found in the stream without having known of them. */
  readonly found: number;
  /** Connections that the broker refused lately, set aside so that the others go on. */
  readonly held: number;
  /** How often this process found a stream that had lost events. */
  readonly repairs: Readonly<Record<RepairKind, number>>;
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
/** Windows that may begin in another's place, one after the other, before the relay waits a moment. */
const TURNS_MAX = 2;
/** How often a long look at the stream says how far it has come. */
const TELL_EVERY_MS = 10_000;

/**
 * Moves events from the ledger to JetStream for as long as it leads the stream: its only publisher, in order for each
 * connection, each event once. Intake never waits for it: while the broker is away it tries again with growing pauses,
 * and then drains in order.
 */
export function startRelay(options: RelayOptions): Relay {
  const { database, handOff, log, random = Math.random } = options;
  const holder = options.holder ?? crypto.randomUUID();
  const stopping = new AbortController();
  /** In a row, without anything recorded in between. */
  let failures = 0;
  const { signal } = stopping;
  let status: RelayStatus = {
    state: "connecting",
    sinceMs: Date.now(),
    published: 0,
    found: 0,
    held: 0,
    repairs: { recreated: 0, regressed: 0, purged: 0 },
  };
  const holds = createHolds(() => performance.now());
  const about = tellAboutBroker(log);
  const tell = (state: RelayStatus["state"], reason?: string): void => {
    const { reason: before, ...rest } = status;
    const sinceMs = state === status.state ? status.sinceMs : Date.now();
    status = { ...rest, state, sinceMs, held: holds.size, ...(reason === undefined ? {} : { reason }) };
    if (state === rest.state && reason === before) return;
    const fields = { state, ...(reason === undefined ? {} : { reason }), ms: Date.now() - rest.sinceMs };
    if (state === "waiting") log?.warn(fields, "the relay waits: events are kept, and published when it can go on");
    else log?.info(fields, "the relay");
  };

  async function live(): Promise<void> {
    while (!signal.aborted) {
      const broker = await openBroker({ ...options, signal, onFailure: (reason) => tell("waiting", reason) });
      try {
        await serve(broker);
      } finally {
        await resign(database, EVENT_STREAM, holder).catch(() => {});
        await broker.close().catch(() => {});
      }
    }
  }

  /** Leads or stands by, for as long as this connection to the broker is good. */
  async function serve(broker: Broker): Promise<void> {
    while (!signal.aborted && !broker.over()) {
      try {
        const trouble = broker.trouble();
        if (trouble !== undefined) throw new BrokerTrouble(trouble);
        const token = await lead(database, EVENT_STREAM, holder);
        if (token === undefined) tell("standby");
        else await reign(broker, { stream: EVENT_STREAM, holder, token });
        await pause(LEADER_RENEW_MS / 2);
      } catch (error) {
        if (signal.aborted) return;
        const reason = error instanceof LeadershipLost ? undefined : (broker.trouble() ?? troubleReason(error));
        tell(reason === undefined ? "standby" : "waiting", reason);
        const limit = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** failures++) * (0.5 + random() / 2);
        const ofBroker = reason !== undefined && !reason.startsWith("database_");
        if (ofBroker && failures > 1) await letAnotherLead(limit);
        else await pause(limit);
        await untilConnected(broker);
      }
    }
  }

  /** Whoever fails twice steps back for longer than a standby takes to look: it may have a right or a line that this one lacks. */
  async function letAnotherLead(ms: number): Promise<void> {
    await resign(database, EVENT_STREAM, holder).catch(() => {});
    await pause(Math.max(ms, LEADER_RENEW_MS));
  }

  /** Looks often, for it costs nothing, and takes no lead that it could not use. */
  async function untilConnected(broker: Broker): Promise<void> {
    while (!signal.aborted && !broker.over() && broker.trouble() !== undefined) {
      tell("waiting", broker.trouble());
      await pause(BACKOFF_MIN_MS);
    }
  }

  const pause = (ms: number): Promise<void> => sleep(ms, undefined, { signal }).catch(() => {});

  /** Leads until stopped. @throws LeadershipLost, or what the broker or the database failed with. */
  async function reign(broker: Broker, leadership: Leadership): Promise<void> {
    about.differences(await broker.ensureStreams(options.retentionDays ?? 30));
    about.warnings(broker);
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
      for (let turns = 0; !signal.aborted;) {
        source.reset();
        steps.publish("relay.reconcile.before");
        const { state, repair, found } = await reconcile(database, broker, leadership, foundSome);
        if (repair !== undefined) {
          status = { ...status, repairs: { ...status.repairs, [repair]: status.repairs[repair] + 1 } };
          log?.warn({ repair, found }, "the stream lost events: publishing them again");
        }
        steps.publish("relay.reconcile.after");
        tell("leading");
        const stream = { broker, leadership, source, bell, state, lastSequence: state.lastSequence };
        const { published } = status;
        const trouble = await publishOn(stream, over.signal);
        turns = status.published > published ? 0 : turns + 1;
        // Another publisher's message is passed by looking again; one that does not stop must not make this spin.
        if (trouble !== undefined && (trouble !== ANOTHER_PUBLISHER || turns > TURNS_MAX))
          throw new BrokerTrouble(trouble);
      }
    } finally {
      unsubscribe();
      signal.removeEventListener("abort", ring);
      over.abort();
      await renewing;
    }
  }

  let toldAt = 0;
  function foundSome(found: number, left: number): void {
    status = { ...status, found: status.found + found };
    tell("catching_up");
    if (performance.now() - toldAt < TELL_EVERY_MS) return;
    toldAt = performance.now();
    log?.info({ found: status.found, left }, "the relay finds out what the stream holds");
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
        if (stream.broker.trouble() !== undefined) return stream.broker.trouble();
        if (window.events.length === 0 && window.passed.size === 0) {
          await stream.bell.wait(Math.max(1, lookAt - performance.now()));
          // A publisher with nothing to say would learn of a stream that lost something with its next event only.
          if (performance.now() >= checkAt) {
            checkAt = performance.now() + CHECK_EVERY_MS;
            await recording;
            if (!isAsKnown(stream, await stream.broker.state())) return undefined;
            failures = 0;
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
          return whyStopped(outcomes);
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
    failures = 0;
    const { size } = progress.parked;
    if (size > 0) log?.warn({ connections: size }, "parked: the broker refuses an event for good");
  }

  const living = live().then(
    () => tell("stopped"),
    (error: unknown) => {
      if (!signal.aborted)
        log?.warn({ reason: troubleReason(error) }, "the relay ended: nothing is published any more");
      tell("stopped");
    },
  );
  return {
    status: () => status,
    stop: async () => {
      stopping.abort();
      await living;
    },
  };
}

/** Says what an operator should know, once, however often the lead is taken. */
function tellAboutBroker(log: RelayLog | undefined) {
  let differed = "[]";
  let warned = false;
  return {
    differences: (differences: readonly StreamDifference[]): void => {
      const now = JSON.stringify(differences);
      if (now === differed) return;
      differed = now;
      for (const difference of differences)
        log?.warn({ ...difference }, "a stream is not set up as it should be: see `tributary relay stream`");
    },
    /** Beside everything else: nobody waits for it. */
    warnings: (broker: Broker): void => {
      if (warned) return;
      warned = true;
      const say = (warning: string): void => log?.warn({ warning }, "about the broker: see `tributary relay stream`");
      void broker.warnings().then(
        (warnings) => warnings.forEach(say),
        () => {},
      );
    },
  };
}
