import { setTimeout as sleep } from "node:timers/promises";
import {
  brokerAway,
  count,
  crashDatabase,
  deleteStream,
  freezeCommit,
  freezeRelay,
  killAtPoints,
  killBroker,
  killBrokerInWindow,
  momentsOf,
  outliveWindow,
  type PointMoment,
  rollBackStore,
  type Stage,
  underLoad,
} from "./faults.ts";
import { type Trial, WINDOW_MS } from "./house.ts";
import type { Role } from "./points.ts";
import { breakWires, BROKER_WAYS, overtakeByWire, refuseAcks, slowWires, stallWires } from "./wire-faults.ts";

/** How often each fault happens. */
export interface Amounts {
  readonly brokerKills: number;
  /** Besides, with a window on the wire. */
  readonly inWindow: number;
  readonly rollBacks: number;
  readonly deletions: number;
  readonly databaseCrashes: number;
  readonly outages: number;
  readonly freezes: number;
  readonly awayMs: number;
  /** Each way broken in each manner, so often. */
  readonly wireRounds: number;
  /** Of fifteen: each way, there, back and both. */
  readonly stalls: number;
  /** Of hubs, subscribers and relays at moments of chance, where events die and are replayed, over either road. */
  readonly chanceKills: number;
  /** Of an embedded hub and its subscriber. */
  readonly embeddedKills: number;
  /** Wires of hubs and their subscribers, each broken in each manner. */
  readonly hubWireRounds: number;
  /** Where a hub that is read over HTTP, and its subscriber, are killed. */
  readonly hubMoments: readonly PointMoment[];
  /** Of the way from a subscriber to its hub. */
  readonly hubStalls: number;
}

/**
 * What the whole is: 200 SIGKILLs of nats-server, and the rest in its proportion. Every point is reached in it, and those
 * of a path over a broker always.
 */
export const ROUNDS = 200;

const HUB_ROLES = ["serve", "subscribe"] as const;
const hubMoments = HUB_ROLES.flatMap((role) => momentsOf(role, "http"));

/** Where less is tried: an event half on its way, settled, dead and to come again, and what a subscriber says of that. */
const HUB_SAMPLE: ReadonlySet<string> = new Set([
  "serve.send/half",
  "serve.settle/before",
  "serve.settle/after",
  "serve.letter/before",
  "serve.redrive/after",
  "serve.replay/before",
  "subscribe.letter/before",
  "subscribe.ack/before",
]);

export const amountsOf = (rounds: number): Amounts => ({
  brokerKills: rounds,
  inWindow: Math.ceil(rounds / 20),
  rollBacks: Math.ceil(rounds / 20),
  deletions: Math.ceil(rounds / 40),
  databaseCrashes: Math.ceil(rounds / 4),
  outages: Math.ceil(rounds / 40),
  freezes: Math.ceil(rounds / 40),
  awayMs: rounds * 50,
  wireRounds: Math.ceil(rounds / 50),
  stalls: Math.ceil((rounds * 15) / 300),
  chanceKills: Math.ceil(rounds / 20),
  embeddedKills: Math.ceil(rounds / 20),
  hubWireRounds: Math.ceil(rounds / 100),
  hubMoments:
    rounds < ROUNDS ? hubMoments.filter(({ point, moment }) => HUB_SAMPLE.has(`${point}/${moment}`)) : hubMoments,
  hubStalls: Math.floor(rounds / 50),
});

const SAMPLE_LOAD = 100;
/** Nothing stands still for so long that goes on by itself. */
const QUIET_MS = 60_000;

/** A process that commits and serves, as a hub in embedded mode does, and a subscriber. */
export const HUB_CREW: readonly (readonly Role[])[] = [["commit", "serve"], ["subscribe"]];
/** Each role in a process of its own, with a hub that looks after dead letters and replays. */
export const BESIDE_CREW: readonly (readonly Role[])[] = [["commit"], ["relay"], ["subscribe"], ["serve"]];

const times = async (many: number, work: () => Promise<void>): Promise<void> => {
  for (let each = 0; each < many; each++) await work();
};

