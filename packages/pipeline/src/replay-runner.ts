import { acrossOrganizations, type Database, run, withOrganization } from "@tributary/db";
import { setTimeout as sleep } from "node:timers/promises";
import { countReplay, replayPage, type ReplayPlace, type ReplayScope } from "./replay-walk.ts";
import type { SideRoad } from "./side-road.ts";

export interface ReplayRunnerOptions {
  readonly database: Database;
  /** Absent without a broker: then consumers over HTTP are all there is. */
  readonly nats?: SideRoad;
  /** A UUID: which process works on a replay. */
  readonly holder: string;
  readonly log?: { warn(fields: Readonly<Record<string, unknown>>, message: string): void };
  /** Milliseconds that only ever grow. Default: the process's. */
  readonly clock?: () => number;
}

const EVERY_MS = 1_000;
const LEASE_SECONDS = 10;
const CLAIMED_MAX = 100;
const PAGE_EVENTS = 500;
const RETRY_MS = 1_000;

/**
 * What a replay needs besides its consumers over HTTP, who read it themselves: its events are counted, published on
 * NATS no faster than it may go, and it is ended when every road has come to the end. A lease lets one process work on
 * a replay; where it stands is stored, so another goes on when that one dies.
 * @returns a function that stops it.
 */
export function startReplayRunner(options: ReplayRunnerOptions): () => Promise<void> {
  const { database, holder, log, clock = () => performance.now() } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  /** What is worked on here, by organisation and replay. */
  const tasks = new Map<string, Promise<void>>();

  async function living(): Promise<void> {
    while (!signal.aborted) {
      try {
        const claimed = await acrossOrganizations(database, "relay", async (tx) => {
          await run(tx, END);
          return run<Claimed>(tx, CLAIM, [holder, CLAIMED_MAX]);
        });
        for (const replay of claimed) begin(replay);
      } catch (error) {
        log?.warn({ error: nameOf(error) }, "replays are looked after later");
      }
      await sleep(EVERY_MS, undefined, { signal }).catch(() => {});
    }
  }

  function begin(replay: Claimed): void {
    const key = `${replay.organization_id} ${replay.id}`;
    if (tasks.has(key)) return;
    const task = work(replay)
      .catch((error: unknown) => log?.warn({ replay: replay.id, error: nameOf(error) }, "a replay goes on later"))
      .finally(() => tasks.delete(key));
    tasks.set(key, task);
  }

  async function work(replay: Claimed): Promise<void> {
    const { organization_id: organizationId, id } = replay;
    const scope: ReplayScope = {
      organizationId,
      types: replay.types,
      connectionIds: replay.connection_ids,
      fromAt: replay.from_at,
      untilAt: replay.until_at,
    };
    const [target] = await withOrganization(
      database,
      organizationId,
      (tx) => run<Target>(tx, NATS_TARGET, [organizationId, id]),
      "reader",
    );
    const publishing =
      target === undefined || options.nats === undefined ? undefined : publish(options.nats, scope, replay, target);
    if (replay.total === null) {
      const total = await withOrganization(database, organizationId, (tx) => countReplay(tx, scope), "reader");
      await withOrganization(database, organizationId, (tx) => run(tx, TOTAL, [organizationId, id, total]));
    }
    await publishing;
  }

  async function publish(nats: SideRoad, scope: ReplayScope, replay: Claimed, target: Target): Promise<void> {
    const { organizationId } = scope;
    const { id, events_per_second: perSecond } = replay;
    let place = later(
      { connectionId: target.place_connection, sequence: target.place_sequence },
      await patient(() => nats.lastPublished(id)),
    );
    const limit = Math.max(1, Math.min(PAGE_EVENTS, Math.floor(perSecond / 10)));
    for (let dueAt = clock(); !signal.aborted;) {
      const page = await withOrganization(
        database,
        organizationId,
        (tx) => replayPage(tx, scope, place, limit),
        "reader",
      );
      const events = page.events.map((event) => ({
        event,
        via: id,
        replayId: id,
        ...(target.consumer === "" ? {} : { onlyFor: target.consumer }),
      }));
      await patient(() => nats.publish(events));
      place = page.place;
      const { connectionId, sequence } = place;
      const params = [organizationId, id, connectionId, sequence, page.events.length, page.ended, holder];
      const going = await withOrganization(database, organizationId, (tx) => run(tx, PUBLISHED, params));
      if (going.length === 0 || page.ended) return;
      // What was late is not caught up with: the bound holds at any time.
      dueAt = Math.max(dueAt, clock() - 100) + (1_000 * page.events.length) / perSecond;
      if (dueAt > clock()) await sleep(dueAt - clock(), undefined, { signal }).catch(() => {});
    }
  }

  /** The broker may be away for an hour: the replay waits. */
  async function patient<T>(ask: () => Promise<T>): Promise<T> {
    for (;;) {
      signal.throwIfAborted();
      try {
        return await ask();
      } catch {
        await sleep(RETRY_MS, undefined, { signal }).catch(() => {});
      }
    }
  }

  const life = living();
  return async () => {
    stopping.abort();
    await life;
    await Promise.allSettled(tasks.values());
    await acrossOrganizations(database, "relay", (tx) => run(tx, RELEASE, [holder])).catch(() => {});
  };
}

