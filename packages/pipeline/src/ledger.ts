import { type Queryable, run } from "@tributary/db";
import { and, eq } from "drizzle-orm";
import { event as eventTable } from "./schema.ts";

/** An event as the ledger holds it. */
export interface LedgerEvent {
  readonly organizationId: string;
  readonly connectionId: string;
  readonly connector: string;
  /** Position within the connection, from 1. */
  readonly sequence: bigint;
  readonly id: string;
  /** Full protobuf name of the payload. */
  readonly type: string;
  readonly subject: string;
  readonly objectKey: string;
  /** When it happened, by the provider's clock; milliseconds since the epoch. */
  readonly timeMs: number;
  readonly backfill: boolean;
  readonly traceparent: string;
  readonly payload: Uint8Array;
}

/** Where a reader stands in a connection. */
export interface LedgerPlace {
  readonly sequence: bigint;
  /** UTC day of the event at `sequence`, YYYY-MM-DD: nothing older is looked at. Absent: everything that is retained. */
  readonly day?: string;
}

const COLUMNS = `day::text AS day, sequence, connector, id, type, subject, object_key,
  date_part('epoch', time) * 1000 AS time_ms, backfill, traceparent`;

export interface LedgerRow {
  readonly day: string;
  readonly sequence: bigint;
  readonly connector: string;
  readonly id: string;
  readonly type: string;
  readonly subject: string;
  readonly object_key: string;
  readonly time_ms: number;
  readonly backfill: boolean;
  readonly traceparent: string;
  readonly payload: Uint8Array | null;
}

/** A row that {@link eventsAfter} read: the event, and where reading goes on. */
export interface LedgerStep {
  readonly place: Required<LedgerPlace>;
  /** Absent when the reader did not ask for its type. */
  readonly event: LedgerEvent | undefined;
}

/** Exported for the test of its plan. */
export const EVENTS_AFTER = `
SELECT ${COLUMNS}, CASE WHEN $5::text[] IS NULL OR type = ANY ($5::text[]) THEN payload END AS payload
FROM pipeline.events_after($1, $3, $4, $6) WHERE organization_id = $2 ORDER BY sequence`;

/**
 * The next events of a connection, in order; those of other types come without their content, so that a reader can
 * pass over them at the price of a row.
 * @param types full protobuf names; empty means every type.
 */
export async function eventsAfter(
  on: Queryable,
  connection: { readonly organizationId: string; readonly connectionId: string },
  after: LedgerPlace,
  types: readonly string[],
  limit: number,
): Promise<readonly LedgerStep[]> {
  const { organizationId, connectionId } = connection;
  const rows = await run<LedgerRow>(on, EVENTS_AFTER, [
    connectionId,
    organizationId,
    after.sequence,
    after.day ?? "-infinity",
    types.length === 0 ? null : types,
    limit,
  ]);
  return rows.map((row) => ({
    place: { sequence: row.sequence, day: row.day },
    event: row.payload === null ? undefined : ledgerEvent(organizationId, connectionId, row, row.payload),
  }));
}

/** Exported for the test of its plan. */
export const CONNECTIONS_AFTER = `
SELECT c.id AS connection_id, e.* FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS c (id, after, since)
CROSS JOIN LATERAL (
  SELECT organization_id, ${COLUMNS}, payload FROM pipeline.events_after(c.id, c.after, c.since::date, $4)
) AS e ORDER BY c.id, e.sequence`;

/**
 * The next events of many connections at once, whatever their organisation: for the relay alone.
 * @param limit for each connection.
 */
export async function connectionsAfter(
  on: Queryable,
  places: readonly (LedgerPlace & { readonly connectionId: string })[],
  limit: number,
): Promise<ReadonlyMap<string, readonly { readonly event: LedgerEvent; readonly day: string }[]>> {
  type Row = LedgerRow & { readonly connection_id: string; readonly organization_id: string };
  const rows = await run<Row>(on, CONNECTIONS_AFTER, [
    places.map((place) => place.connectionId),
    places.map((place) => String(place.sequence)),
    places.map((place) => place.day ?? "-infinity"),
    limit,
  ]);
  const read = new Map<string, { event: LedgerEvent; day: string }[]>();
  for (const row of rows) {
    const event = ledgerEvent(row.organization_id, row.connection_id, row, row.payload ?? new Uint8Array());
    const steps = read.get(row.connection_id);
    if (steps === undefined) read.set(row.connection_id, [{ event, day: row.day }]);
    else steps.push({ event, day: row.day });
  }
  return read;
}

