import { acrossOrganizations, type Database, run } from "@tributary/db";
import type { Broker, StreamState } from "./jetstream.ts";
import type { LedgerEvent } from "./ledger.ts";
import { OLDEST_DAY } from "./partitions.ts";

/** The relay's word is only taken while it holds this. */
export interface Leadership {
  readonly stream: string;
  readonly holder: string;
  readonly token: bigint;
}

/** Another process leads the stream: nothing was written. */
export class LeadershipLost extends Error {
  constructor() {
    super("leadership_lost: another process is the stream's publisher");
  }
}

/** What is new to the database about the stream. */
export interface Progress {
  /** Last published sequence by connection. */
  readonly published: ReadonlyMap<string, bigint>;
  /** Connections whose next event is refused for good, with the sequence and a code. */
  readonly parked: ReadonlyMap<string, { readonly sequence: bigint; readonly reason: string }>;
  /** Stream sequences that were acknowledged, and the sequences that they carry by connection. */
  readonly acked?: {
    readonly first: number;
    readonly last: number;
    readonly created: string;
    readonly ranges: ReadonlyMap<string, readonly [bigint, bigint]>;
  };
}

const RECORD = `
WITH leader AS (
  SELECT stream FROM pipeline.relay_leader WHERE stream = $1 AND holder = $2 AND token = $3 FOR SHARE
), moved AS (
  UPDATE pipeline.position p SET published = u.sequence
  FROM leader, unnest($4::uuid[], $5::bigint[]) AS u (id, sequence)
  WHERE p.connection_id = u.id AND p.published < u.sequence
), parked AS (
  UPDATE pipeline.position p SET parked_sequence = u.sequence, parked_reason = u.reason, parked_at = now()
  FROM leader, unnest($6::uuid[], $7::bigint[], $8::text[]) AS u (id, sequence, reason)
  WHERE p.connection_id = u.id AND p.connection_id <> ALL ($4::uuid[])
), logged AS (
  INSERT INTO pipeline.ack_range (stream, first_stream_sequence, last_stream_sequence, stream_created, ranges, acked_at)
  SELECT stream, $9::bigint, $10::bigint, $11::text, $12::jsonb, now() FROM leader WHERE $9::bigint IS NOT NULL
  ON CONFLICT DO NOTHING
)
SELECT stream FROM leader`;

/** A statement cannot change a row twice: a connection that moved and was parked is parked by a statement of its own. */
export async function record(database: Database, leadership: Leadership, progress: Progress): Promise<void> {
  const { published, parked, acked } = progress;
  const both = new Map([...parked].filter(([id]) => published.has(id)));
  const { stream, holder, token } = leadership;
  const params = [
    stream,
    holder,
    token,
    [...published.keys()],
    [...published.values()].map(String),
    [...parked.keys()],
    [...parked.values()].map(({ sequence }) => String(sequence)),
    [...parked.values()].map(({ reason }) => reason),
    acked?.first ?? null,
    acked?.last ?? null,
    acked?.created ?? null,
    JSON.stringify([...(acked?.ranges ?? [])].map(([id, [first, last]]) => [id, String(first), String(last)])),
  ];
  const rows = await acrossOrganizations(database, "relay", (tx) => run(tx, RECORD, params));
  if (rows.length === 0) throw new LeadershipLost();
  if (both.size > 0) await record(database, leadership, { published: new Map(), parked: both });
}

const RANGES_MAX = 10_000;

const TRIM = `
DELETE FROM pipeline.ack_range WHERE stream = $1 AND last_stream_sequence <= (
  SELECT last_stream_sequence FROM pipeline.ack_range WHERE stream = $1
  ORDER BY last_stream_sequence DESC OFFSET ${RANGES_MAX} LIMIT 1)`;

/** Keeps the newest 10,000 ranges of a stream. */
export async function trimRanges(database: Database, stream: string): Promise<void> {
  await acrossOrganizations(database, "relay", (tx) => run(tx, TRIM, [stream]));
}

/** Why events are published again: the stream is another one, ends earlier than it did, or lacks its beginning. */
export type RepairKind = "recreated" | "regressed" | "purged";

/** Told how many more messages were looked at, and how many stream sequences are left. */
export type FoundSome = (found: number, left: number) => void;