const nameOf = (error: unknown): string => (error instanceof Error ? error.name : typeof error);

/** Ids are compared as the database does: by their bytes, which is the order of their hexadecimal digits. */
function later(stored: ReplayPlace, published: ReplayPlace | undefined): ReplayPlace {
  if (published === undefined || published.connectionId < stored.connectionId) return stored;
  return published.connectionId > stored.connectionId || published.sequence > stored.sequence ? published : stored;
}

interface Claimed {
  readonly organization_id: string;
  readonly id: string;
  readonly types: readonly string[];
  readonly connection_ids: readonly string[];
  readonly from_at: string | null;
  readonly until_at: string;
  readonly events_per_second: number;
  readonly total: bigint | null;
}

interface Target {
  readonly consumer: string;
  readonly place_connection: string;
  readonly place_sequence: bigint;
}

/** Only what is to be counted or published: what waits for a consumer over HTTP keeps nobody's place. */
const CLAIM = `
UPDATE pipeline.replay r SET holder = $1, lease_until = now() + make_interval(secs => ${LEASE_SECONDS})
FROM (
  SELECT organization_id, id FROM pipeline.replay c
  WHERE state = 'running' AND (holder = $1 OR lease_until < now())
    AND (total IS NULL OR EXISTS (
      SELECT FROM pipeline.replay_target t
      WHERE t.organization_id = c.organization_id AND t.replay_id = c.id AND t.road = 'nats' AND NOT t.ended
    ))
  ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
) AS due
WHERE r.organization_id = due.organization_id AND r.id = due.id
RETURNING r.organization_id, r.id, r.types, r.connection_ids, r.from_at::text AS from_at, r.until_at::text AS until_at,
  r.events_per_second, r.total`;

/** Whoever held it: nothing is left to be done. */
const END = `
UPDATE pipeline.replay r SET state = 'done', ended_at = now()
WHERE r.state = 'running' AND r.total IS NOT NULL AND NOT EXISTS (
  SELECT FROM pipeline.replay_target t
  WHERE t.organization_id = r.organization_id AND t.replay_id = r.id AND NOT t.ended
)`;

const RELEASE = "UPDATE pipeline.replay SET lease_until = '-infinity' WHERE state = 'running' AND holder = $1";

const NATS_TARGET = `
SELECT consumer, place_connection, place_sequence FROM pipeline.replay_target
WHERE organization_id = $1 AND replay_id = $2 AND road = 'nats' AND NOT ended`;

const TOTAL = "UPDATE pipeline.replay SET total = $3 WHERE organization_id = $1 AND id = $2 AND total IS NULL";

/** Only while it runs, and is held here. */
const PUBLISHED = `
UPDATE pipeline.replay_target t SET place_connection = $3, place_sequence = $4, done = t.done + $5, ended = $6
FROM pipeline.replay r
WHERE t.organization_id = $1 AND t.replay_id = $2 AND t.road = 'nats'
  AND r.organization_id = t.organization_id AND r.id = t.replay_id AND r.state = 'running' AND r.holder = $7
RETURNING t.replay_id`;
