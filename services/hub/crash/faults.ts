import { setTimeout as sleep } from "node:timers/promises";
import type { Crew } from "./crew.ts";
import { type Moment, POINTS, type Road, type Role } from "./points.ts";
import type { Arm } from "./watch.ts";
import type { World } from "./world.ts";

/** Where faults happen, and what happened so far. */
export interface Stage {
  readonly world: World;
  readonly crew: Crew;
  /** In [0, 1), from the seed. */
  readonly random: () => number;
  /** How often each kind of fault happened. */
  readonly faults: Map<string, number>;
  say(line: string): void;
}

export const count = ({ faults }: Pick<Stage, "faults">, fault: string, times = 1): void =>
  void faults.set(fault, (faults.get(fault) ?? 0) + times);

/** Longer than a slow and busy machine takes: what never recovers is found all the same. */
export const RECOVERY_MS_MAX = 60_000;

/** Under load: something must have been published since the last fault, and a moment of chance goes by. */
export async function underLoad(stage: Stage, more = 10): Promise<void> {
  if (!(await stage.crew.published(more, RECOVERY_MS_MAX)))
    stage.world.problems.push(`${more} events were not published within ${RECOVERY_MS_MAX / 1_000} s of a fault`);
  await sleep(stage.random() * 150);
}

/** SIGKILL of nats-server in the middle of windows; sometimes it stays away for a while. */
export async function killBroker(stage: Stage, times: number): Promise<void> {
  const { nats } = stage.world;
  for (let each = 0; each < times; each++) {
    await underLoad(stage);
    await nats.kill();
    count(stage, "nats-server killed");
    if (stage.random() < 0.2) await sleep(stage.random() * 500);
    await nats.restart();
  }
  await underLoad(stage);
}

/** SIGKILL of nats-server when half of a window is on the wire, so that nobody will answer for it. */
export async function killBrokerInWindow(stage: Stage, times: number): Promise<void> {
  const { crew, world } = stage;
  for (let each = 0; each < times; each++) {
    await underLoad(stage);
    const relay = crew.of("relay");
    relay.arm({ point: "relay.publish", moment: "half", turn: 1, act: "stop" });
    if (!(await relay.untilFrozen(REACH_MS_MAX))) return void world.failures.push("relay.publish/half was not reached");
    await world.nats.kill();
    count(stage, "nats-server killed in a window");
    relay.thaw();
    await sleep(stage.random() * 300);
    await world.nats.restart();
  }
  await underLoad(stage);
}

/** SIGQUIT of PostgreSQL, which drops every connection and every transaction where it stands. */
export async function crashDatabase(stage: Stage, times: number): Promise<void> {
  const { postgres } = stage.world;
  for (let each = 0; each < times; each++) {
    await underLoad(stage);
    await postgres.crash();
    count(stage, "PostgreSQL shut down at once");
    await postgres.restart();
    // Runs that could not be settled hold their leases for a minute; let it pass.
    await stage.world.age(["commit"]);
  }
  await underLoad(stage);
}

/** The store as it was seconds ago, as a power cut that lost writes leaves it. */
export async function rollBackStore(stage: Stage, times: number, windowMs: number): Promise<void> {
  const { nats, stream } = stage.world;
  for (let each = 0; each < times; each++) {
    await underLoad(stage);
    await nats.kill();
    nats.saveStore();
    await nats.restart();
    await underLoad(stage, 200);
    await sleep(500 + stage.random() * 1_000);
    await nats.kill();
    nats.restoreStore();
    await nats.restart();
    count(stage, "store rolled back");
    await stream.shortWindow(windowMs);
  }
  await underLoad(stage);
}

/** The stream is gone with everything in it. */
export async function deleteStream(stage: Stage, times: number, windowMs: number): Promise<void> {
  const { stream } = stage.world;
  for (let each = 0; each < times; each++) {
    await underLoad(stage, 50);
    await stream.remove();
    count(stage, "stream deleted");
    await underLoad(stage, 50);
    await stream.shortWindow(windowMs);
  }
}

/** The broker is away, and events are taken in meanwhile. */
export async function brokerAway(stage: Stage, ms: number): Promise<void> {
  await underLoad(stage);
  await stage.world.nats.kill();
  await sleep(ms);
  await stage.world.nats.restart();
  count(stage, "broker away for a while");
  await underLoad(stage, 100);
}

/** Dies with a window that is published and not recorded, and comes back when the broker has forgotten its ids. */
export async function outliveWindow(stage: Stage, times: number, windowMs: number): Promise<void> {
  const { crew } = stage;
  for (let each = 0; each < times; each++) {
    await underLoad(stage);
    if (!(await dieAt(stage, "relay", { point: "relay.ack", moment: "before", turn: 2, act: "kill" }))) return;
    await sleep(windowMs * 3);
    await crew.replace("relay");
    count(stage, "relay away past the window");
  }
  await underLoad(stage);
}

