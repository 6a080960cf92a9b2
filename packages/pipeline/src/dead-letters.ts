import { acrossOrganizations, type Database, type Queryable, run, withOrganization } from "@tributary/db";
import type { LedgerEvent } from "./ledger.ts";
import { pageToken, readPageToken } from "./page-token.ts";
import type { SideRoad } from "./side-road.ts";

/** An event that a consumer gave up on. */
export interface DeadLetter extends LedgerEvent {
  readonly letterId: string;
  readonly consumer: string;
  readonly road: "http" | "nats";
  /** The consumer's own words. */
  readonly reason: string;
  /** How often it had tried; 0 when it did not say. */
  readonly attempts: number;
  readonly diedAtMs: number;
  readonly state: "dead" | "redriving";
  /** How often it was delivered again. */
  readonly redrives: number;
  /** The replay that brought the event; "" for a live one. */
  readonly replayId: string;
  /** The ledger had dropped the event before it died: there is no copy of it, and nothing to deliver again. */
  readonly eventGone: boolean;
}

export interface DeadLetterQuery {
  readonly organizationId: string;
  readonly consumer?: string;
  readonly type?: string;
  /** 1 to 200. */
  readonly limit: number;
  readonly after?: string;
}

/** One by its id, or all of a consumer, or those of one type of a consumer. */
export type DeadLetterChoice = { readonly id: string } | { readonly consumer: string; readonly type?: string };

/** How many; `more` when the bound of one call was reached. */
export interface Counted {
  readonly count: number;
  readonly more: boolean;
}

/** What consumers gave up on, over both roads. Unknown and foreign ids are the same. */
export interface DeadLetters {
  /** The newest first. Payloads are empty: {@link DeadLetters.get} has them. @throws PageTokenInvalid. */
  list(query: DeadLetterQuery): Promise<{ readonly letters: readonly DeadLetter[]; readonly next?: string }>;
  get(organizationId: string, id: string): Promise<DeadLetter | undefined>;
  /**
   * Has them delivered again to their consumer, marked: over HTTP its stream takes them up within a second; over NATS
   * they are published on the replay stream and are no dead letters any more. Those whose event is gone stay.
   * @throws SideRoadAway when some belong to a consumer on NATS and the broker does not take them: those stay.
   */
  redrive(organizationId: string, choice: DeadLetterChoice): Promise<Counted>;
  /** Gives them up for good. */
  drop(organizationId: string, choice: DeadLetterChoice): Promise<Counted>;
}

/** Dead letters that one call redrives or drops at most. */
export const DEAD_LETTERS_MAX = 10_000;
const KEPT_DAYS = 90;
const PUBLISH_LETTERS = 200;

/** @param nats where redriven letters of consumers on NATS go; absent without a broker. */
export function createDeadLetters(database: Database, nats?: SideRoad): DeadLetters {
  return {
    list: (query) => list(database, query),
    get: (organizationId, id) =>
      withOrganization(
        database,
        organizationId,
        async (tx) => {
          if (!UUID.test(id)) return undefined;
          const [row] = await run<LetterRow>(tx, LETTER, [organizationId, id]);
          return row === undefined ? undefined : letterOf(organizationId, row);
        },
        "reader",
      ),
    redrive: async (organizationId, choice) => {
      const params = chosen(organizationId, choice);
      if (params === undefined) return { count: 0, more: false };
      const [http] = await withOrganization(database, organizationId, (tx) => run<{ n: bigint }>(tx, REDRIVE, params));
      const overHttp = Number(http?.n ?? 0);
      const overNats =
        nats === undefined ? 0 : await redriveOverNats(database, nats, params.slice(0, 4), DEAD_LETTERS_MAX - overHttp);
      const count = overHttp + overNats;
      return { count, more: count >= DEAD_LETTERS_MAX };
    },
    drop: async (organizationId, choice) => {
      const params = chosen(organizationId, choice);
      if (params === undefined) return { count: 0, more: false };
      const [row] = await withOrganization(database, organizationId, (tx) => run<{ n: bigint }>(tx, DROP, params));
      const count = Number(row?.n ?? 0);
      return { count, more: count >= DEAD_LETTERS_MAX };
    },
  };
}

const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/;

