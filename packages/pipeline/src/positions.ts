import { setImmediate } from "node:timers/promises";
import { acrossOrganizations, type Database, type Queryable, run, withOrganization } from "@tributary/db";

/** Which consumer of which organisation. */
export interface ConsumerKey {
  readonly organizationId: string;
  readonly consumer: string;
}

export const consumerKey = ({ organizationId, consumer }: ConsumerKey): string => `${organizationId} ${consumer}`;

/** Where a consumer stands in a connection, as stored. */
export interface StoredPosition {
  readonly connectionId: string;
  readonly settled: bigint;
  readonly ahead: readonly bigint[];
}

const READ_POSITIONS = `
SELECT connection_id AS "connectionId", settled, ahead FROM pipeline.consumer_position
WHERE organization_id = $1 AND consumer = $2 AND connection_id = ANY ($3::uuid[])`;

export const readPositions = (
  on: Queryable,
  { organizationId, consumer }: ConsumerKey,
  connectionIds: readonly string[],
): Promise<StoredPosition[]> => run(on, READ_POSITIONS, [organizationId, consumer, connectionIds]);

/** Exported for the test of its plan. */
export const UNREAD_CONNECTIONS = `
SELECT p.connection_id AS "connectionId", p.head, coalesce(c.settled, 0) AS settled, coalesce(c.ahead, '{}') AS ahead
FROM pipeline.position p LEFT JOIN pipeline.consumer_position c
  ON c.organization_id = $1 AND c.consumer = $2 AND c.connection_id = p.connection_id
WHERE p.organization_id = $1 AND p.connection_id > $3 AND p.head > coalesce(c.settled, 0)
ORDER BY p.connection_id LIMIT $4`;

/** A page of the connections that hold events a consumer has not settled, by id. */
export const unreadConnections = (
  on: Queryable,
  { organizationId, consumer }: ConsumerKey,
  afterConnectionId: string,
  limit: number,
): Promise<(StoredPosition & { readonly head: bigint })[]> =>
  run(on, UNREAD_CONNECTIONS, [organizationId, consumer, afterConnectionId, limit]);

const WRITE_POSITIONS = `
INSERT INTO pipeline.consumer_position AS c (organization_id, consumer, connection_id, settled)
SELECT organization_id, consumer, connection_id, settled
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::bigint[]) AS u (organization_id, consumer, connection_id, settled)
ORDER BY 1, 2, 3
ON CONFLICT (organization_id, consumer, connection_id) DO UPDATE SET settled = excluded.settled,
  ahead = CASE WHEN c.ahead = '{}' THEN c.ahead ELSE ARRAY(SELECT x FROM unnest(c.ahead) AS x WHERE x > excluded.settled) END
WHERE c.settled < excluded.settled`;

/** Writes positions as a group: whoever comes while a statement is under way shares the next one. */
export interface PositionWriter {
  /** Resolves when the position is durable. A later, higher one stands for it. */
  write(key: ConsumerKey, connectionId: string, settled: bigint): Promise<void>;
  flush(): Promise<void>;
}

export function createPositionWriter(database: Database): PositionWriter {
  interface Pending extends ConsumerKey {
    readonly connectionId: string;
    readonly settled: bigint;
  }
  let pending = new Map<string, Pending>();
  let next: Promise<void> | undefined;
  let under: Promise<unknown> = Promise.resolve();

  function schedule(): Promise<void> {
    next ??= (async () => {
      await under;
      // What else is settled in this turn of the event loop comes along: that halved the time of pipeline/embedded.
      await setImmediate();
      const rows = [...pending.values()];
      pending = new Map();
      next = undefined;
      const params = [
        rows.map((row) => row.organizationId),
        rows.map((row) => row.consumer),
        rows.map((row) => row.connectionId),
        // As text: postgres.js takes an array of bigint for a bigint.
        rows.map((row) => String(row.settled)),
      ];
      const writing = acrossOrganizations(database, "relay", (tx) => run(tx, WRITE_POSITIONS, params));
      under = writing.catch(() => {});
      await writing;
    })();
    return next;
  }

  return {
    write: (key, connectionId, settled) => {
      const { organizationId, consumer } = key;
      const name = `${consumerKey(key)} ${connectionId}`;
      const known = pending.get(name);
      if (known === undefined || known.settled < settled)
        pending.set(name, { organizationId, consumer, connectionId, settled });
      return schedule();
    },
    flush: async () => {
      if (next !== undefined) await next;
      await under;
    },
  };
}

const LOCK_POSITION = `
INSERT INTO pipeline.consumer_position AS c (organization_id, consumer, connection_id, settled) VALUES ($1, $2, $3, 0)
ON CONFLICT (organization_id, consumer, connection_id) DO UPDATE SET settled = c.settled RETURNING settled, ahead`;

const KNOWN_EVENT = `
SELECT c.types FROM pipeline.consumer c, pipeline.position p
WHERE c.organization_id = $1 AND c.name = $2 AND p.connection_id = $3 AND p.organization_id = $1 AND p.head >= $4`;

const WANTED = `
SELECT sequence FROM pipeline.event
WHERE connection_id = $1 AND organization_id = $2 AND sequence > $3 AND sequence <= $4
  AND ($5::text[] = '{}' OR type = ANY ($5::text[])) ORDER BY sequence LIMIT $6`;

const MOVE_POSITION = `
UPDATE pipeline.consumer_position SET settled = $4, ahead = $5::bigint[]
WHERE organization_id = $1 AND consumer = $2 AND connection_id = $3`;

/** Sequences that may be settled ahead of one that is not: no more than a window can hold. */
const AHEAD_MAX = 10_000;

/** Nothing was settled: the consumer or the event does not exist in the organisation, or too much is ahead. */
export class SettlementRefused extends Error {
  readonly code: "unknown_consumer_or_event" | "too_far_ahead";
  constructor(code: "unknown_consumer_or_event" | "too_far_ahead") {
    super(code);
    this.code = code;
  }
}

/**
 * Settles an event that no stream of this process has outstanding, from what the database knows alone.
 * @throws SettlementRefused.
 */
export function settleStored(
  database: Database,
  { organizationId, consumer }: ConsumerKey,
  connectionId: string,
  sequence: bigint,
): Promise<StoredPosition> {
  return withOrganization(database, organizationId, async (tx) => {
    const [known] = await run<{ types: string[] }>(tx, KNOWN_EVENT, [organizationId, consumer, connectionId, sequence]);
    if (known === undefined) throw new SettlementRefused("unknown_consumer_or_event");
    const [row] = await run<StoredPosition>(tx, LOCK_POSITION, [organizationId, consumer, connectionId]);
    const settled = row?.settled ?? 0n;
    const ahead = new Set(row?.ahead);
    if (sequence <= settled || ahead.has(sequence)) return { connectionId, settled, ahead: [...ahead] };
    if (ahead.size >= AHEAD_MAX) throw new SettlementRefused("too_far_ahead");
    ahead.add(sequence);
    const last = [...ahead].reduce((a, b) => (a > b ? a : b));
    const wanted = await run<{ sequence: bigint }>(tx, WANTED, [
      connectionId,
      organizationId,
      settled,
      last,
      known.types,
      AHEAD_MAX + 1,
    ]);
    const open = wanted.find((event) => !ahead.has(event.sequence));
    const moved = open === undefined ? last : open.sequence - 1n;
    const rest = [...ahead].filter((one) => one > moved);
    await run(tx, MOVE_POSITION, [organizationId, consumer, connectionId, moved, rest.map(String)]);
    return { connectionId, settled: moved, ahead: rest };
  });
}
