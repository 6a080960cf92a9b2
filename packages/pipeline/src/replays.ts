import { acrossOrganizations, type Database, type Queryable, run, withOrganization } from "@tributary/db";
import { pageToken, readPageToken } from "./page-token.ts";
import type { SideRoad } from "./side-road.ts";

/** Which retained events are delivered again, and to whom. */
export interface ReplayWish {
  readonly organizationId: string;
  /** Absent: every consumer of the organisation. */
  readonly consumer?: string;
  /** Committed at or after; milliseconds since the epoch. */
  readonly fromMs?: number;
  /** Committed before. Default, and at the latest: now, by the database's clock, which stamps what is committed. */
  readonly untilMs?: number;
  /** Full protobuf names; empty means every type. */
  readonly types: readonly string[];
  /** At most 100; empty means every connection. */
  readonly connectionIds: readonly string[];
  /** Default: the setting. */
  readonly eventsPerSecond?: number;
  /** Asking twice with one key, for the same consumer, types and connections, starts one replay. */
  readonly idempotencyKey?: string;
  /** Who asked: a name for the list. */
  readonly createdBy: string;
}

export interface ReplayView {
  readonly id: string;
  readonly state: "running" | "done" | "cancelled" | "failed";
  readonly reason: string;
  readonly consumer: string | undefined;
  readonly fromMs: number | undefined;
  readonly untilMs: number;
  readonly types: readonly string[];
  readonly connectionIds: readonly string[];
  readonly eventsPerSecond: number;
  /** Undefined while it is being counted. */
  readonly total: number | undefined;
  /** Of the target that has come least far. */
  readonly done: number;
  readonly targets: readonly ReplayTargetView[];
  readonly createdAtMs: number;
  readonly endedAtMs: number | undefined;
}

export interface ReplayTargetView {
  readonly road: "http" | "nats";
  /** "" for all on NATS. */
  readonly consumer: string;
  readonly done: number;
  readonly ended: boolean;
}

/** Replays of an organisation. Unknown and foreign ids are the same. */
export interface Replays {
  /** @throws ReplayRefused. */
  start(wish: ReplayWish): Promise<ReplayView>;
  get(organizationId: string, id: string): Promise<ReplayView | undefined>;
  /** The newest first. @throws PageTokenInvalid. */
  list(
    organizationId: string,
    page: { readonly limit: number; readonly after?: string },
  ): Promise<{ readonly replays: readonly ReplayView[]; readonly next?: string }>;
  /** Ends it before its end; one that has ended stays as it is. @returns undefined when there is none. */
  cancel(organizationId: string, id: string): Promise<ReplayView | undefined>;
}

/** Why no replay was started. */
export class ReplayRefused extends Error {
  readonly code: "unknown_consumer" | "no_consumers" | "too_many_replays" | "conflict";
  constructor(code: ReplayRefused["code"], message: string) {
    super(`${code}: ${message}`);
    this.code = code;
  }
}

export interface ReplaysOptions {
  readonly database: Database;
  /** Absent without a broker. */
  readonly nats?: SideRoad;
  /** As for consumers: whose operator sees those that hear every organisation. */
  readonly operator?: string;
  readonly uuid: () => string;
  /** Default 1,000. */
  readonly eventsPerSecond?: number;
  /** Under way at a time in one organisation. Default 3. */
  readonly runningMax?: number;
}

const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/;

