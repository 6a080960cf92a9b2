import { type Database, type Queryable, run, withOrganization } from "@tributary/db";
import type { LedgerEvent } from "./ledger.ts";
import { pageToken, readPageToken } from "./page-token.ts";

/** An event as somebody looks at it who does not subscribe. */
export interface ReadEvent extends LedgerEvent {
  /** Milliseconds since the epoch. */
  readonly committedAtMs: number;
}

export interface EventQuery {
  readonly organizationId: string;
  /** Committed at or after; milliseconds since the epoch. */
  readonly fromMs?: number;
  /** Committed before. Default: whatever there is. */
  readonly untilMs?: number;
  /** Full protobuf names; empty means every type. */
  readonly types: readonly string[];
  /** A UUID; absent: every connection. */
  readonly connectionId?: string;
  /** 1 to {@link PAGE_EVENTS_MAX}. */
  readonly limit: number;
  /** `next` of the page before. */
  readonly after?: string;
}

export interface EventPage {
  /** The newest first. */
  readonly events: readonly ReadEvent[];
  /** Absent on the last page. */
  readonly next?: string;
}

/** Looks at the ledger: one event, or pages of them. */
export interface EventReader {
  /** @returns undefined when the id is unknown, foreign, or no longer retained. */
  get(organizationId: string, id: string): Promise<ReadEvent | undefined>;
  /** @throws PageTokenInvalid. */
  list(query: EventQuery): Promise<EventPage>;
}

export const PAGE_EVENTS_MAX = 200;

const DAY_MS = 86_400_000;
/** Nothing is retained for longer than partitions are kept, whatever the setting. */
const OLDEST_MS = 400 * DAY_MS;

/** `clock` is the time of day in milliseconds: where a list without an end begins. */
export function createEventReader(database: Database, clock: () => number): EventReader {
  return {
    get: (organizationId, id) =>
      withOrganization(
        database,
        organizationId,
        async (tx) => {
          const [row] = await run<ReadRow>(tx, EVENT_BY_ID, [organizationId, id]);
          return row === undefined ? undefined : readEvent(organizationId, row);
        },
        "reader",
      ),
    list: (query) => {
      const place = query.after === undefined ? undefined : placeOf(query.after);
      return withOrganization(database, query.organizationId, (tx) => list(tx, query, place, clock()), "reader");
    },
  };
}

/**
 * Windows of commit times, the newest first, each eight times as long as the one before: a busy ledger is asked for a
 * minute and answers from it, a quiet one is asked six times.
 */
async function list(tx: Queryable, query: EventQuery, place: Place | undefined, now: number): Promise<EventPage> {
  const { organizationId, types, connectionId, limit } = query;
  const oldest = await oldestMs(tx, now);
  const from = Math.max(query.fromMs ?? 0, oldest);
  // A commit may have been stamped by a database whose clock runs ahead of ours.
  let until = Math.min(query.untilMs ?? now + DAY_MS, place === undefined ? Infinity : place.ms + 1);
  const events: ReadRow[] = [];
  for (let width = DAY_MS + FIRST_WINDOW_MS; until > from && events.length <= limit; width *= 8) {
    const since = Math.max(from, until - width);
    const rows = await run<ReadRow>(tx, connectionId === undefined ? EVENTS : CONNECTION_EVENTS, [
      organizationId,
      new Date(since).toISOString(),
      new Date(until).toISOString(),
      types.length === 0 ? null : types,
      place?.at ?? "infinity",
      place?.connectionId ?? NO_ID,
      place?.sequence ?? 0n,
      limit + 1 - events.length,
      ...(connectionId === undefined ? [] : [connectionId]),
    ]);
    events.push(...rows);
    until = since;
    if (width > DAY_MS) width = FIRST_WINDOW_MS;
  }
  const page = events.slice(0, limit);
  const last = page.at(-1);
  return {
    events: page.map((row) => readEvent(organizationId, row)),
    ...(events.length > limit && last !== undefined
      ? { next: pageToken(last.committed_at, last.connection_id, last.sequence) }
      : {}),
  };
}

const FIRST_WINDOW_MS = 60_000;
const NO_ID = "00000000-0000-0000-0000-000000000000";

/** Where the ledger begins: no window is looked at before. */
async function oldestMs(tx: Queryable, now: number): Promise<number> {
  const rows = await run<{ name: string }>(tx, PARTITIONS);
  const days = rows.map(({ name }) => /^event_(\d{4})(\d{2})(\d{2})$/.exec(name)).filter((match) => match !== null);
  const starts = days.map(([, year, month, day]) => Date.UTC(Number(year), Number(month) - 1, Number(day)));
  return rows.some(({ name }) => name === "event_default") && starts.length === 0
    ? now - OLDEST_MS
    : Math.max(now - OLDEST_MS, Math.min(...starts) - DAY_MS);
}

const PARTITIONS = `
SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'pipeline.event'::regclass`;

interface ReadRow {
  readonly connection_id: string;
  readonly sequence: bigint;
  readonly connector: string;
  readonly id: string;
  readonly type: string;
  readonly subject: string;
  readonly object_key: string;
  readonly time_ms: number;
  readonly backfill: boolean;
  readonly traceparent: string;
  readonly payload: Uint8Array;
  readonly committed_at: string;
  readonly committed_ms: number;
}

const COLUMNS = `connection_id, sequence, connector, id, type, subject, object_key,
  date_part('epoch', time) * 1000 AS time_ms, backfill, traceparent, payload, committed_at::text AS committed_at,
  date_part('epoch', committed_at) * 1000 AS committed_ms`;

/** By the index that knows in which pages an id may be. */
const EVENT_BY_ID = `SELECT ${COLUMNS} FROM pipeline.event_by_id($1, $2)`;

/** The day of an event is that of its commit, or a later one when the clock was set back. */
const within = (more: string): string => `
SELECT ${COLUMNS} FROM pipeline.event
WHERE organization_id = $1 AND day >= ($2::timestamptz AT TIME ZONE 'UTC')::date${more}
  AND committed_at >= $2::timestamptz AND committed_at < $3::timestamptz AND ($4::text[] IS NULL OR type = ANY ($4::text[]))
  AND (committed_at, connection_id, sequence) < ($5::timestamptz, $6::uuid, $7::bigint)
ORDER BY committed_at DESC, connection_id DESC, sequence DESC LIMIT $8`;

/** Exported for the test of its plan. */
export const EVENTS = within("");
const CONNECTION_EVENTS = within(" AND connection_id = $9");

function readEvent(organizationId: string, row: ReadRow): ReadEvent {
  return {
    organizationId,
    connectionId: row.connection_id,
    connector: row.connector,
    sequence: row.sequence,
    id: row.id,
    type: row.type,
    subject: row.subject,
    objectKey: row.object_key,
    timeMs: Math.round(row.time_ms),
    backfill: row.backfill,
    traceparent: row.traceparent,
    payload: row.payload,
    committedAtMs: Math.round(row.committed_ms),
  };
}

interface Place {
  readonly at: string;
  readonly ms: number;
  readonly connectionId: string;
  readonly sequence: bigint;
}

const PLACE = ["time", "uuid", "number"] as const;

function placeOf(token: string): Place {
  const [at = "", connectionId = "", sequence = "0"] = readPageToken(token, PLACE);
  return { at, ms: Math.ceil(Date.parse(at)), connectionId, sequence: BigInt(sequence) };
}
