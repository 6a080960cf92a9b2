import { type Queryable, run } from "@tributary/db";
import type { LedgerEvent } from "./ledger.ts";

/** Which events of the ledger a replay reads. */
export interface ReplayScope {
  readonly organizationId: string;
  readonly types: readonly string[];
  readonly connectionIds: readonly string[];
  /** As the database writes it; null without a bound. */
  readonly fromAt: string | null;
  readonly untilAt: string;
}

/** Where a reader of a replay stands: behind this event. */
export interface ReplayPlace {
  readonly connectionId: string;
  readonly sequence: bigint;
}

/** What was read in one go. */
export interface ReplayPage {
  readonly events: readonly LedgerEvent[];
  /** Everything up to here was looked at. */
  readonly place: ReplayPlace;
  /** Whether that was the end. */
  readonly ended: boolean;
}

export const FIRST_PLACE: ReplayPlace = { connectionId: "00000000-0000-0000-0000-000000000000", sequence: 0n };

/** Connections that one page looks into at most: an organisation with many quiet ones is walked in several. */
const CONNECTIONS_A_PAGE = 200;

/**
 * The next events of a replay, connection by connection in the order of their ids, each in its own order. Walks indexes
 * only: whoever reads for hours sorts nothing and holds nothing open.
 * @param limit of events looked at.
 */
export async function replayPage(
  tx: Queryable,
  scope: ReplayScope,
  after: ReplayPlace,
  limit: number,
): Promise<ReplayPage> {
  const { organizationId, connectionIds, types, fromAt, untilAt } = scope;
  const named = connectionIds.length === 0 ? null : connectionIds;
  const connections = await run<{ id: string }>(tx, CONNECTIONS, [
    organizationId,
    after.connectionId,
    named,
    fromAt ?? "-infinity",
    CONNECTIONS_A_PAGE,
  ]);
  const events: LedgerEvent[] = [];
  let looked = 0;
  let place = after;
  for (const { id } of connections) {
    const sequence = id === after.connectionId ? after.sequence : 0n;
    const params = [id, sequence, fromAt ?? "-infinity", limit - looked, organizationId, untilAt];
    const rows = await run<Row>(tx, EVENTS, params);
    for (const row of rows)
      if (row.inside && (types.length === 0 || types.includes(row.type))) events.push(eventOf(organizationId, id, row));
    looked += rows.length;
    place = { connectionId: id, sequence: rows.at(-1)?.sequence ?? sequence };
    if (looked >= limit) return { events, place, ended: false };
    place = { connectionId: id, sequence: LAST_SEQUENCE };
  }
  return { events, place, ended: connections.length < CONNECTIONS_A_PAGE };
}

/** Behind every event of a connection. */
const LAST_SEQUENCE = 2n ** 63n - 1n;

/** The one that the reader stands in comes again: it may hold more. */
const CONNECTIONS = `
SELECT connection_id AS id FROM pipeline.position
WHERE organization_id = $1 AND connection_id >= $2 AND ($3::uuid[] IS NULL OR connection_id = ANY ($3::uuid[]))
  AND day >= ($4::timestamptz AT TIME ZONE 'UTC')::date
ORDER BY connection_id LIMIT $5`;

/** Days ascend within a connection: the first one behind the end ends it. */
const EVENTS = `
SELECT sequence, connector, id, type, subject, object_key, date_part('epoch', time) * 1000 AS time_ms, backfill,
  traceparent, payload, committed_at >= $3::timestamptz AND committed_at < $6::timestamptz AS inside
FROM pipeline.events_after($1, $2, ($3::timestamptz AT TIME ZONE 'UTC')::date, $4)
WHERE organization_id = $5 AND day <= ($6::timestamptz AT TIME ZONE 'UTC')::date ORDER BY sequence`;

interface Row {
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
  readonly inside: boolean;
}

const eventOf = (organizationId: string, connectionId: string, row: Row): LedgerEvent => ({
  organizationId,
  connectionId,
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
});

const COUNT = `
SELECT count(*) AS n FROM pipeline.event
WHERE organization_id = $1 AND day >= ($2::timestamptz AT TIME ZONE 'UTC')::date
  AND day <= ($3::timestamptz AT TIME ZONE 'UTC')::date
  AND committed_at >= $2::timestamptz AND committed_at < $3::timestamptz
  AND (cardinality($4::text[]) = 0 OR type = ANY ($4::text[]))
  AND (cardinality($5::uuid[]) = 0 OR connection_id = ANY ($5::uuid[]))`;

/** How many events a replay has. */
export async function countReplay(tx: Queryable, scope: ReplayScope): Promise<bigint> {
  const { organizationId, fromAt, untilAt, types, connectionIds } = scope;
  const params = [organizationId, fromAt ?? "-infinity", untilAt, types, connectionIds];
  const [row] = await run<{ n: bigint }>(tx, COUNT, params);
  return row?.n ?? 0n;
}