export function createReplays(options: ReplaysOptions): Replays {
  const { database, eventsPerSecond = 1_000, runningMax = 3 } = options;

  async function start(wish: ReplayWish): Promise<ReplayView> {
    const { organizationId } = wish;
    const overNats = await natsTarget(options, wish);
    const iso = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());
    const params = [
      organizationId,
      options.uuid(),
      wish.idempotencyKey ?? null,
      wish.consumer ?? null,
      inOrder(wish.types),
      inOrder(wish.connectionIds),
      iso(wish.fromMs),
      iso(wish.untilMs),
      wish.eventsPerSecond ?? eventsPerSecond,
      wish.createdBy,
    ];
    const id = await withOrganization(database, organizationId, async (tx) => {
      // One after the other, so that the bound holds.
      await run(tx, "SELECT pg_advisory_xact_lock(hashtext('tributary.replay'), hashtext($1))", [organizationId]);
      const known = await byKey(tx, wish);
      if (known !== undefined) return known;
      const consumers = await run<{ name: string }>(tx, TARGETS, [organizationId, wish.consumer ?? null]);
      if (consumers.length === 0 && !overNats)
        throw wish.consumer === undefined
          ? new ReplayRefused("no_consumers", "there is no consumer yet that it could go to")
          : new ReplayRefused("unknown_consumer", "there is no consumer of that name");
      const [running] = await run<{ n: bigint }>(tx, RUNNING, [organizationId]);
      if (Number(running?.n ?? 0) >= runningMax)
        throw new ReplayRefused("too_many_replays", `${runningMax} replays are under way: wait for one, or cancel it`);
      const [made] = await run<{ id: string }>(tx, START, params);
      if (made === undefined) throw new Error("the replay was not made");
      await run(tx, ADD_HTTP_TARGETS, [organizationId, made.id, consumers.map(({ name }) => name)]);
      if (overNats) await run(tx, ADD_NATS_TARGET, [organizationId, made.id, wish.consumer ?? ""]);
      return made.id;
    });
    const view = await get(organizationId, id);
    if (view === undefined) throw new Error("the replay is gone again");
    return view;
  }

  const get = async (organizationId: string, id: string): Promise<ReplayView | undefined> => {
    if (!UUID.test(id)) return undefined;
    const params = [organizationId, id];
    const [row] = await withOrganization(database, organizationId, (tx) => run<Row>(tx, REPLAY, params), "reader");
    return row === undefined ? undefined : viewOf(row);
  };

  return {
    start,
    get,
    list: async (organizationId, { limit, after }) => {
      const [at, id] = after === undefined ? ["infinity", NO_ID] : readPageToken(after, PLACE);
      const params = [organizationId, at, id, limit + 1];
      const rows = await withOrganization(database, organizationId, (tx) => run<Row>(tx, REPLAYS, params), "reader");
      const last = rows.length > limit ? rows[limit - 1] : undefined;
      return {
        replays: rows.slice(0, limit).map(viewOf),
        ...(last === undefined ? {} : { next: pageToken(last.created_at, last.id) }),
      };
    },
    cancel: async (organizationId, id) => {
      if (!UUID.test(id)) return undefined;
      await withOrganization(database, organizationId, (tx) => run(tx, CANCEL, [organizationId, id]));
      return get(organizationId, id);
    },
  };
}

/** All consumers on NATS share one publication; a single one is served when it is there. */
async function natsTarget({ nats, operator }: ReplaysOptions, wish: ReplayWish): Promise<boolean> {
  if (nats === undefined) return false;
  if (wish.consumer === undefined) return true;
  const consumers = await nats.consumers(wish.organizationId, wish.organizationId === operator);
  return consumers.some(({ name }) => name === wish.consumer);
}

async function byKey(tx: Queryable, wish: ReplayWish): Promise<string | undefined> {
  if (wish.idempotencyKey === undefined) return undefined;
  const params = [wish.organizationId, wish.idempotencyKey];
  const [known] = await run<Pick<Row, "id" | "consumer" | "types" | "connection_ids">>(tx, BY_KEY, params);
  if (known === undefined) return undefined;
  // Times are not compared: "the last hour" is another one a second later.
  const said = [wish.consumer ?? null, inOrder(wish.types), inOrder(wish.connectionIds)];
  if (JSON.stringify(said) !== JSON.stringify([known.consumer, known.types, known.connection_ids]))
    throw new ReplayRefused("conflict", "the key belongs to another replay: a new wish needs a new key");
  return known.id;
}

const inOrder = (names: readonly string[]): readonly string[] => [...new Set(names)].toSorted();

const BY_KEY = `
SELECT id, consumer, types, connection_ids FROM pipeline.replay WHERE organization_id = $1 AND idempotency_key = $2`;
const TARGETS = `
SELECT name FROM pipeline.consumer WHERE organization_id = $1 AND ($2::text IS NULL OR name = $2) ORDER BY name LIMIT 1000`;
const RUNNING = "SELECT count(*) AS n FROM pipeline.replay WHERE organization_id = $1 AND state = 'running'";

const START = `
INSERT INTO pipeline.replay (organization_id, id, idempotency_key, consumer, types, connection_ids, from_at, until_at,
  events_per_second, created_by)
VALUES ($1, $2, $3, $4, $5, $6::uuid[], $7, least($8::timestamptz, now()), $9, $10) RETURNING id`;

const ADD_HTTP_TARGETS = `
INSERT INTO pipeline.replay_target (organization_id, replay_id, road, consumer)
SELECT $1, $2, 'http', name FROM unnest($3::text[]) AS name`;

const ADD_NATS_TARGET =
  "INSERT INTO pipeline.replay_target (organization_id, replay_id, road, consumer) VALUES ($1, $2, 'nats', $3)";

const CANCEL = `
UPDATE pipeline.replay SET state = 'cancelled', ended_at = now()
WHERE organization_id = $1 AND id = $2 AND state = 'running'`;

/**
 * A consumer is removed: it is no target any more of what is under way. A replay that was for nobody else has come to
 * nothing, and keeps its target, which says how far it had come.
 */