function chosen(organizationId: string, choice: DeadLetterChoice): unknown[] | undefined {
  if ("id" in choice)
    return UUID.test(choice.id) ? [organizationId, choice.id, null, null, DEAD_LETTERS_MAX] : undefined;
  return [organizationId, null, choice.consumer, choice.type ?? null, DEAD_LETTERS_MAX];
}

/** Page by page. What the broker can never take stays a letter, and is passed over for the rest of the walk. */
async function redriveOverNats(
  database: Database,
  nats: SideRoad,
  params: readonly unknown[],
  most: number,
): Promise<number> {
  const stuck: string[] = [];
  let count = 0;
  while (count < most) {
    const page = await redrivePage(database, nats, String(params[0]), [...params, PUBLISH_LETTERS, stuck]);
    count += page.published;
    stuck.push(...page.refused);
    if (page.read < PUBLISH_LETTERS) break;
  }
  return count;
}

/**
 * A letter leaves the table once it is published: a crash between the two publishes it twice, under one message id. One
 * that has died again by then, which another process may have taken in, is another letter, and stays.
 */
async function redrivePage(
  database: Database,
  nats: SideRoad,
  organizationId: string,
  params: readonly unknown[],
): Promise<{ readonly read: number; readonly published: number; readonly refused: readonly string[] }> {
  const read = (tx: Queryable): Promise<LetterRow[]> => run<LetterRow>(tx, NATS_LETTERS, params);
  const rows = await withOrganization(database, organizationId, read, "reader");
  const letters = rows.map((row) => letterOf(organizationId, row));
  const refused = await nats.publish(
    letters.map((letter) => ({
      event: letter,
      via: letter.letterId,
      onlyFor: letter.consumer,
      redrive: letter.redrives + 1,
      ...(letter.replayId === "" ? {} : { replayId: letter.replayId }),
    })),
  );
  const ids = (some: readonly DeadLetter[]): readonly string[] => some.map(({ letterId }) => letterId);
  const gone = letters.filter((letter) => !refused.has(letter));
  const died = gone.map(({ redrives }) => String(redrives));
  await withOrganization(database, organizationId, (tx) => run(tx, PUBLISHED, [organizationId, ids(gone), died]));
  return { read: rows.length, published: gone.length, refused: ids(letters.filter((letter) => refused.has(letter))) };
}

const CHOSEN = `organization_id = $1 AND ($2::uuid IS NULL OR id = $2) AND ($3::text IS NULL OR consumer = $3)
  AND ($4::text IS NULL OR type = $4)`;

/** Every event is about some object: a letter that names none has no copy of its event. */
const COPIED = "object_key <> ''";

const REDRIVE = `
WITH chosen AS (
  SELECT organization_id, id FROM pipeline.dead_letter WHERE ${CHOSEN} AND road = 'http' AND state = 'dead'
    AND ${COPIED}
  ORDER BY died_at LIMIT $5 FOR UPDATE
), moved AS (
  UPDATE pipeline.dead_letter d SET state = 'redriving', redrives = redrives + 1 FROM chosen c
  WHERE d.organization_id = c.organization_id AND d.id = c.id RETURNING 1
)
SELECT count(*) AS n FROM moved`;

const DROP = `
WITH chosen AS (
  SELECT organization_id, id FROM pipeline.dead_letter WHERE ${CHOSEN} ORDER BY died_at LIMIT $5 FOR UPDATE
), gone AS (
  DELETE FROM pipeline.dead_letter d USING chosen c
  WHERE d.organization_id = c.organization_id AND d.id = c.id RETURNING 1
)
SELECT count(*) AS n FROM gone`;

const columns = (payload: string): string => `id AS letter_id, consumer, road, event_id, type, connection_id, sequence,
  reason, attempts, date_part('epoch', died_at) * 1000 AS died_ms, died_at::text AS died_at, state, redrives, replay_id,
  connector, subject, object_key, date_part('epoch', time) * 1000 AS time_ms, backfill, traceparent, ${payload} AS payload,
  NOT (${COPIED}) AS event_gone`;

const NATS_LETTERS = `
SELECT ${columns("payload")} FROM pipeline.dead_letter WHERE ${CHOSEN} AND road = 'nats'
  AND NOT (id = ANY ($6::uuid[])) ORDER BY connection_id, sequence LIMIT $5`;

