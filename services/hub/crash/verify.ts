import { setTimeout as sleep } from "node:timers/promises";
import { countReplayed, missingReplayed } from "./verify-again.ts";
import type { World } from "./world.ts";

/** What was found after everything was healed and had time to drain. */
export interface Verdict {
  /** Changes of the provider without an effect, and events that the stream has lost for whoever reads it next. */
  readonly lost: number;
  /** Effects beyond the first of a change, and events that the ledger or the stream holds twice. */
  readonly duplicates: number;
  /** Effects and messages of the stream that stand before their predecessor in their connection. */
  readonly reordered: number;
  /** Anything else that must not be: it did not drain, a sequence has a gap, a lease was kept, a message has no id. */
  readonly problems: readonly string[];
  /** What makes the trial worth nothing. */
  readonly failures: readonly string[];
  readonly effects: number;
}

/** Whether the path did everything that it promises; nothing is said of whether the trial was one. */
export const isRight = ({ lost, duplicates, reordered, problems }: Verdict): boolean =>
  lost === 0 && duplicates === 0 && reordered === 0 && problems.length === 0;

export const isClean = (verdict: Verdict): boolean => isRight(verdict) && verdict.failures.length === 0;

/**
 * Waits until every change that can have an effect has one, the stream holds every event, whatever died or was to be
 * delivered again is settled, and every outcome was heard.
 * @returns false when nothing moved for so long.
 */
export async function drain(world: World, quietMs: number, limitMs = 600_000): Promise<boolean> {
  const counts = [
    missingEffects,
    ...(world.road === "nats" ? [missingInStream] : []),
    ...(world.again === undefined ? [] : [unsettled]),
  ];
  let all = true;
  for (const count of counts) all = (await settled(world, () => count(world), quietMs, limitMs)) && all;
  return all;
}

/** A transaction that a process sent may be committed when its connection is lost: so what it held is let pass again. */
const AGE_AFTER_MS = 4_000;

async function settled(world: World, count: () => Promise<number>, quietMs: number, limitMs: number): Promise<boolean> {
  let agedAt = 0;
  const started = performance.now();
  let last = -1;
  let movedAt = started;
  for (;;) {
    const missing = await count();
    const now = performance.now();
    if (missing === 0) return true;
    if (missing !== last) movedAt = now;
    last = missing;
    if (now - Math.max(movedAt, agedAt) > AGE_AFTER_MS) {
      agedAt = now;
      await world.age(["commit"]);
    }
    if (now - movedAt > quietMs || now - started > limitMs) return false;
    await sleep(100);
  }
}

const HEADS = "SELECT connection_id AS id, coalesce(parked_sequence - 1, head) AS head FROM pipeline.position";

/** How far each account's changes can have effects. */
async function expectedOf(world: World): Promise<ReadonlyMap<string, number>> {
  const heads = world.written ? await world.ask<{ id: string; head: bigint }>(HEADS) : [];
  return new Map(
    [...world.connections].map(([account, id]) => {
      const changes = world.written
        ? Number(heads.find((one) => one.id === id)?.head ?? 0n)
        : (world.provider.changes.get(account) ?? 0);
      return [
        account,
        account === "poisoned" && world.poison !== undefined ? Math.min(changes, world.poison - 1) : changes,
      ];
    }),
  );
}

async function missingEffects(world: World): Promise<number> {
  await world.again?.redrive();
  const rows = await world.ask<{ id: string; n: bigint }>(
    "SELECT connection_id AS id, count(DISTINCT change) AS n FROM crash.effect WHERE replay_id = '' GROUP BY 1",
  );
  const had = new Map(rows.map(({ id, n }) => [id, Number(n)]));
  let missing = 0;
  for (const [account, most] of await expectedOf(world))
    missing += Math.max(0, most - (had.get(world.connections.get(account) ?? "") ?? 0));
  return missing;
}

/** What the hub knows of that is not over; while it does not answer, more than anything. */
async function unsettled(world: World): Promise<number> {
  await world.again?.redrive();
  const standing = await world.again?.standing();
  if (standing === undefined) return Number.MAX_SAFE_INTEGER;
  return standing.lag + standing.deadLetters + standing.running + (await missingReplayed(world));
}

