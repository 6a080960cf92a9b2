import { type Database, run, withOrganization } from "@tributary/db";
import type { LedgerEvent } from "./ledger.ts";
import type { ReplayPage, ReplayPlace } from "./replay-walk.ts";

/** Which consumer over HTTP a replay goes to. */
export interface ReplayTargetKey {
  readonly organizationId: string;
  readonly replayId: string;
  readonly consumer: string;
}

/**
 * How far one consumer has come in one replay: what was read, in the order it was read, and what of it is settled. The
 * stored place stands before the first event that is not settled.
 */
export interface ReplayProgress {
  /** Read up to here. */
  readonly read: ReplayPlace;
  /** Read to the end. */
  readonly ended: boolean;
  readonly unsettled: number;
  /** Takes a page over. @returns what of it is to be sent. */
  take(page: ReplayPage, types: readonly string[]): readonly LedgerEvent[];
  /** @returns a promise of its durability, or undefined when the event is not outstanding here. */
  settle(connectionId: string, sequence: bigint): Promise<void> | undefined;
  /** What another process stored as settled. */
  settledElsewhere(names: readonly string[]): void;
}

interface Step {
  readonly place: ReplayPlace;
  /** Events of the replay that end with this step. */
  readonly count: number;
  readonly last: boolean;
  open: boolean;
}

export function createReplayProgress(options: {
  readonly database: Database;
  readonly target: ReplayTargetKey;
  readonly place: ReplayPlace;
  readonly ahead: readonly string[];
}): ReplayProgress {
  const { database, target } = options;
  let read = options.place;
  let ended = false;
  /** From the stored place on, in the order of reading. */
  const steps: Step[] = [];
  const open = new Map<string, Step>();
  /** Settled before it was read. */
  const early = new Set(options.ahead);
  /** Stored as settled ahead, and since then passed by the place. */
  let passed: string[] = [];
  let moved: { place: ReplayPlace; count: number; ended: boolean } | undefined;
  let next: Promise<void> | undefined;
  let under: Promise<unknown> = Promise.resolve();

  /** Moves the place past what is settled; whoever comes while a statement is under way shares the next one. */
  function advance(): Promise<void> {
    while (steps[0]?.open === false) {
      const step = steps.shift();
      if (step === undefined) break;
      moved = {
        place: step.place,
        count: (moved?.count ?? 0) + step.count,
        ended: step.last || moved?.ended === true,
      };
    }
    if (moved === undefined && next === undefined) return under.then(() => {});
    next ??= (async () => {
      await under;
      const going = moved;
      const names = passed;
      moved = undefined;
      passed = [];
      next = undefined;
      if (going === undefined) return;
      const writing = store(database, target, going, names);
      under = writing.catch(() => {});
      await writing;
    })();
    return next;
  }

  return {
    get read() {
      return read;
    },
    get ended() {
      return ended;
    },
    get unsettled() {
      return open.size;
    },
    take: (page, types) => {
      const wanted: LedgerEvent[] = [];
      for (const event of page.events) {
        const { connectionId, sequence } = event;
        const name = `${connectionId}:${sequence}`;
        const passedOver = types.length > 0 && !types.includes(event.type);
        const settled = early.delete(name);
        if (settled) passed.push(name);
        const step = { place: { connectionId, sequence }, count: 1, last: false, open: !passedOver && !settled };
        steps.push(step);
        if (!step.open) continue;
        open.set(name, step);
        wanted.push(event);
      }
      steps.push({ place: page.place, count: 0, last: page.ended, open: false });
      read = page.place;
      ended = page.ended;
      // A hint of where to resume; one that is lost costs a second reading.
      advance().catch(() => {});
      return wanted;
    },
    settle: (connectionId, sequence) => {
      const name = `${connectionId}:${sequence}`;
      const step = open.get(name);
      if (step === undefined) return undefined;
      open.delete(name);
      step.open = false;
      return advance();
    },
    settledElsewhere: (names) => {
      let some = false;
      for (const name of names) {
        const step = open.get(name);
        if (step === undefined) {
          if (!passed.includes(name) && isAhead(name, read)) early.add(name);
          continue;
        }
        open.delete(name);
        step.open = false;
        passed.push(name);
        some = true;
      }
      if (some) advance().catch(() => {});
    },
  };
}

function isAhead(name: string, { connectionId, sequence }: ReplayPlace): boolean {
  const [id = "", number = "0"] = name.split(":");
  return id > connectionId || (id === connectionId && BigInt(number) > sequence);
}

const STORE = `
UPDATE pipeline.replay_target SET place_connection = $4, place_sequence = $5, done = done + $6, ended = ended OR $7,
  ahead = CASE WHEN ahead = '{}' THEN ahead ELSE ARRAY(SELECT unnest(ahead) EXCEPT SELECT unnest($8::text[])) END
WHERE organization_id = $1 AND replay_id = $2 AND road = 'http' AND consumer = $3`;

async function store(
  database: Database,
  { organizationId, replayId, consumer }: ReplayTargetKey,
  { place, count, ended }: { place: ReplayPlace; count: number; ended: boolean },
  passed: readonly string[],
): Promise<void> {
  const params = [organizationId, replayId, consumer, place.connectionId, place.sequence, count, ended, passed];
  await withOrganization(database, organizationId, (tx) => run(tx, STORE, params));
}

/** Settled ahead of the place by way of another process: no more than a window can hold. */
const AHEAD_MAX = 10_000;

const SETTLE_AHEAD = `
UPDATE pipeline.replay_target t SET ahead = CASE WHEN $4 = ANY (t.ahead) THEN t.ahead ELSE t.ahead || $4 END
WHERE t.organization_id = $1 AND t.replay_id = $2 AND t.road = 'http' AND t.consumer = $3
  AND cardinality(t.ahead) < ${AHEAD_MAX} RETURNING t.consumer`;

/**
 * Settles an event of a replay that no stream of this process has outstanding: whoever serves the consumer takes it up
 * within a second. @returns whether there is such a replay for the consumer.
 */
export async function settleReplayed(
  database: Database,
  { organizationId, replayId, consumer }: ReplayTargetKey,
  connectionId: string,
  sequence: bigint,
): Promise<boolean> {
  const params = [organizationId, replayId, consumer, `${connectionId}:${sequence}`];
  return (await withOrganization(database, organizationId, (tx) => run(tx, SETTLE_AHEAD, params))).length > 0;
}
