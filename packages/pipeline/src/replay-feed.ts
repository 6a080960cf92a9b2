import { type Database, run, withOrganization } from "@tributary/db";
import { redrivenLetters } from "./dead-letters.ts";
import type { LedgerEvent } from "./ledger.ts";
import type { ConsumerKey } from "./positions.ts";
import { createReplayProgress, type ReplayProgress } from "./replay-progress.ts";
import { replayPage, type ReplayScope } from "./replay-walk.ts";

/** An event that a consumer is sent again, beside the live ones. */
export interface AgainEvent extends LedgerEvent {
  /** "" for a redriven letter of a live event. */
  readonly replayId: string;
  /** 0 for a replayed event. */
  readonly redrive: number;
  /**
   * Absent for an event. Otherwise this is none: so many events of the connection, of whatever type, the last of them
   * `sequence`, were dropped from the ledger before they could be given out.
   */
  readonly gone?: bigint;
}

/**
 * What one consumer over HTTP is to be sent again: dead letters that somebody redrives, and replays, read from the
 * ledger a little ahead of what it takes, no faster than each may go. Live events and their positions know nothing of it.
 */
export interface ReplayFeed {
  /** Whether {@link ReplayFeed.next} has one now. */
  readonly pending: boolean;
  next(): AgainEvent | undefined;
  /** Whether it reads a replay: then somebody has to poke it now and then, to hear that the replay is over. */
  readonly replaying: boolean;
  /** Looks what there is to do. */
  poke(): void;
  /** @returns a promise of its durability, or undefined when the event is not outstanding here. */
  settle(replayId: string, connectionId: string, sequence: bigint): Promise<void> | undefined;
  /** A redriven letter was settled: should it be redriven again, it is sent again. */
  letterSettled(replayId: string, connectionId: string, sequence: bigint): void;
}

export interface ReplayFeedOptions extends ConsumerKey {
  readonly database: Database;
  /** Full protobuf names; empty means every type. */
  readonly types: readonly string[];
  readonly signal: AbortSignal;
  /** Milliseconds that only ever grow. */
  readonly clock: () => number;
  /** Something can be taken. */
  readonly ring: () => void;
}

const BUFFER_EVENTS = 200;
const PAGE_EVENTS = 200;
/** Of one replay, sent or read ahead and not settled. */
const UNSETTLED_MAX = 10_000;
const RETRY_MS = 1_000;

interface Walk {
  readonly scope: ReplayScope;
  readonly perSecond: number;
  readonly progress: ReplayProgress;
  readonly buffer: AgainEvent[];
  /** When the next event may go. */
  dueAt: number;
}

