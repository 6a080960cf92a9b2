import { toBinary } from "@bufbuild/protobuf";
import { eventId, eventSubject, eventTokens } from "@tributary/contracts";
import { type Queryable, run as runSql } from "@tributary/db";
import type { EventBatch, PendingEvent } from "@tributary/pipeline";
import type { Json, Signal } from "@tributary/sdk";
import { hash } from "node:crypto";
import type { Lease } from "./lease.ts";
import type { Runtime } from "./runtime.ts";

/** Signals in one transaction at most. */
export const COMMIT_SIGNALS_MAX = 500;

export interface Commit {
  readonly lease: Lease;
  /** In the connector's order; at most {@link COMMIT_SIGNALS_MAX}. */
  readonly signals: readonly Signal[];
  /** Moves the cursor, when everything before it has been committed. */
  readonly cursor?: Json;
  readonly backfill: boolean;
  readonly traceparent: string;
}

export interface Committed {
  /** How many events were new. */
  readonly events: number;
  /** How many signals said what was published already. */
  readonly unchanged: number;
}

/** The lease was lost: somebody else runs the connection now, or it was paused or disconnected. Nothing was written. */
export class LeaseLost extends Error {
  constructor() {
    super("the lease of the connection was lost");
  }
}

/**
 * THE only write of events. Poll, push and file import all end here: in one transaction, decides by `object_state`
 * which signals are new, appends those to the ledger, and moves `credential.meta.cursor`. The connection's row is
 * locked first, guarded by the lease: two writers of one connection follow each other.
 * @throws LeaseLost.
 */
export async function commit(
  runtime: Runtime,
  { lease, signals, cursor, backfill, traceparent }: Commit,
): Promise<Committed> {
  const stamped: Stamped[] = await (globalThis as any).timed("stamp", async () =>
    signals.map((signal) => stamp(lease.connectionId, signal)),
  );
  const batches: { readonly batch: EventBatch; readonly firstSequence: bigint }[] = [];
  await runtime.database.transaction(async (tx) => {
    await (globalThis as any).timed("guard", () => guard(tx, lease, cursor));
    for (const wave of distinctObjects(stamped)) {
      const events: PendingEvent[] = await (globalThis as any).timed("whatIsNew", () => whatIsNew(tx, lease, wave));
      if (events.length === 0) continue;
      const { organizationId, connectionId, integration: connector } = lease;
      const batch = { organizationId, connectionId, connector, backfill, traceparent, events };
      batches.push({ batch, firstSequence: await runtime.append(tx, batch) });
    }
  });
  for (const { batch, firstSequence } of batches) runtime.committed(batch, firstSequence);
  const events = batches.reduce((sum, { batch }) => sum + batch.events.length, 0);
  return { events, unchanged: signals.length - events };
}

interface Stamped {
  readonly signal: Signal;
  readonly objectKey: string;
  /** 16 bytes that name the object within its connection. */
  readonly key: Buffer;
  /** 16 bytes that change when the object does. */
  readonly mark: Buffer;
  readonly payload: Uint8Array;
}

function stamp(connectionId: string, signal: Signal): Stamped {
  const objectKey = `${eventTokens(signal.schema).object}/${signal.id}`;
  const payload = toBinary(signal.schema, signal.message);
  const key = hash("sha256", `${connectionId}\n${objectKey}`, "buffer").subarray(0, 16);
  const state = signal.revision === undefined ? hash("sha256", payload, "hex") : `=${signal.revision}`;
  const mark = hash("sha256", `${signal.schema.typeName}\n${state}`, "buffer").subarray(0, 16);
  return { signal, objectKey, key, mark, payload };
}

/** One statement cannot touch a row twice: an object that changed twice in a batch goes into the next wave. */
function distinctObjects(stamped: readonly Stamped[]): Stamped[][] {
  const waves: { readonly seen: Set<string>; readonly signals: Stamped[] }[] = [];
  for (const one of stamped) {
    let last = waves.at(-1);
    if (last === undefined || last.seen.has(one.objectKey)) waves.push((last = { seen: new Set(), signals: [] }));
    last.seen.add(one.objectKey);
    last.signals.push(one);
  }
  return waves.map((wave) => wave.signals);
}

