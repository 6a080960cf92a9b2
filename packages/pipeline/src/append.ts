import { type Queryable, run } from "@tributary/db";

/** Events of one connection, in order, to be appended in the producer's own transaction. */
export interface EventBatch {
  readonly organizationId: string;
  /** A UUID. */
  readonly connectionId: string;
  readonly connector: string;
  /** True when the events were read from history. */
  readonly backfill: boolean;
  /** W3C trace context; "" when there is none. */
  readonly traceparent: string;
  /** 1 to {@link APPEND_EVENTS_MAX}. */
  readonly events: readonly PendingEvent[];
}

/** An event without its sequence: that is taken as it is inserted. */
export interface PendingEvent {
  readonly id: string;
  /** Full protobuf name. */
  readonly type: string;
  readonly subject: string;
  /** "<object>/<provider's id>". */
  readonly objectKey: string;
  /** When it happened; milliseconds since the epoch. */
  readonly timeMs: number;
  readonly payload: Uint8Array;
}

/** Events in one call at most; a longer run of events is several calls in one transaction. */
export const APPEND_EVENTS_MAX = 500;

/**
 * Appends events to the ledger and takes their sequences, in one statement. The connection's position row is locked
 * until the transaction ends: that is what orders a connection and leaves no gap.
 * @returns the sequence of the first event; the others follow without a gap.
 */
export type Append = (tx: Queryable, batch: EventBatch) => Promise<bigint>;

/**
 * Times are read after the position row is locked, and the day never goes back: within a connection, days ascend with
 * sequences, so a reader who knows the day of one event need not look at earlier partitions.
 *
 * Payloads travel as one blob that the server cuts up, and everything else as one JSON array whose type and subject
 * are indexes. Measured on PostgreSQL 15, 500 × 300 B, one writer, against the same statement with constants for
 * everything but the payload: this 0.7–0.75, seven arrays through unnest 0.6–0.7, json_to_recordset 0.6–0.7; bytea[]
 * instead of the blob halves any of them. The blob goes as base64, because the driver would send bytes as hexadecimal:
 * of 130 kB that takes 1 ms less of this process's CPU (0.6 and not 1.6), 0.1 ms more of the server's, and a third less of
 * the wire; embedded, 10 % less of a whole commit.
 */
const APPEND = `
WITH taken AS (
  INSERT INTO pipeline.position AS p (connection_id, organization_id, head, day)
  VALUES ($1, $2, $3, (clock_timestamp() AT TIME ZONE 'UTC')::date)
  ON CONFLICT (connection_id) DO UPDATE SET head = p.head + excluded.head,
    day = greatest(p.day, (clock_timestamp() AT TIME ZONE 'UTC')::date)
  WHERE p.organization_id = excluded.organization_id
  RETURNING head - $3 AS base, day, clock_timestamp() AS at
), written AS (
  INSERT INTO pipeline.event (day, connection_id, sequence, organization_id, connector, id, type, subject, object_key,
    time, backfill, traceparent, committed_at, payload)
  SELECT t.day, $1, t.base + n, $2, $4, e ->> 0, $5::jsonb ->> (e ->> 1)::int, $6::jsonb ->> (e ->> 1)::int, e ->> 2,
    to_timestamp((e ->> 3)::float8 / 1000), $7, $8, t.at, substr(b.bytes, (e ->> 4)::int, (e ->> 5)::int)
  FROM taken t, (SELECT decode($9, 'base64') AS bytes OFFSET 0) AS b, jsonb_array_elements($10::jsonb) WITH ORDINALITY AS x (e, n)
)
SELECT base + 1 AS first FROM taken`;

/**
 * {@link Append}, on PostgreSQL and PGlite.
 * @throws RangeError for no events or too many; TypeError when the connection belongs to another organisation.
 */
export const append: Append = async (tx, batch) => {
  const { events } = batch;
  if (events.length === 0 || events.length > APPEND_EVENTS_MAX)
    throw new RangeError(`append takes 1 to ${APPEND_EVENTS_MAX} events, not ${events.length}`);
  const { rows, types, subjects, blob } = columns(events);
  const params = [batch.connectionId, batch.organizationId, BigInt(events.length), batch.connector];
  const [taken] = await run<{ first: bigint }>(tx, APPEND, [
    ...params,
    JSON.stringify(types),
    JSON.stringify(subjects),
    batch.backfill,
    batch.traceparent,
    blob,
    JSON.stringify(rows),
  ]);
  if (taken === undefined) throw new TypeError("the connection belongs to another organisation");
  return taken.first;
};

function columns(events: readonly PendingEvent[]) {
  const kinds = new Map<string, number>();
  const types: string[] = [];
  const subjects: string[] = [];
  let start = 1;
  const rows = events.map(({ id, type, subject, objectKey, timeMs, payload }) => {
    let kind = kinds.get(subject);
    // Two types may share a subject, in which case each has a row of its own.
    if (kind === undefined || types[kind] !== type) {
      kind = types.push(type) - 1;
      subjects.push(subject);
      kinds.set(subject, kind);
    }
    const row = [id, kind, objectKey, timeMs, start, payload.length];
    start += payload.length;
    return row;
  });
  const blob = Buffer.concat(events.map(({ payload }) => payload)).toString("base64");
  return { rows, types, subjects, blob };
}