/** Events that were committed, are not parked, and are not in the stream. */
async function missingInStream(world: World): Promise<number> {
  const messages = await world.stream.messages();
  const there = new Map<string, Set<number>>();
  for (const { connectionId, sequence } of messages) {
    const known = there.get(connectionId);
    if (known === undefined) there.set(connectionId, new Set([sequence]));
    else known.add(sequence);
  }
  const heads = await world.ask<{ id: string; head: bigint }>(HEADS);
  return heads.reduce((sum, { id, head }) => sum + Math.max(0, Number(head) - (there.get(id)?.size ?? 0)), 0);
}

const EFFECTS = "SELECT connection_id AS id, change, redrive FROM crash.effect WHERE replay_id = '' ORDER BY number";

const LEDGER_TWICE = "SELECT count(*) - count(DISTINCT id) AS n FROM pipeline.event WHERE subject LIKE 'evt.%'";

const GAPS = `
SELECT p.connection_id AS id FROM pipeline.position p LEFT JOIN pipeline.event e ON e.connection_id = p.connection_id
GROUP BY 1, p.head HAVING count(e.sequence) <> p.head OR max(e.sequence) <> p.head OR min(e.sequence) <> 1`;

const CURSOR_AHEAD = `
SELECT c.connection_id AS id FROM integrations.credential c
WHERE (c.meta ->> 'cursor')::bigint > (SELECT count(*) FROM pipeline.event e
  WHERE e.connection_id = c.connection_id AND e.subject LIKE 'evt.%')`;

const LEASES = "SELECT id FROM integrations.connection WHERE lease_until IS NOT NULL";

/** Looks at every layer: provider against effects, the ledger, the stream, the leases. Workers have stopped. */
export async function verify(world: World, drained: boolean): Promise<Verdict> {
  const problems = [...world.problems];
  if (!drained) problems.push("it did not drain: nothing moved any more");
  const effects = await world.ask<Effect>(EFFECTS);
  const byEffect = await countEffects(world, effects);
  const replayed = await countReplayed(world, problems);
  const [twice] = await world.askLedger<{ n: bigint }>(LEDGER_TWICE);
  const stream = world.road === "nats" ? await countStream(world, problems) : { duplicates: 0, reordered: 0 };
  if ((await world.askLedger(GAPS)).length > 0) problems.push("a connection's sequence has a gap");
  if ((await world.askLedger(CURSOR_AHEAD)).length > 0) problems.push("a cursor is ahead of the events");
  const leases = (await world.askLedger(LEASES)).length;
  if (leases > 0) problems.push(`${leases} leases were not given back`);
  return {
    lost: byEffect.lost + replayed.lost + (world.road === "nats" ? await missingInStream(world) : 0),
    duplicates: byEffect.duplicates + replayed.duplicates + Number(twice?.n ?? 0n) + stream.duplicates,
    reordered: byEffect.reordered + replayed.reordered + stream.reordered,
    problems,
    failures: world.failures,
    effects: effects.length + replayed.effects,
  };
}

interface Effect {
  readonly id: string;
  readonly change: bigint;
  readonly redrive: number;
}

async function countEffects(world: World, effects: readonly Effect[]) {
  const found = { lost: 0, duplicates: 0, reordered: 0 };
  const byConnection = Map.groupBy(effects, ({ id }) => id);
  for (const [account, most] of await expectedOf(world)) {
    const had = new Set<number>();
    let last = 0;
    for (const { change: number, redrive } of byConnection.get(world.connections.get(account) ?? "") ?? []) {
      const change = Number(number);
      // A dead letter has its effect when somebody chose, and holds nothing up.
      if (had.has(change)) found.duplicates++;
      else if ((change < last && redrive === 0) || change > most) found.reordered++;
      had.add(change);
      if (redrive === 0) last = Math.max(last, change);
    }
    for (let change = 1; change <= most; change++) if (!had.has(change)) found.lost++;
  }
  return found;
}

async function countStream(world: World, problems: string[]) {
  const found = { duplicates: 0, reordered: 0 };
  const last = new Map<string, number>();
  const had = new Set<string>();
  let unnamed = 0;
  for (const { connectionId, sequence, id, messageId } of await world.stream.messages()) {
    const name = `${connectionId} ${sequence}`;
    const before = last.get(connectionId) ?? 0;
    if (had.has(name)) found.duplicates++;
    else if (sequence < before) found.reordered++;
    had.add(name);
    last.set(connectionId, Math.max(before, sequence));
    if (messageId !== id) unnamed++;
  }
  if (unnamed > 0) problems.push(`${unnamed} messages of the stream do not carry their event's id as Nats-Msg-Id`);
  return found;
}
