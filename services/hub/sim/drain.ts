import { call, link, livingConnections, perform } from "./people.ts";
import { settled } from "./play.ts";
import { ORGANIZATIONS, type World } from "./world.ts";

/** Rounds of "nothing waits any more" after which what has not come to its end never will. */
const ROUNDS_MAX = 120;
/** Gates that one round may lead through. */
const STEPS_MAX = 4_000;

/**
 * The faults end. Everybody who is down is started, everybody who waits is let through in the order in which they came,
 * people do what the product asks of them (resume, link again, ask again), and time passes, until nothing is left to do.
 * @returns false when that did not happen.
 */
export async function drain(world: World): Promise<boolean> {
  world.tell("the faults end");
  const [begin] = await world.ask<{ at: string }>("SELECT now() AS at");
  for (let round = 0; round < ROUNDS_MAX; round++) {
    await letThrough(world);
    const waiting = await ask(world, begin?.at ?? "");
    await letThrough(world);
    if (waiting === 0) return true;
    world.advance(await untilNext(world));
    await settled(world, 1);
  }
  return false;
}

/** Everybody links an account, and nothing goes wrong. */
export async function settleIn(world: World): Promise<void> {
  for (const member of world.members) {
    await letThrough(world);
    const [hub] = world.hubs();
    if (hub !== undefined) link(world, hub, member);
  }
  await letThrough(world);
}

/** Ends the hubs as an operator would. Subscribers have read everything. */
export async function dismiss(world: World): Promise<void> {
  for (const one of world.subscribers) world.killSubscriber(one, true);
  await letThrough(world, false);
  for (const hub of world.hubs()) call(world, hub, `${hub.process.name} is told to end`, () => hub.stop());
  await letThrough(world, false);
}

async function letThrough(world: World, staffed = true): Promise<void> {
  for (let step = 0; step < STEPS_MAX; step++) {
    for (const { process } of world.seats) process.frozen = false;
    if (staffed) await staff(world);
    const [gate] = world.turns.gates;
    if (gate === undefined) return;
    world.tell(`${gate.process.name}: ${gate.kind}`, gate.what);
    await world.open(gate, gate.kind === "transaction" ? "live" : "pass");
    await settled(world, 1);
  }
  throw new Error("there is always somebody who waits");
}

async function staff(world: World): Promise<void> {
  if (world.seats.length < world.seatsMax) {
    await world.openSeat();
    await world.turns.settle();
  }
  for (const organizationId of ORGANIZATIONS)
    if (world.subscribers.every((one) => one.organizationId !== organizationId)) {
      world.follow(organizationId);
      await world.turns.settle();
    }
}

const STALE = `
SELECT c.id FROM integrations.connection c WHERE c.state <> 'disconnected' AND NOT EXISTS (
  SELECT 1 FROM integrations.run r WHERE r.connection_id = c.id AND r.outcome = 'ok' AND r.started_at > $1)`;

const UNREAD = `
SELECT e.id FROM pipeline.event e WHERE NOT EXISTS (
  SELECT 1 FROM sim.effect f WHERE f.connection_id = e.connection_id AND f.sequence = e.sequence)`;

const OPEN_RECEIPTS = "SELECT id FROM integrations.receipt WHERE next_attempt_at IS NOT NULL";

/** What people do who look at the page. @returns how much is left to wait for. */
async function ask(world: World, since: string): Promise<number> {
  const [hub] = world.hubs();
  if (hub === undefined) return 1;
  let left = 0;
  for (const member of world.members) {
    const { caller } = member;
    for (const { id, state, dueAt } of await livingConnections(world, member)) {
      const what = `${caller.name} looks after ${id.slice(0, 8)}`;
      if (state === "paused") call(world, hub, what, async () => void (await hub.connections.resume(caller, id)));
      else if (state === "expired") link(world, hub, member, id);
      else if (dueAt === null) call(world, hub, what, async () => void (await hub.connections.sync(caller, id)));
      else continue;
      left++;
      await letThrough(world);
    }
    for (const act of member.acts) {
      if (act.answer !== undefined || act.tries > TRIES_MAX) continue;
      act.tries++;
      perform(world, hub, member, act);
      left++;
      await letThrough(world);
    }
  }
  const stale = await world.ask(STALE, [since]);
  const unread = await world.ask(UNREAD);
  const receipts = await world.ask(OPEN_RECEIPTS);
  world.tell(
    `left: ${left} wishes, ${stale.length} readings, ${unread.length} effects, ${receipts.length} revocations`,
  );
  return left + stale.length + unread.length + receipts.length;
}

/** An ended connection answers "conflict", and always will. */
const TRIES_MAX = 3;

const NEXT_DUE = "SELECT min(due_at) AS at FROM integrations.connection WHERE due_at > now()";
const POLL_MS = 1_000;

/** To when the next connection comes due; at least as long as hubs and streams sleep between two looks. */
async function untilNext(world: World): Promise<number> {
  const [next] = await world.ask<{ at: string | null }>(NEXT_DUE);
  const due = next?.at == null ? 0 : Date.parse(next.at) - world.town.nowMs();
  return Math.max(POLL_MS, due);
}