const PUBLISHED = `
DELETE FROM pipeline.dead_letter d USING unnest($2::uuid[], $3::int[]) AS p (id, redrives)
WHERE d.organization_id = $1 AND d.road = 'nats' AND d.id = p.id AND d.redrives = p.redrives`;

const LETTER = `SELECT ${columns("payload")} FROM pipeline.dead_letter WHERE organization_id = $1 AND id = $2`;

const LETTERS = `
SELECT ${columns("''::bytea")} FROM pipeline.dead_letter
WHERE organization_id = $1 AND ($2::text IS NULL OR consumer = $2) AND ($3::text IS NULL OR type = $3)
  AND (died_at, id) < ($4::timestamptz, $5::uuid)
ORDER BY died_at DESC, id DESC LIMIT $6`;

export interface LetterRow {
  readonly letter_id: string;
  readonly consumer: string;
  readonly road: "http" | "nats";
  readonly event_id: string;
  readonly type: string;
  readonly connection_id: string;
  readonly sequence: bigint;
  readonly reason: string;
  readonly attempts: number;
  readonly died_ms: number;
  readonly died_at: string;
  readonly state: "dead" | "redriving";
  readonly redrives: number;
  readonly replay_id: string;
  readonly connector: string;
  readonly subject: string;
  readonly object_key: string;
  readonly time_ms: number;
  readonly backfill: boolean;
  readonly traceparent: string;
  readonly payload: Uint8Array;
  readonly event_gone: boolean;
}

function letterOf(organizationId: string, row: LetterRow): DeadLetter {
  return {
    organizationId,
    letterId: row.letter_id,
    consumer: row.consumer,
    road: row.road,
    id: row.event_id,
    type: row.type,
    connectionId: row.connection_id,
    sequence: row.sequence,
    reason: row.reason,
    attempts: row.attempts,
    diedAtMs: Math.round(row.died_ms),
    state: row.state,
    redrives: row.redrives,
    replayId: row.replay_id,
    connector: row.connector,
    subject: row.subject,
    objectKey: row.object_key,
    timeMs: Math.round(row.time_ms),
    backfill: row.backfill,
    traceparent: row.traceparent,
    payload: row.payload,
    eventGone: row.event_gone,
  };
}

async function list(
  database: Database,
  { organizationId, consumer, type, limit, after }: DeadLetterQuery,
): Promise<{ letters: DeadLetter[]; next?: string }> {
  const [at, id] = after === undefined ? ["infinity", NO_ID] : readPageToken(after, PLACE);
  const params = [organizationId, consumer ?? null, type ?? null, at, id, limit + 1];
  const rows = await withOrganization(database, organizationId, (tx) => run<LetterRow>(tx, LETTERS, params), "reader");
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  return {
    letters: page.map((row) => letterOf(organizationId, row)),
    ...(rows.length > limit && last !== undefined ? { next: pageToken(last.died_at, last.letter_id) } : {}),
  };
}

const NO_ID = "00000000-0000-0000-0000-000000000000";

const PLACE = ["time", "uuid"] as const;

const TAKE_REDRIVEN = `
SELECT ${columns("payload")} FROM pipeline.dead_letter
WHERE organization_id = $1 AND road = 'http' AND consumer = $2 AND state = 'redriving' AND NOT (id = ANY ($3::uuid[]))
ORDER BY connection_id, sequence LIMIT $4`;

/** The next letters of a consumer over HTTP that are to be delivered again, without those already under way. */
export const redrivenLetters = async (
  tx: Queryable,
  organizationId: string,
  consumer: string,
  underWay: readonly string[],
  limit: number,
): Promise<readonly DeadLetter[]> =>
  (await run<LetterRow>(tx, TAKE_REDRIVEN, [organizationId, consumer, underWay, limit])).map((row) =>
    letterOf(organizationId, row),
  );

/** What became of a letter that was delivered again over HTTP, or of an event that dies for the first time. */
export interface LetterFate {
  readonly organizationId: string;
  readonly consumer: string;
  readonly connectionId: string;
  readonly sequence: bigint;
  readonly replayId: string;
  readonly reason: string;
  /** How often the consumer had tried; 0 when it did not say. */
  readonly attempts: number;
  /** What the consumer says of the event: kept where nobody else knows any more. */
  readonly said: { readonly id: string; readonly type: string; readonly subject: string };
}

const REASON_CHARACTERS_MAX = 500;

