import { metrics } from "@opentelemetry/api";
import { acrossOrganizations, type Database, run } from "@tributary/db";
import type { RelayLog } from "./relay.ts";

/** What the ledger holds and the broker has not acknowledged. */
export interface Backlog {
  readonly connections: number;
  readonly events: number;
  /** What they take on disk, index included; estimated from a sample, and usually right within a fifth. */
  readonly bytes: number;
  /** When the oldest of them was committed, milliseconds since the epoch; undefined when nothing waits. */
  readonly oldestAtMs: number | undefined;
  /** How long ago that was by the database's clock, which stamped it. */
  readonly oldestAgeMs: number | undefined;
}

/** A row's entry in the index, and its place on its page. */
const BYTES_BESIDE_ROW = 64;

/**
 * By the index of unpublished positions, so the cost follows what waits and not what exists. Parked connections do not
 * count: they wait for an operator, and one of them must not stop everybody's intake; retention bounds them. The oldest
 * is looked for in the 50 connections that have been quiet for longest.
 */
const BACKLOG = `
WITH waiting AS MATERIALIZED (
  SELECT connection_id, published, day, head - published AS events FROM pipeline.position
  WHERE head > published AND parked_sequence IS NULL
), sample AS (
  SELECT avg(pg_column_size(e.*)) AS bytes
  FROM (SELECT connection_id, published FROM waiting ORDER BY events DESC LIMIT 20) AS w
  CROSS JOIN LATERAL pipeline.events_after(w.connection_id, w.published, '-infinity', 25) AS e
), oldest AS (
  SELECT date_part('epoch', min(e.committed_at)) * 1000 AS at
  FROM (SELECT connection_id, published FROM waiting ORDER BY day, connection_id LIMIT 50) AS w
  CROSS JOIN LATERAL pipeline.events_after(w.connection_id, w.published, '-infinity', 1) AS e
)
SELECT count(*)::int AS connections, coalesce(sum(events), 0)::float8 AS events,
  coalesce(sum(events) * (SELECT bytes + ${BYTES_BESIDE_ROW} FROM sample), 0)::float8 AS bytes,
  (SELECT at FROM oldest)::float8 AS oldest_ms,
  (SELECT date_part('epoch', clock_timestamp()) * 1000 - at FROM oldest)::float8 AS oldest_age_ms
FROM waiting`;

export async function ledgerBacklog(database: Database): Promise<Backlog> {
  const [row] = await acrossOrganizations(database, "upkeep", (tx) => run<Row>(tx, BACKLOG));
  if (row === undefined) return NOTHING;
  const { connections, events, bytes, oldest_ms: oldest, oldest_age_ms: age } = row;
  return {
    connections,
    events,
    bytes: Math.round(bytes),
    oldestAtMs: oldest === null ? undefined : Math.round(oldest),
    oldestAgeMs: age === null ? undefined : Math.round(age),
  };
}

interface Row {
  readonly connections: number;
  readonly events: number;
  readonly bytes: number;
  readonly oldest_ms: number | null;
  readonly oldest_age_ms: number | null;
}

const NOTHING: Backlog = { connections: 0, events: 0, bytes: 0, oldestAtMs: undefined, oldestAgeMs: undefined };

export interface BacklogState extends Backlog {
  readonly bytesMax: number;
  /** Intake should rest: what waits takes more than it may. */
  readonly full: boolean;
}

export interface BacklogWatch {
  state(): BacklogState;
  /** Looks now. A database that is away changes nothing. */
  look(): Promise<void>;
  stop(): Promise<void>;
}

export interface BacklogWatchOptions {
  readonly database: Database;
  /** What the backlog may take on disk before intake rests. Default 10 GiB. */
  readonly bytesMax?: number;
  /** Default 5,000. */
  readonly everyMs?: number;
  readonly log?: RelayLog;
}

export const BACKLOG_BYTES_MAX = 10 * 1024 ** 3;

/** Intake goes on again below this part of what is allowed, so that it does not flutter. */
const OPEN_AGAIN = 0.9;

/**
 * Watches how much waits for the broker. Where nothing is relayed there is nothing to watch: then the retention alone
 * bounds the ledger. Says so in the log, and as gauges of OpenTelemetry, when the intake has to rest and when it goes on.
 */
export function watchBacklog({ database, log, ...options }: BacklogWatchOptions): BacklogWatch {
  const { bytesMax = BACKLOG_BYTES_MAX, everyMs = 5_000 } = options;
  let state: BacklogState = { ...NOTHING, bytesMax, full: false };
  let under: Promise<void> | undefined;
  const look = async (): Promise<void> => {
    const backlog = await ledgerBacklog(database).catch(() => undefined);
    if (backlog === undefined) return;
    const full = backlog.bytes > bytesMax * (state.full ? OPEN_AGAIN : 1);
    if (full !== state.full) {
      const { events, bytes } = backlog;
      if (full) log?.warn({ events, bytes, bytesMax }, "too much waits for the broker: intake rests, nothing is lost");
      else log?.info({ events, bytes, bytesMax }, "the broker has caught up: intake goes on");
    }
    state = { ...backlog, bytesMax, full };
  };
  const timer = setInterval(() => {
    under ??= look().finally(() => (under = undefined));
  }, everyMs);
  const unobserve = observe(() => state);
  return {
    state: () => state,
    look,
    stop: async () => {
      clearInterval(timer);
      unobserve();
      await under;
    },
  };
}

/** Costs nothing while nobody has installed an SDK. */
function observe(state: () => BacklogState): () => void {
  const meter = metrics.getMeter("tributary.pipeline");
  const events = meter.createObservableGauge("tributary.backlog.events", { unit: "{event}" });
  const bytes = meter.createObservableGauge("tributary.backlog.bytes", { unit: "By" });
  const resting = meter.createObservableGauge("tributary.intake.resting");
  const gauges = [events, bytes, resting];
  const read: Parameters<typeof meter.addBatchObservableCallback>[0] = (result) => {
    result.observe(events, state().events);
    result.observe(bytes, state().bytes);
    result.observe(resting, state().full ? 1 : 0);
  };
  meter.addBatchObservableCallback(read, gauges);
  return () => meter.removeBatchObservableCallback(read, gauges);
}
