import { setTimeout as sleep } from "node:timers/promises";
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
 * Waits until every change that can have an effect has one, and the stream holds every event.
 * @returns false when nothing moved for so long.
 */
export async function drain(world: World, quietMs: number, limitMs = 600_000): Promise<boolean> {
  const effects = await settled(world, () => missingEffects(world), quietMs, limitMs);
  return (await settled(world, () => missingInStream(world), quietMs, limitMs)) && effects;
}

/** A transaction that a process sent before it died may commit after it: so a dead one's lease is let pass again. */
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
      await world.ageLeases();
    }
    if (now - movedAt > quietMs || now - started > limitMs) return false;
    await sleep(100);
  }
}

/** How far an account's changes can have effects. */
const expected = (world: World, account: string): number => {
  const changes = world.provider.changes.get(account) ?? 0;
  return account === "poisoned" && world.poison !== undefined ? Math.min(changes, world.poison - 1) : changes;
};

async function missingEffects(world: World): Promise<number> {
  const rows = await world.ask<{ id: string; n: bigint }>(
    "SELECT connection_id AS id, count(DISTINCT change) AS n FROM crash.effect GROUP BY 1",
  );
  const had = new Map(rows.map(({ id, n }) => [id, Number(n)]));
  let missing = 0;
  for (const [account, id] of world.connections) missing += Math.max(0, expected(world, account) - (had.get(id) ?? 0));
  return missing;
}

const HEADS = `
SELECT connection_id AS id, coalesce(parked_sequence - 1, head) AS head FROM pipeline.position`;

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

const EFFECTS = "SELECT connection_id AS id, change FROM crash.effect ORDER BY number";

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
  const effects = await world.ask<{ id: string; change: bigint }>(EFFECTS);
  const byEffect = await countEffects(world, effects);
  const [twice] = await world.ask<{ n: bigint }>(LEDGER_TWICE);
  const stream = await countStream(world, problems);
  if ((await world.ask(GAPS)).length > 0) problems.push("a connection's sequence has a gap");
  if ((await world.ask(CURSOR_AHEAD)).length > 0) problems.push("a cursor is ahead of the events");
  const leases = (await world.ask(LEASES)).length;
  if (leases > 0) problems.push(`${leases} leases were not given back`);
  return {
    lost: byEffect.lost + (await missingInStream(world)),
    duplicates: byEffect.duplicates + Number(twice?.n ?? 0n) + stream.duplicates,
    reordered: byEffect.reordered + stream.reordered,
    problems,
    failures: world.failures,
    effects: effects.length,
  };
}

async function countEffects(world: World, effects: readonly { readonly id: string; readonly change: bigint }[]) {
  const found = { lost: 0, duplicates: 0, reordered: 0 };
  const changes = new Map<string, number[]>();
  for (const { id, change } of effects) {
    const known = changes.get(id);
    if (known === undefined) changes.set(id, [Number(change)]);
    else known.push(Number(change));
  }
  for (const [account, id] of world.connections) {
    const had = new Set<number>();
    const most = expected(world, account);
    let last = 0;
    for (const change of changes.get(id) ?? []) {
      if (had.has(change)) found.duplicates++;
      else if (change < last || change > most) found.reordered++;
      had.add(change);
      last = Math.max(last, change);
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