/** A consumer's own words as the database can keep them: it has no character 0, and nothing may fail for that. */
export const storable = (words: string): string => words.slice(0, REASON_CHARACTERS_MAX).replaceAll("\0", "\u{FFFD}");

/**
 * An event that the ledger has dropped with its day leaves a letter with what the consumer says of it, for the reason is
 * to be kept. Of one that was erased nothing is.
 */
const BURY = `
INSERT INTO pipeline.dead_letter AS d (organization_id, consumer, connection_id, sequence, replay_id, event_id, type,
  reason, attempts, died_at, connector, subject, object_key, time, backfill, traceparent, payload)
SELECT c.organization_id, c.name, p.connection_id, $4, $5, coalesce(e.id, $8), coalesce(e.type, $9), $6, $7, now(),
  coalesce(e.connector, split_part($10, '.', 4)), coalesce(e.subject, $10), coalesce(e.object_key, ''),
  coalesce(e.time, 'epoch'), coalesce(e.backfill, false), coalesce(e.traceparent, ''), coalesce(e.payload, '')
FROM pipeline.consumer c
JOIN pipeline.position p ON p.organization_id = $1 AND p.connection_id = $3 AND p.head >= $4
LEFT JOIN pipeline.event e ON e.organization_id = $1 AND e.connection_id = $3 AND e.sequence = $4
WHERE c.organization_id = $1 AND c.name = $2 AND (e.id IS NOT NULL OR p.erased < $4)
ON CONFLICT DO NOTHING`;

/** Keeps an event as a dead letter, with a copy of it where the ledger still has it. Again changes nothing. */
export async function bury(database: Database, fate: LetterFate): Promise<void> {
  const { organizationId, consumer, connectionId, sequence, replayId, reason, said } = fate;
  const key = [organizationId, consumer, connectionId, sequence, replayId];
  const params = [...key, storable(reason), countable(fate.attempts), said.id, said.type, said.subject];
  await withOrganization(database, organizationId, (tx) => run(tx, BURY, params));
}

/** What a column of the database can count. */
const countable = (attempts: number): number => Math.min(attempts, 2 ** 31 - 1);

const REVIVED = `
DELETE FROM pipeline.dead_letter WHERE organization_id = $1 AND road = 'http' AND consumer = $2 AND connection_id = $3
  AND sequence = $4 AND replay_id = $5 AND state = 'redriving'`;

const DIED_AGAIN = `
UPDATE pipeline.dead_letter SET state = 'dead', reason = $6, attempts = $7, died_at = now()
WHERE organization_id = $1 AND road = 'http' AND consumer = $2 AND connection_id = $3 AND sequence = $4
  AND replay_id = $5 AND state = 'redriving'`;

/** Settles a letter that was delivered again: gone when it was handled, dead again otherwise. Again changes nothing. */
export async function settleRedriven(database: Database, fate: LetterFate, handled: boolean): Promise<void> {
  const { organizationId, consumer, connectionId, sequence, replayId, reason, attempts } = fate;
  const key = [organizationId, consumer, connectionId, sequence, replayId];
  await withOrganization(database, organizationId, (tx) =>
    run(tx, handled ? REVIVED : DIED_AGAIN, handled ? key : [...key, storable(reason), countable(attempts)]),
  );
}

const HELD = `
SELECT FROM pipeline.dead_letter WHERE organization_id = $1 AND road = 'http' AND consumer = $2 AND connection_id = $3
  AND replay_id = '' LIMIT 1`;

/** Whether a consumer has a dead letter in a connection. What dies in a replay holds nothing. */
export const connectionIsHeld = async (
  tx: Queryable,
  { organizationId, consumer }: { readonly organizationId: string; readonly consumer: string },
  connectionId: string,
): Promise<boolean> => (await run(tx, HELD, [organizationId, consumer, connectionId])).length > 0;

/** Deletes what has been dead for 90 days. @returns how many. */
export async function trimDeadLetters(database: Database): Promise<number> {
  const [row] = await acrossOrganizations(database, "upkeep", (tx) => run<{ n: bigint }>(tx, TRIM, [KEPT_DAYS]));
  return Number(row?.n ?? 0);
}

const TRIM = `
WITH gone AS (
  DELETE FROM pipeline.dead_letter WHERE died_at < now() - make_interval(days => $1) RETURNING 1
)
SELECT count(*) AS n FROM gone`;