/** What was found out about the stream before publishing. */
export interface Reconciled {
  readonly state: StreamState;
  /** Why events are published again; undefined when the stream is whole. */
  readonly repair: RepairKind | undefined;
  /** Messages that the stream held and the database did not know of. */
  readonly found: number;
}

const NEWEST_RANGE = `
SELECT last_stream_sequence AS last, stream_created AS created, extract(epoch FROM now() - acked_at) * 1000 AS age_ms
FROM pipeline.ack_range WHERE stream = $1 ORDER BY last_stream_sequence DESC LIMIT 1`;

interface NewestRange {
  readonly last: bigint;
  readonly created: string;
  readonly age_ms: string;
}

/**
 * Finds out from the stream itself what was published: the relay before this one may have died between publish and
 * mark, or a window may have gone unanswered. A stream that is not the one that acknowledged, that ends earlier, or whose
 * beginning is gone before its time, lost events: their positions go back, and they are published again from the ledger.
 */
export async function reconcile(
  database: Database,
  broker: Broker,
  leadership: Leadership,
  foundSome: FoundSome = () => {},
): Promise<Reconciled> {
  const state = await broker.state();
  const [newest] = await acrossOrganizations(database, "relay", (tx) =>
    run<NewestRange>(tx, NEWEST_RANGE, [leadership.stream]),
  );
  const { repair, known } = await repairStream(database, leadership, state, newest);
  const found = await catchUp(database, broker, leadership, { state, known, foundSome });
  return { state, repair, found };
}

/** @returns up to which stream sequence the database knows what the stream holds. */
async function repairStream(
  database: Database,
  leadership: Leadership,
  state: StreamState,
  newest: NewestRange | undefined,
): Promise<{ readonly repair: Reconciled["repair"]; readonly known: number }> {
  if (newest === undefined) return { repair: undefined, known: 0 };
  if (newest.created !== state.created) {
    await startOver(database, leadership);
    return { repair: "recreated", known: 0 };
  }
  const known = Number(newest.last);
  if (known > state.lastSequence) {
    const kept = await goBack(database, leadership, state.lastSequence);
    // It ends before everything that is remembered of it: its content tells what is left.
    if (kept === undefined) await startOver(database, leadership);
    return { repair: "regressed", known: kept ?? 0 };
  }
  const inTime = state.keptMs === 0 || Number(newest.age_ms) < state.keptMs * IN_TIME;
  if (state.drops || !inTime) return { repair: undefined, known };
  if (state.firstSequence > known) {
    await startOver(database, leadership);
    return { repair: "purged", known };
  }
  const lost = await goBackBefore(database, leadership, state);
  return { repair: lost ? "purged" : undefined, known };
}

/** Messages younger than this part of the stream's retention cannot have left by age. */
const IN_TIME = 0.9;

const CATCH_UP_MESSAGES = 1_000;
const TRIM_EVERY_PAGES = 1_000;

/** Page by page, so that memory does not grow with the stream, and whoever takes over goes on where this one stopped. */
async function catchUp(
  database: Database,
  broker: Broker,
  leadership: Leadership,
  { state, known, foundSome }: { readonly state: StreamState; readonly known: number; readonly foundSome: FoundSome },
): Promise<number> {
  let found = 0;
  let page = createTally(state.created);
  let inPage = 0;
  const write = async (upTo: number): Promise<void> => {
    await record(database, leadership, page.progress());
    foundSome(inPage, Math.max(0, state.lastSequence - upTo));
    page = createTally(state.created);
    inPage = 0;
  };
  let last = known;
  for await (const { streamSequence, connectionId, sequence } of broker.after(known)) {
    page.add(connectionId, sequence, streamSequence);
    last = streamSequence;
    found++;
    if (++inPage === CATCH_UP_MESSAGES) await write(last);
    if (found % (CATCH_UP_MESSAGES * TRIM_EVERY_PAGES) === 0) await trimRanges(database, leadership.stream);
  }
  if (inPage > 0) await write(last);
  return found;
}

