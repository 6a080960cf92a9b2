import { type Database, run } from "@tributary/db";
import type { Broker, StreamState } from "./jetstream.ts";
import type { LedgerEvent } from "./ledger.ts";

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
  UPDATE pipeline.position p SET parked_sequence = u.sequence, parked_reason = u.reason
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
  const rows = await run(database.query, RECORD, [
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
  ]);
  if (rows.length === 0) throw new LeadershipLost();
  if (both.size > 0) await record(database, leadership, { published: new Map(), parked: both });
}

const RANGES_MAX = 10_000;

/** Keeps the newest 10,000 ranges of a stream. */
export async function trimRanges(database: Database, stream: string): Promise<void> {
  await run(
    database.query,
    `DELETE FROM pipeline.ack_range WHERE stream = $1 AND last_stream_sequence <= (
       SELECT last_stream_sequence FROM pipeline.ack_range WHERE stream = $1
       ORDER BY last_stream_sequence DESC OFFSET ${RANGES_MAX} LIMIT 1)`,
    [stream],
  );
}

/** What was found out about the stream before publishing. */
export interface Reconciled {
  readonly state: StreamState;
  /** Why events are published again; undefined when the stream is whole. */
  readonly repair: "recreated" | "regressed" | undefined;
  /** Messages that the stream held and the database did not know of. */
  readonly found: number;
}

const NEWEST_RANGE = `
SELECT last_stream_sequence AS last, stream_created AS created FROM pipeline.ack_range
WHERE stream = $1 ORDER BY last_stream_sequence DESC LIMIT 1`;

/**
 * Finds out from the stream itself what was published: the relay before this one may have died between publish and
 * mark, or a window may have gone unanswered. A stream that is not the one that acknowledged, or that ends earlier, lost
 * events: their positions go back, and they are published again from the ledger.
 */
export async function reconcile(database: Database, broker: Broker, leadership: Leadership): Promise<Reconciled> {
  const state = await broker.state();
  const [newest] = await run<{ last: bigint; created: string }>(database.query, NEWEST_RANGE, [leadership.stream]);
  let known = Number(newest?.last ?? 0n);
  let repair: Reconciled["repair"];
  if (newest !== undefined && newest.created !== state.created) {
    repair = "recreated";
    await startOver(database, leadership);
    known = 0;
  } else if (known > state.lastSequence) {
    repair = "regressed";
    known = await goBack(database, leadership, state.lastSequence);
  }
  const found = await catchUp(database, broker, leadership, { ...state, known });
  return { state, repair, found };
}

const CATCH_UP_MESSAGES = 1_000;

async function catchUp(
  database: Database,
  broker: Broker,
  leadership: Leadership,
  { known, created }: StreamState & { readonly known: number },
): Promise<number> {
  let found = 0;
  let page = createTally(created);
  const write = async (): Promise<void> => {
    await record(database, leadership, page.progress());
    page = createTally(created);
  };
  for await (const { streamSequence, connectionId, sequence } of broker.after(known)) {
    page.add(connectionId, sequence, streamSequence);
    found++;
    if (found % CATCH_UP_MESSAGES === 0) await write();
  }
  if (found % CATCH_UP_MESSAGES > 0) await write();
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

/** Of a stream made anew nothing is known to be there: everything that is retained is published again. */
function startOver(database: Database, { stream, holder, token }: Leadership): Promise<void> {
  return database.transaction(async (tx) => {
    if ((await run(tx, LEADER, [stream, holder, token])).length === 0) throw new LeadershipLost();
    await run(tx, "UPDATE pipeline.position SET published = 0 WHERE published > 0");
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

/** @returns the last stream sequence that is still known to be there. */
function goBack(database: Database, { stream, holder, token }: Leadership, lastSequence: number): Promise<number> {
  return database.transaction(async (tx) => {
    if ((await run(tx, LEADER, [stream, holder, token])).length === 0) throw new LeadershipLost();
    await run(tx, LOST, [stream, lastSequence]);
    const [newest] = await run<{ last: bigint }>(tx, NEWEST_RANGE, [stream]);
    return Number(newest?.last ?? 0n);
  });
}