export async function leaveReplays(
  tx: Queryable,
  organizationId: string,
  consumer: string,
  road: "http" | "nats",
): Promise<void> {
  await run(tx, FAIL_ALONE, [organizationId, consumer, road]);
  await run(tx, LEAVE, [organizationId, consumer, road]);
}

/** On NATS all share one target without a name: that one goes on without whoever left. */
const FAIL_ALONE = `
UPDATE pipeline.replay r SET state = 'failed', reason = 'consumer_removed', ended_at = now()
WHERE r.organization_id = $1 AND r.state = 'running' AND EXISTS (
  SELECT FROM pipeline.replay_target t WHERE t.organization_id = $1 AND t.replay_id = r.id AND NOT t.ended
    AND t.consumer = $2 AND t.road = $3
) AND NOT EXISTS (
  SELECT FROM pipeline.replay_target t WHERE t.organization_id = $1 AND t.replay_id = r.id
    AND (t.consumer <> $2 OR t.road <> $3)
)`;

const LEAVE = `
DELETE FROM pipeline.replay_target t USING pipeline.replay r
WHERE t.organization_id = $1 AND t.consumer = $2 AND t.road = $3 AND NOT t.ended
  AND r.organization_id = $1 AND r.id = t.replay_id AND r.state = 'running'`;

const SELECT_REPLAY = `
SELECT r.id, r.state, r.reason, r.consumer, date_part('epoch', r.from_at) * 1000 AS from_ms,
  date_part('epoch', r.until_at) * 1000 AS until_ms, r.types, r.connection_ids, r.events_per_second, r.total,
  date_part('epoch', r.created_at) * 1000 AS created_ms, r.created_at::text AS created_at,
  date_part('epoch', r.ended_at) * 1000 AS ended_ms,
  (SELECT coalesce(jsonb_agg(jsonb_build_object('road', t.road, 'consumer', t.consumer, 'done', t.done, 'ended', t.ended)
    ORDER BY t.road, t.consumer), '[]') FROM pipeline.replay_target t
   WHERE t.organization_id = r.organization_id AND t.replay_id = r.id) AS targets
FROM pipeline.replay r`;

const REPLAY = `${SELECT_REPLAY} WHERE r.organization_id = $1 AND r.id = $2`;
const REPLAYS = `${SELECT_REPLAY}
WHERE r.organization_id = $1 AND (r.created_at, r.id) < ($2::timestamptz, $3::uuid)
ORDER BY r.created_at DESC, r.id DESC LIMIT $4`;

interface Row {
  readonly id: string;
  readonly state: ReplayView["state"];
  readonly reason: string;
  readonly consumer: string | null;
  readonly from_ms: number | null;
  readonly until_ms: number;
  readonly types: readonly string[];
  readonly connection_ids: readonly string[];
  readonly events_per_second: number;
  readonly total: bigint | null;
  readonly created_ms: number;
  readonly created_at: string;
  readonly ended_ms: number | null;
  readonly targets: readonly ReplayTargetView[];
}

function viewOf(row: Row): ReplayView {
  const total = row.total === null ? undefined : Number(row.total);
  const least = row.targets.length === 0 ? (total ?? 0) : Math.min(...row.targets.map(({ done }) => done));
  return {
    id: row.id,
    state: row.state,
    reason: row.reason,
    consumer: row.consumer ?? undefined,
    fromMs: row.from_ms === null ? undefined : Math.round(row.from_ms),
    untilMs: Math.round(row.until_ms),
    types: row.types,
    connectionIds: row.connection_ids,
    eventsPerSecond: row.events_per_second,
    total,
    done: row.state === "done" ? (total ?? least) : least,
    targets: row.targets,
    createdAtMs: Math.round(row.created_ms),
    endedAtMs: row.ended_ms === null ? undefined : Math.round(row.ended_ms),
  };
}

const NO_ID = "00000000-0000-0000-0000-000000000000";
const PLACE = ["time", "uuid"] as const;

/** Ends what has been under way for 7 days, and forgets what ended 30 days ago. @returns how many were forgotten. */
export const trimReplays = (database: Database): Promise<number> =>
  acrossOrganizations(database, "upkeep", async (tx) => {
    await run(tx, EXPIRE);
    const [row] = await run<{ n: bigint }>(tx, FORGET);
    return Number(row?.n ?? 0);
  });

const EXPIRE = `
UPDATE pipeline.replay SET state = 'failed', reason = 'expired', ended_at = now()
WHERE state = 'running' AND created_at < now() - interval '7 days'`;
const FORGET = `
WITH gone AS (DELETE FROM pipeline.replay WHERE ended_at < now() - interval '30 days' RETURNING 1)
SELECT count(*) AS n FROM gone`;