export function createReplayFeed(options: ReplayFeedOptions): ReplayFeed {
  const { database, organizationId, consumer, types, signal, clock, ring } = options;
  const walks = new Map<string, Walk>();
  const letters: (AgainEvent & { readonly letterId: string })[] = [];
  /** Letters read and not settled, by the key of their event. */
  const underWay = new Map<string, string>();
  let looking = false;
  let again = false;

  function poke(): void {
    again = true;
    if (!looking) void look();
  }

  /** One look at a time; asked for during one, it is done once more. */
  async function look(): Promise<void> {
    looking = true;
    while (again && !signal.aborted) {
      again = false;
      try {
        await refill();
      } catch {
        // The database is away: the next look tells. Nothing that was read is lost.
        setTimeout(poke, RETRY_MS).unref();
      }
    }
    looking = false;
    ring();
  }

  const refill = (): Promise<void> =>
    withOrganization(
      database,
      organizationId,
      async (tx) => {
        if (letters.length < BUFFER_EVENTS) {
          const found = await redrivenLetters(tx, organizationId, consumer, [...underWay.values()], PAGE_EVENTS);
          for (const letter of found) {
            underWay.set(eventKey(letter.replayId, letter.connectionId, letter.sequence), letter.letterId);
            letters.push({ ...letter, redrive: letter.redrives });
          }
        }
        const rows = await run<TargetRow>(tx, OPEN_TARGETS, [organizationId, consumer]);
        for (const id of walks.keys()) if (!rows.some((row) => row.id === id)) walks.delete(id);
        for (const row of rows) {
          const walk = walks.get(row.id) ?? begin(row);
          walk.progress.settledElsewhere(row.ahead);
          if (walk.buffer.length >= BUFFER_EVENTS || walk.progress.unsettled >= UNSETTLED_MAX || walk.progress.ended)
            continue;
          const page = await replayPage(tx, walk.scope, walk.progress.read, PAGE_EVENTS);
          for (const event of walk.progress.take(page, types))
            walk.buffer.push({ ...event, replayId: row.id, redrive: 0 });
          // What holds nothing for this consumer is walked through without a pause.
          if (!page.ended && walk.buffer.length === 0) again = true;
        }
      },
      "reader",
    );

  function begin(row: TargetRow): Walk {
    const { id, types: wanted, connection_ids: connectionIds, from_at: fromAt, until_at: untilAt } = row;
    const walk: Walk = {
      scope: { organizationId, types: wanted, connectionIds, fromAt, untilAt },
      perSecond: row.events_per_second,
      progress: createReplayProgress({
        database,
        target: { organizationId, replayId: id, consumer },
        place: { connectionId: row.place_connection, sequence: row.place_sequence },
        ahead: row.ahead,
      }),
      buffer: [],
      dueAt: clock(),
    };
    walks.set(id, walk);
    return walk;
  }

  /** The replay whose turn it is, if one has an event that may go now. */
  function due(): Walk | undefined {
    const now = clock();
    let soonest = Infinity;
    for (const walk of walks.values()) {
      if (walk.buffer.length === 0) continue;
      if (walk.dueAt <= now) return walk;
      soonest = Math.min(soonest, walk.dueAt);
    }
    if (soonest < Infinity) setTimeout(ring, Math.max(1, soonest - now)).unref();
    return undefined;
  }

  function next(): AgainEvent | undefined {
    const letter = letters.shift();
    if (letter !== undefined) return letter;
    const walk = due();
    const event = walk?.buffer.shift();
    if (walk === undefined || event === undefined) return undefined;
    // A tenth of a second's worth may be caught up with, no more.
    walk.dueAt = Math.max(walk.dueAt, clock() - 100) + 1_000 / walk.perSecond;
    if (walk.buffer.length < BUFFER_EVENTS / 2) poke();
    return event;
  }

  return {
    get pending() {
      return letters.length > 0 || due() !== undefined;
    },
    next,
    get replaying() {
      return walks.size > 0;
    },
    poke,
    settle: (replayId, connectionId, sequence) => {
      const walk = walks.get(replayId);
      const durable = walk?.progress.settle(connectionId, sequence);
      if (walk !== undefined && walk.buffer.length < BUFFER_EVENTS / 2) poke();
      return durable;
    },
    letterSettled: (replayId, connectionId, sequence) => underWay.delete(eventKey(replayId, connectionId, sequence)),
  };
}

const eventKey = (replayId: string, connectionId: string, sequence: bigint): string =>
  `${replayId} ${connectionId}:${sequence}`;

interface TargetRow {
  readonly id: string;
  readonly types: readonly string[];
  readonly connection_ids: readonly string[];
  readonly from_at: string | null;
  readonly until_at: string;
  readonly events_per_second: number;
  readonly place_connection: string;
  readonly place_sequence: bigint;
  readonly ahead: readonly string[];
}

const OPEN_TARGETS = `
SELECT r.id, r.types, r.connection_ids, r.from_at::text AS from_at, r.until_at::text AS until_at, r.events_per_second,
  t.place_connection, t.place_sequence, t.ahead
FROM pipeline.replay_target t
JOIN pipeline.replay r ON r.organization_id = t.organization_id AND r.id = t.replay_id AND r.state = 'running'
WHERE t.organization_id = $1 AND t.road = 'http' AND t.consumer = $2 AND NOT t.ended
ORDER BY r.created_at, r.id LIMIT 10`;

const CONSUMERS_WITH_WORK = `
SELECT organization_id, consumer FROM pipeline.dead_letter WHERE road = 'http' AND state = 'redriving'
UNION
SELECT t.organization_id, t.consumer FROM pipeline.replay_target t
JOIN pipeline.replay r ON r.organization_id = t.organization_id AND r.id = t.replay_id
WHERE t.road = 'http' AND NOT t.ended AND r.state = 'running'`;

/** The keys of all consumers over HTTP that are to be sent something again, whatever their organisation. */
export const consumersWithWork = (
  on: Parameters<typeof run>[0],
): Promise<{ organization_id: string; consumer: string }[]> => run(on, CONSUMERS_WITH_WORK);