/** Each in a world of its own: what follows a fault is then that fault's. */
export function trialsOf(amounts: Amounts): Readonly<Record<string, Trial>> {
  const trial = (faults: Trial["faults"], load = SAMPLE_LOAD, more: Partial<Trial> = {}): Trial => ({
    world: {},
    load,
    faults,
    quietMs: QUIET_MS,
    ...more,
  });
  return {
    // The longest first: two are tried at a time.
    "nats-server killed": trial(async (stage) => {
      await killBroker(stage, amounts.brokerKills);
      await killBrokerInWindow(stage, amounts.inWindow);
      await brokerAway(stage, amounts.awayMs);
    }),
    "wires cut, torn, stalled and slow": trial(
      async (stage) => {
        await breakWires(stage, BROKER_WAYS, amounts.wireRounds);
        await stallWires(stage, BROKER_WAYS, amounts.stalls);
        await overtakeByWire(stage, amounts.freezes);
        await slowWires(stage, BROKER_WAYS);
      },
      SAMPLE_LOAD,
      { world: { wired: true } },
    ),
    "processes killed at every point": trial(
      async (stage) => {
        await Promise.all(PATH_ROLES.map((role) => killAtPoints(stage, role, pathMoments(role))));
      },
      SAMPLE_LOAD / 2,
      { reaches: PATH_ROLES.flatMap(pathMoments) },
    ),
    "over HTTP, with dead letters and replays": trial((stage) => overHttp(stage, amounts), SAMPLE_LOAD / 2, {
      world: { road: "http", mortal: true },
      crew: HUB_CREW,
      reaches: amounts.hubMoments,
    }),
    "dead letters and replays beside a broker": trial((stage) => besideBroker(stage, amounts), SAMPLE_LOAD / 2, {
      world: { wired: true, mortal: true },
      crew: BESIDE_CREW,
      reaches: [...LETTER_MOMENTS, ...BESIDE_MOMENTS],
    }),
    "processes frozen and overtaken, a relay away past the window of message ids": trial(async (stage) => {
      await outliveWindow(stage, amounts.outages, WINDOW_MS);
      await times(amounts.freezes, () => freezeRelay(stage, stage.random() < 0.5 ? "half" : "before", WINDOW_MS));
      await times(amounts.freezes, () => freezeCommit(stage));
    }),
    "its store rolled back, its stream deleted": trial(async (stage) => {
      await rollBackStore(stage, amounts.rollBacks, WINDOW_MS);
      await deleteStream(stage, amounts.deletions, WINDOW_MS);
    }),
    // Intake goes on while the others find their way back: less of it leaves less to drain.
    "PostgreSQL shut down at once": trial((stage) => crashDatabase(stage, amounts.databaseCrashes), SAMPLE_LOAD / 4, {
      alone: true,
    }),
    "over HTTP from an embedded hub": trial(
      async (stage) => {
        const rest = stage.world.again?.keepOn();
        await killAtChance(stage, ["serve", "subscribe"], amounts.embeddedKills);
        await breakWires(stage, [["subscribe", "hub"]], amounts.hubWireRounds);
        await rest?.();
      },
      SAMPLE_LOAD / 4,
      { world: { road: "http", engine: "pglite", mortal: true }, crew: HUB_CREW },
    ),
  };
}

const PATH_ROLES = ["commit", "relay", "subscribe"] as const;
const pathMoments = (role: Role): readonly PointMoment[] => momentsOf(role, "nats", ["subscribe.letter"]);

const LETTER_MOMENTS = momentsOf("subscribe", "nats").filter(({ point }) => point === "subscribe.letter");
/** What both roads have is killed over HTTP. */
const BESIDE_MOMENTS = momentsOf("serve", "nats", ["serve.redrive", "serve.replay"]);

async function overHttp(stage: Stage, amounts: Amounts): Promise<void> {
  const rest = stage.world.again?.keepOn();
  const of = (role: Role): readonly PointMoment[] =>
    amounts.hubMoments.filter(({ point }) => point.startsWith(`${role}.`));
  await Promise.all(HUB_ROLES.map((role) => killAtPoints(stage, role, of(role))));
  await killAtChance(stage, HUB_ROLES, amounts.chanceKills);
  await breakWires(stage, [["subscribe", "hub"]], amounts.hubWireRounds);
  await stallWires(stage, [["subscribe", "hub"]], amounts.hubStalls);
  await refuseAcks(stage, REFUSED_MS);
  await rest?.();
}

/** Longer than six attempts take. */
const REFUSED_MS = 3_000;

async function besideBroker(stage: Stage, amounts: Amounts): Promise<void> {
  const rest = stage.world.again?.keepOn();
  await Promise.all([killAtPoints(stage, "serve", BESIDE_MOMENTS), killAtPoints(stage, "subscribe", LETTER_MOMENTS)]);
  await killAtChance(stage, ["serve", "subscribe", "relay"], amounts.chanceKills);
  const ways = [["serve", "broker"] as const, ["serve", "database"] as const];
  await breakWires(stage, ways, amounts.hubWireRounds);
  await rest?.();
}

/** SIGKILL at moments that the clock chooses. */
export async function killAtChance(stage: Stage, roles: readonly Role[], many: number): Promise<void> {
  const { crew } = stage;
  for (let each = 0; each < many; each++) {
    await underLoad(stage);
    const role = roles[each % roles.length] ?? "serve";
    await sleep(stage.random() * 300);
    await crew.of(role).kill();
    count(stage, `${role} killed at a moment of chance`);
    await crew.replace(role);
  }
  await underLoad(stage);
}