/** @returns false, and says so, when the process did not come to the point. */
export async function dieAt({ world, crew }: Stage, role: Role, arm: Arm): Promise<boolean> {
  const worker = crew.of(role);
  worker.arm(arm);
  const died = await Promise.race([worker.ended.then(() => true), sleep(REACH_MS_MAX).then(() => false)]);
  if (!died) world.failures.push(`${arm.point}/${arm.moment} was not reached within ${REACH_MS_MAX / 1_000} s`);
  return died;
}

/** While others die before they publish anything, there may be nothing to come to a point with. */
export const REACH_MS_MAX = 120_000;

export interface PointMoment {
  readonly point: string;
  readonly moment: Moment;
}

/** All moments of a role, but for points of the other road and those that the crew does not come to. */
export const momentsOf = (role: Role, road: Road, but: readonly string[] = []): readonly PointMoment[] =>
  POINTS.filter((point) => point.role === role && (point.road ?? road) === road && !but.includes(point.name)).flatMap(
    ({ name, moments }) => moments.map((moment) => ({ point: name, moment })),
  );

/** When a process begins to lead, or to serve a subscriber; everything else comes again and again. */
const ONCE = new Set(["relay.reconcile", "serve.acquire"]);

/**
 * Each moment once, in an order of chance: a process that is armed from its start, its death, and the next one in its
 * place. That is started while the one before it still lives, and does nothing until then.
 */
export async function killAtPoints(stage: Stage, role: Role, moments: readonly PointMoment[]): Promise<void> {
  const { crew, world } = stage;
  const arms = shuffled(moments, stage.random).map(({ point, moment }): Arm => {
    const turn = ONCE.has(point) ? 1 : 1 + Math.floor(stage.random() * 2);
    return { point, moment, turn, act: "kill" };
  });
  let next = arms[0] === undefined ? undefined : crew.prepare(role, arms[0]);
  await crew.of(role).kill();
  for (const [index, { point, moment }] of arms.entries()) {
    if (next === undefined) return;
    const worker = await crew.enter(role, next);
    const following = arms[index + 1];
    next = following === undefined ? undefined : crew.prepare(role, following);
    const ended = await Promise.race([worker.ended, sleep(REACH_MS_MAX).then(() => undefined)]);
    if (ended?.at === `${point}/${moment}`) count(stage, `${role} killed at a point`);
    else {
      world.failures.push(`${point}/${moment} was not reached within ${REACH_MS_MAX / 1_000} s`);
      if (ended === undefined) await worker.kill();
    }
  }
  await crew.replace(role);
}

function shuffled<T>(all: readonly T[], random: () => number): T[] {
  const left = [...all];
  return all.flatMap(() => left.splice(Math.floor(random() * left.length), 1));
}

/** Freezes in the middle of a window, loses the lead, and goes on when another has led for a while. */
export async function freezeRelay(stage: Stage, moment: Moment, windowMs: number): Promise<void> {
  const { crew, world } = stage;
  await underLoad(stage);
  const frozen = crew.of("relay");
  const other = world.start("relay", ["relay"]);
  frozen.arm({ point: "relay.publish", moment, turn: 2, act: "stop" });
  if (!(await frozen.untilFrozen(REACH_MS_MAX))) {
    world.failures.push(`relay.publish/${moment} was not reached`);
    return void (await other.kill());
  }
  await world.age(["relay"]);
  for (let waited = 0; waited < RECOVERY_MS_MAX && other.status.published === 0; waited += 50) await sleep(50);
  await sleep(windowMs * 2);
  frozen.thaw();
  count(stage, "relay frozen in a window");
  await underLoad(stage);
  await sleep(1_500);
  await frozen.kill();
  crew.adopt("relay", other);
}

/** Freezes with a page in its hands, loses the lease, and commits when another has gone on. */
export async function freezeCommit(stage: Stage): Promise<void> {
  const { crew, world } = stage;
  await underLoad(stage);
  const frozen = crew.of("commit");
  // So that there is a page to hold, and later something newer than what it holds.
  for (const account of world.connections.keys()) world.provider.add(account, 30);
  frozen.arm({ point: "commit.guard", moment: "before", turn: 3, act: "stop" });
  if (!(await frozen.untilFrozen(REACH_MS_MAX))) return void world.failures.push("commit.guard was not reached");
  const other = await crew.replace("commit");
  for (const account of world.connections.keys()) world.provider.add(account, 150);
  await underLoad(stage, 500);
  await sleep(500);
  frozen.thaw();
  count(stage, "commit frozen with a page");
  await sleep(1_500);
  await frozen.kill();
  crew.adopt("commit", other);
  await world.age(["commit"]);
}
