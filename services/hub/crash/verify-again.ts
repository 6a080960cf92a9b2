import type { Replayed } from "./again.ts";
import type { World } from "./world.ts";

const REPLAYED = `
SELECT id, connection_id AS "connectionId", sequence FROM pipeline.event
WHERE subject LIKE 'evt.%' AND committed_at >= $1::timestamptz AND committed_at < $2::timestamptz`;

interface LedgerRow {
  readonly id: string;
  readonly connectionId: string;
  readonly sequence: bigint;
}

const eventsOf = (world: World, { fromMs, untilMs }: Replayed): Promise<LedgerRow[]> =>
  world.askLedger<LedgerRow>(REPLAYED, [new Date(fromMs).toISOString(), new Date(untilMs).toISOString()]);

/** Events of replays without an effect in that replay. Of a ledger that cannot be asked now, nothing is said. */
export async function missingReplayed(world: World): Promise<number> {
  if (!world.ledgerIsShared) return 0;
  let missing = 0;
  for (const replay of world.again?.replays ?? []) {
    const [had] = await world.ask<{ n: bigint }>(
      "SELECT count(DISTINCT event_id) AS n FROM crash.effect WHERE replay_id = $1",
      [replay.id],
    );
    missing += Math.max(0, (await eventsOf(world, replay)).length - Number(had?.n ?? 0n));
  }
  return missing;
}

const EFFECTS = `
SELECT event_id AS id, connection_id AS "connectionId", sequence, redrive FROM crash.effect WHERE replay_id = $1
ORDER BY number`;

/** Each event that a replay brings has one effect more, in order within its connection but for what died on the way. */
export async function countReplayed(world: World, problems: string[]) {
  const found = { lost: 0, duplicates: 0, reordered: 0, effects: 0 };
  for (const replay of world.again?.replays ?? []) {
    const expected = new Set((await eventsOf(world, replay)).map(({ id }) => id));
    const had = new Set<string>();
    const last = new Map<string, bigint>();
    for (const row of await world.ask<LedgerRow & { readonly redrive: number }>(EFFECTS, [replay.id])) {
      const before = last.get(row.connectionId) ?? 0n;
      found.effects++;
      if (had.has(row.id)) found.duplicates++;
      else if (row.redrive === 0 && row.sequence < before) found.reordered++;
      had.add(row.id);
      if (row.redrive === 0 && row.sequence > before) last.set(row.connectionId, row.sequence);
    }
    found.lost += expected.difference(had).size;
    const more = had.difference(expected).size;
    if (more > 0) problems.push(`a replay brought ${more} events that it was not asked for`);
  }
  return found;
}