const GUARD = `
WITH held AS (
  UPDATE integrations.connection SET lease_until = now() + make_interval(secs => $4)
  WHERE id = $1 AND organization_id = $2 AND lease_token = $3 AND lease_until > now()
    AND state NOT IN ('paused', 'expired', 'disconnected')
  RETURNING id
)
UPDATE integrations.credential c
SET meta = CASE WHEN $5::text IS NULL THEN meta ELSE jsonb_build_object('v', '1', 'cursor', $5::jsonb) END, version = version + 1
FROM held WHERE c.connection_id = held.id AND c.organization_id = $2 AND c.id = $6
RETURNING c.version`;

async function guard(tx: Queryable, lease: Lease, cursor: Json | undefined): Promise<void> {
  const text = cursor === undefined ? null : JSON.stringify(cursor);
  const { connectionId, organizationId, token, leaseSeconds, credentialId } = lease;
  const params = [connectionId, organizationId, token, leaseSeconds, text, credentialId];
  if ((await runSql(tx, GUARD, params)).length === 0) throw new LeaseLost();
}

/**
 * Decides what is new, in one statement a wave: keys, marks and types travel as three blobs that the server cuts up,
 * which parses several times faster than arrays of bytea.
 */
const OBJECT_STATE = `
WITH incoming AS MATERIALIZED (
  SELECT n, substr($3::bytea, n * 16 + 1, 16) AS key, substr($4::bytea, n * 16 + 1, 16) AS mark,
    $6::jsonb ->> get_byte($5::bytea, n) AS type
  FROM generate_series(0, $7::int - 1) AS n
), previous AS MATERIALIZED (
  SELECT i.key, o.type FROM incoming i
  JOIN integrations.object_state o ON o.connection_id = $1 AND o.key = i.key
), written AS (
  INSERT INTO integrations.object_state AS o (connection_id, key, organization_id, revision, mark, type)
  SELECT $1, key, $2, 1, mark, type FROM incoming ORDER BY key
  ON CONFLICT (connection_id, key) DO UPDATE SET revision = o.revision + 1, mark = excluded.mark, type = excluded.type
  WHERE o.mark <> excluded.mark
  RETURNING o.key, o.revision
)
SELECT i.n::int AS n, w.revision, p.type AS previous
FROM written w JOIN incoming i ON i.key = w.key LEFT JOIN previous p ON p.key = i.key
ORDER BY i.n`;

async function whatIsNew(tx: Queryable, lease: Lease, wave: readonly Stamped[]): Promise<PendingEvent[]> {
  const types = [...new Set(wave.map(({ signal }) => signal.schema.typeName))];
  const typeIndex = Buffer.from(wave.map(({ signal }) => types.indexOf(signal.schema.typeName)));
  const keys = Buffer.concat(wave.map(({ key }) => key));
  const marks = Buffer.concat(wave.map(({ mark }) => mark));
  const rows = (await (globalThis as any).timed("object_state", () =>
    runSql<{ n: number; revision: bigint; previous: string | null }>(tx, OBJECT_STATE, [
      lease.connectionId,
      lease.organizationId,
      keys,
      marks,
      typeIndex,
      JSON.stringify(types),
      wave.length,
    ]),
  )) as any[];
  return rows.map(({ n, revision, previous }) => {
    const one = wave[n];
    if (one === undefined) throw new Error("the database answered with a signal that was not asked about");
    return pendingEvent(lease, one, revision, previous);
  });
}

function pendingEvent(lease: Lease, stamped: Stamped, counter: bigint, previous: string | null): PendingEvent {
  const { signal, objectKey } = stamped;
  const moved = signal.transition !== undefined && signal.transition.from.typeName === previous;
  const schema = moved && signal.transition !== undefined ? signal.transition.as : signal.schema;
  return {
    id: eventId(lease.connectionId, schema.typeName, objectKey, signal.revision ?? String(counter)),
    type: schema.typeName,
    subject: eventSubject(schema, lease.organizationId, lease.integration),
    objectKey,
    timeMs: signal.occurredAt.getTime(),
    // A transition's two types have the same fields, so the bytes are the same.
    payload: stamped.payload,
  };
}
