import { acrossOrganizations, type Database, type Queryable, run } from "@tributary/db";

const DAY_MS = 86_400_000;

/** Partitions made ahead of today. */
const DAYS_AHEAD = 7;

export interface RetentionOptions {
  /** Whole days that events are kept after their day of commit. Default 30. */
  readonly retentionDays?: number;
  /**
   * Keeps a partition while it holds an event that is still to be published; a parked connection does not count. True
   * where a relay runs. Default false: without one nothing is ever published.
   */
  readonly keepUnpublished?: boolean;
}

/**
 * Makes the ledger's partitions of today and the next 7 days, and empties what the net caught into them. Call it at
 * start and daily; calling it again does nothing. Several processes may: an advisory lock lets one work.
 * @returns the days that were made, as YYYY-MM-DD.
 */
export async function ensurePartitions(database: Database, now: Date): Promise<readonly string[]> {
  return acrossOrganizations(database, "upkeep", async (tx) => {
    await run(tx, LOCK);
    const known = new Set(await partitionDays(tx));
    const caught = await run<{ day: string }>(tx, "SELECT DISTINCT day::text AS day FROM pipeline.event_default");
    const ahead = Array.from({ length: DAYS_AHEAD + 1 }, (_, index) => isoDay(now.getTime() + index * DAY_MS));
    const missing = [...new Set([...caught.map(({ day }) => day), ...ahead])].filter((day) => !known.has(day));
    for (const day of missing.toSorted()) await run(tx, "SELECT pipeline.make_partition($1::date)", [day]);
    return missing;
  });
}

/**
 * Drops the partitions whose day is over by more than the retention, by this process's clock and by the database's: days
 * are the database's, and a hub whose clock is a month ahead drops nothing.
 * @returns the days that were dropped, as YYYY-MM-DD.
 */
export async function dropExpiredPartitions(
  database: Database,
  now: Date,
  { retentionDays = 30, keepUnpublished = false }: RetentionOptions = {},
): Promise<readonly string[]> {
  return acrossOrganizations(database, "upkeep", async (tx) => {
    await run(tx, LOCK);
    const [kept] = await run<{ oldest: string }>(tx, OLDEST_KEPT, [isoDay(now.getTime()), retentionDays]);
    const oldest = kept?.oldest ?? "";
    const dropped: string[] = [];
    for (const day of (await partitionDays(tx)).filter((one) => one < oldest)) {
      if (keepUnpublished && (await run(tx, UNPUBLISHED_OF_DAY, [day])).length > 0) break;
      await run(tx, "SELECT pipeline.drop_partition($1::date)", [day]);
      dropped.push(day);
    }
    await run(tx, EMPTY_NET, [oldest, keepUnpublished]);
    return dropped;
  });
}

/** Nobody waits long behind a change of partitions: it gives up, and the next day's call does it. */
const LOCK = "SELECT pg_advisory_xact_lock(hashtext('tributary.partitions')), set_config('lock_timeout', '5s', true)";

const OLDEST_KEPT = `
SELECT (least($1::date, (clock_timestamp() AT TIME ZONE 'UTC')::date) - $2::int)::text AS oldest`;

const PARTITIONS = `
SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'pipeline.event'::regclass ORDER BY c.relname`;

const UNPUBLISHED_OF_DAY = `
SELECT 1 FROM pipeline.position p
WHERE p.head > p.published AND p.parked_sequence IS NULL AND EXISTS (
  SELECT 1 FROM pipeline.event e WHERE e.day = $1::date AND e.connection_id = p.connection_id AND e.sequence > p.published)
LIMIT 1`;

const EMPTY_NET = `
DELETE FROM pipeline.event_default e WHERE e.day < $1::date AND NOT ($2 AND EXISTS (
  SELECT 1 FROM pipeline.position p WHERE p.connection_id = e.connection_id AND p.head > p.published
    AND p.parked_sequence IS NULL AND e.sequence > p.published))`;

/** SQL: the day of the oldest partition, which is as far back as the ledger goes; "-infinity" without any. */
export const OLDEST_DAY = `(
  SELECT coalesce(min(to_date(right(r.relname, 8), 'YYYYMMDD')), '-infinity') FROM pg_inherits i
  JOIN pg_class r ON r.oid = i.inhrelid
  WHERE i.inhparent = 'pipeline.event'::regclass AND r.relname ~ '^event_[0-9]{8}$')`;

async function partitionDays(tx: Queryable): Promise<string[]> {
  const names = await run<{ name: string }>(tx, PARTITIONS);
  return names.flatMap(({ name }) => {
    const [, year, month, day] = /^event_(\d{4})(\d\d)(\d\d)$/.exec(name) ?? [];
    return year === undefined ? [] : [`${year}-${month}-${day}`];
  });
}

const isoDay = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
