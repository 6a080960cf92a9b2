import { EVENT_STREAM } from "@tributary/contracts";
import { acrossOrganizations, type Database, run } from "@tributary/db";

/** What the database knows of delivery, whatever process it happens in. */
export interface PipelineFigures {
  /** Whether a process leads the event stream now. */
  readonly led: boolean;
  /** What the broker acknowledged last: the place in the stream, and when; undefined when nothing yet. */
  readonly acknowledged: { readonly streamSequence: number; readonly atMs: number } | undefined;
  /** Connections that stand still, by the reason; see {@link ParkedConnection}. */
  readonly parked: readonly { readonly reason: string; readonly connections: number }[];
  /** Consumers over HTTP, and how many events each has not settled. The broker tells of its own. */
  readonly consumers: readonly { readonly organizationId: string; readonly consumer: string; readonly lag: number }[];
  readonly deadLetters: readonly {
    readonly organizationId: string;
    readonly consumer: string;
    readonly road: "http" | "nats";
    readonly letters: number;
  }[];
}

/** Rows of each kind, so that a scrape stays small: those furthest behind come first. */
const ROWS_MAX = 200;
/** With a million connections the sums take seconds: then there are no figures, and nobody waits for them. */
const STATEMENT_MS_MAX = 3_000;

const LED = "SELECT EXISTS (SELECT FROM pipeline.relay_leader WHERE until > now()) AS led";

const ACKNOWLEDGED = `
SELECT last_stream_sequence::float8 AS "streamSequence", date_part('epoch', acked_at) * 1000 AS "atMs"
FROM pipeline.ack_range WHERE stream = $1 ORDER BY last_stream_sequence DESC LIMIT 1`;

const PARKED = `
SELECT parked_reason AS reason, count(*)::int AS connections
FROM pipeline.position WHERE parked_sequence IS NOT NULL GROUP BY 1 ORDER BY 2 DESC LIMIT ${ROWS_MAX}`;

const CONSUMERS = `
SELECT c.organization_id AS "organizationId", c.name AS consumer,
  coalesce(sum(p.head - coalesce(s.settled, 0)), 0)::float8 AS lag
FROM pipeline.consumer c
LEFT JOIN pipeline.position p ON p.organization_id = c.organization_id
LEFT JOIN pipeline.consumer_position s
  ON s.organization_id = c.organization_id AND s.consumer = c.name AND s.connection_id = p.connection_id
GROUP BY 1, 2 ORDER BY 3 DESC LIMIT ${ROWS_MAX}`;

const LETTERS = `
SELECT organization_id AS "organizationId", consumer, road, count(*)::int AS letters
FROM pipeline.dead_letter GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT ${ROWS_MAX}`;

/** @throws when the database is away, or takes longer than three seconds. */
export function pipelineFigures(database: Database): Promise<PipelineFigures> {
  return acrossOrganizations(database, "relay", async (tx) => {
    await run(tx, "SELECT set_config('statement_timeout', $1, true)", [String(STATEMENT_MS_MAX)]);
    const [leader] = await run<{ led: boolean }>(tx, LED);
    const [acknowledged] = await run<{ streamSequence: number; atMs: number }>(tx, ACKNOWLEDGED, [EVENT_STREAM]);
    return {
      led: leader?.led === true,
      acknowledged,
      parked: await run(tx, PARKED),
      consumers: await run(tx, CONSUMERS),
      deadLetters: await run(tx, LETTERS),
    };
  });
}

const BEHIND_RETENTION = `
SELECT c.organization_id AS "organizationId", c.name AS consumer, count(*)::int AS connections
FROM pipeline.consumer c
JOIN pipeline.position p ON p.organization_id = c.organization_id
LEFT JOIN pipeline.consumer_position s
  ON s.organization_id = c.organization_id AND s.consumer = c.name AND s.connection_id = p.connection_id
WHERE p.head > coalesce(s.settled, 0) AND EXISTS (
  SELECT FROM pipeline.event e
  WHERE e.connection_id = p.connection_id AND e.sequence > coalesce(s.settled, 0) AND e.day < (now() AT TIME ZONE 'UTC')::date - $1::int
    AND (c.types = '{}' OR e.type = ANY (c.types)))
GROUP BY 1, 2 ORDER BY 3 DESC LIMIT ${ROWS_MAX}`;

/**
 * Consumers over HTTP that have not read events whose day is over by more than the retention, by the database's clock, and
 * of how many connections: when those days are dropped, they never get them.
 */
export const consumersBehind = (
  database: Database,
  retentionDays: number,
): Promise<readonly { readonly organizationId: string; readonly consumer: string; readonly connections: number }[]> =>
  acrossOrganizations(database, "relay", (tx) => run(tx, BEHIND_RETENTION, [retentionDays]));