/** Sums up messages of a stream in the order of their stream sequences. */
export function createTally(created: string) {
  const ranges = new Map<string, readonly [bigint, bigint]>();
  const parked = new Map<string, { sequence: bigint; reason: string }>();
  let first: number | undefined;
  let last = 0;
  return {
    add: (connectionId: string, sequence: bigint, streamSequence: number): void => {
      const [from = sequence] = ranges.get(connectionId) ?? [];
      ranges.set(connectionId, [from, sequence]);
      first ??= streamSequence;
      last = Math.max(last, streamSequence);
    },
    park: ({ connectionId, sequence }: LedgerEvent, reason: string): void => {
      if (!parked.has(connectionId)) parked.set(connectionId, { sequence, reason });
    },
    progress: (passed: ReadonlyMap<string, bigint> = new Map()): Progress => ({
      published: new Map([...passed, ...[...ranges].map(([id, [, to]]) => [id, to] as const)]),
      parked,
      ...(first === undefined ? {} : { acked: { first, last, created, ranges } }),
    }),
  };
}

const LEADER = "SELECT 1 FROM pipeline.relay_leader WHERE stream = $1 AND holder = $2 AND token = $3 FOR SHARE";

/** A connection whose last event was dropped has nothing to publish again: of a million most are quiet. */
const START_OVER = `
UPDATE pipeline.position SET published = 0 WHERE published > 0 AND day >= ${OLDEST_DAY}`;

/** Of a stream made anew nothing is known to be there: everything that is retained is published again. */
function startOver(database: Database, { stream, holder, token }: Leadership): Promise<void> {
  return acrossOrganizations(database, "relay", async (tx) => {
    if ((await run(tx, LEADER, [stream, holder, token])).length === 0) throw new LeadershipLost();
    await run(tx, START_OVER);
    await run(tx, "DELETE FROM pipeline.ack_range WHERE stream = $1", [stream]);
  });
}

const LOST = `
WITH lost AS (
  DELETE FROM pipeline.ack_range WHERE stream = $1 AND last_stream_sequence > $2 RETURNING ranges
), before AS (
  SELECT (r ->> 0)::uuid AS id, min((r ->> 1)::bigint) - 1 AS sequence
  FROM lost, jsonb_array_elements(ranges) AS r GROUP BY 1
)
UPDATE pipeline.position p SET published = least(p.published, b.sequence) FROM before b WHERE p.connection_id = b.id`;

/** @returns the last stream sequence that is still known to be there; undefined when the memory does not reach so far. */
function goBack(
  database: Database,
  { stream, holder, token }: Leadership,
  lastSequence: number,
): Promise<number | undefined> {
  return acrossOrganizations(database, "relay", async (tx) => {
    if ((await run(tx, LEADER, [stream, holder, token])).length === 0) throw new LeadershipLost();
    await run(tx, LOST, [stream, lastSequence]);
    const [newest] = await run<NewestRange>(tx, NEWEST_RANGE, [stream]);
    return newest === undefined ? undefined : Number(newest.last);
  });
}

const LOST_BEFORE = `
WITH lost AS (
  DELETE FROM pipeline.ack_range
  WHERE stream = $1 AND last_stream_sequence < $2
    AND ($3::float8 = 0 OR acked_at > now() - make_interval(secs => $3::float8 / 1000))
  RETURNING ranges
), before AS (
  SELECT (r ->> 0)::uuid AS id, min((r ->> 1)::bigint) - 1 AS sequence
  FROM lost, jsonb_array_elements(ranges) AS r GROUP BY 1
), back AS (
  UPDATE pipeline.position p SET published = b.sequence FROM before b
  WHERE p.connection_id = b.id AND p.published > b.sequence
)
SELECT 1 FROM lost LIMIT 1`;

/**
 * Only windows of which nothing is left count: erasing a connection's messages may move the stream's beginning as well,
 * and of an erased connection the ledger has nothing to publish again. @returns whether there were any.
 */
function goBackBefore(
  database: Database,
  { stream, holder, token }: Leadership,
  { firstSequence, keptMs }: StreamState,
): Promise<boolean> {
  return acrossOrganizations(database, "relay", async (tx) => {
    if ((await run(tx, LEADER, [stream, holder, token])).length === 0) throw new LeadershipLost();
    return (await run(tx, LOST_BEFORE, [stream, firstSequence, keptMs * IN_TIME])).length > 0;
  });
}