const LAST_EVENTS = `
SELECT ${COLUMNS}, payload FROM pipeline.event
WHERE connection_id = $1 AND organization_id = $2 ORDER BY sequence DESC LIMIT $3`;

/** The newest first. */
export async function lastConnectionEvents(
  on: Queryable,
  organizationId: string,
  connectionId: string,
  limit: number,
): Promise<readonly LedgerEvent[]> {
  const rows = await run<LedgerRow>(on, LAST_EVENTS, [connectionId, organizationId, limit]);
  return rows.map((row) => ledgerEvent(organizationId, connectionId, row, row.payload ?? new Uint8Array()));
}

/** Events that are still retained. */
export async function countConnectionEvents(
  on: Queryable,
  organizationId: string,
  connectionId: string,
): Promise<number> {
  return on.$count(
    eventTable,
    and(eq(eventTable.connectionId, connectionId), eq(eventTable.organizationId, organizationId)),
  );
}

const STRIP_CELL_MS = 1_800_000;
const STRIP_CELLS = 48;

const STRIPS = `
SELECT connection_id, floor(extract(epoch FROM committed_at - $3::timestamptz) * 1000 / ${STRIP_CELL_MS})::int AS cell,
  count(*)::int AS events
FROM pipeline.event
WHERE organization_id = $1 AND connection_id = ANY ($2::uuid[]) AND day >= ($3::timestamptz AT TIME ZONE 'UTC')::date
  AND committed_at >= $3::timestamptz AND committed_at < $4::timestamptz
GROUP BY 1, 2`;

/**
 * For the 24-hour strip: how many events each connection committed in each of 48 half hours, oldest first; the last
 * cell is the half hour that `now` is in. A connection without events is absent.
 */
export async function eventStrips(
  on: Queryable,
  organizationId: string,
  connectionIds: readonly string[],
  now: Date,
): Promise<ReadonlyMap<string, readonly number[]>> {
  const strips = new Map<string, number[]>();
  if (connectionIds.length === 0) return strips;
  const end = (Math.floor(now.getTime() / STRIP_CELL_MS) + 1) * STRIP_CELL_MS;
  const rows = await run<{ connection_id: string; cell: number; events: number }>(on, STRIPS, [
    organizationId,
    connectionIds,
    new Date(end - STRIP_CELLS * STRIP_CELL_MS).toISOString(),
    new Date(end).toISOString(),
  ]);
  for (const { connection_id: id, cell, events } of rows) {
    const strip = strips.get(id) ?? Array<number>(STRIP_CELLS).fill(0);
    strip[cell] = events;
    strips.set(id, strip);
  }
  return strips;
}

const DELETE_EVENTS = `
WITH gone AS (
  DELETE FROM pipeline.event WHERE connection_id = $1 AND organization_id = $2 RETURNING 1
), letters AS (
  DELETE FROM pipeline.dead_letter WHERE connection_id = $1 AND organization_id = $2
)
SELECT count(*) AS events FROM gone`;

/**
 * Erases a connection's events, dead letters included. Its position stays, so that no sequence is ever used twice, and
 * says how far it was erased.
 * @param tx whose transaction has locked the connection against its writers.
 * @returns how many.
 */
export async function deleteConnectionEvents(
  tx: Queryable,
  organizationId: string,
  connectionId: string,
): Promise<number> {
  const [row] = await run<{ events: bigint }>(tx, DELETE_EVENTS, [connectionId, organizationId]);
  await markErased(tx, organizationId, [connectionId]);
  return Number(row?.events ?? 0);
}

const MARK_ERASED = `
UPDATE pipeline.position SET erased = head WHERE organization_id = $1 AND connection_id = ANY ($2::uuid[])`;

/** After the deletion, which may take long: until the end of the transaction the relay waits for these rows. */
export const markErased = async (
  tx: Queryable,
  organizationId: string,
  connectionIds: readonly string[],
): Promise<void> => void (await run(tx, MARK_ERASED, [organizationId, connectionIds]));

function ledgerEvent(organizationId: string, connectionId: string, row: LedgerRow, payload: Uint8Array): LedgerEvent {
  return {
    organizationId,
    connectionId,
    connector: row.connector,
    sequence: row.sequence,
    id: row.id,
    type: row.type,
    subject: row.subject,
    objectKey: row.object_key,
    // date_part is a float: a millisecond comes back with rounding noise far below itself.
    timeMs: Math.round(row.time_ms),
    backfill: row.backfill,
    traceparent: row.traceparent,
    payload,
  };
}
