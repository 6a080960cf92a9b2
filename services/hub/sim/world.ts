import { asOwner, type Database, run } from "@tributary/db";
import { createDice, type Dice } from "./dice.ts";
import { type HubParts, type HubProcess, type Seat, startHub, takeSeat } from "./hub-process.ts";
import type { Member } from "./people.ts";
import { membersOf } from "./people.ts";
import { BEGIN_MS, type SimDatabase } from "./sim-database.ts";
import { startSubscriber, type SubscriberProcess } from "./subscriber-process.ts";
import { openTown, type Town } from "./town.ts";
import { createTurns, type Gate, type Turns } from "./turns.ts";
import { passTime, resetTimers } from "./virtual-timers.ts";

export interface StoryLine {
  /** Since the seed began. */
  readonly atMs: number;
  readonly what: string;
  /** Costs something to find out. */
  readonly detail: () => string;
}

export interface Counts {
  turns: number;
  /** Hubs and subscribers that were killed. */
  deaths: number;
  /** Answers of the provider that were none. */
  faults: number;
  /** Connections to the database that broke. */
  losses: number;
  effects: number;
}

/** Everything of one seed. */
export interface World {
  readonly database: Database;
  readonly dice: Dice;
  readonly turns: Turns;
  readonly town: Town;
  readonly members: readonly Member[];
  /** Hubs that live, started or starting. */
  readonly seats: readonly Seat[];
  readonly subscribers: readonly SubscriberProcess[];
  /** Hubs that are to live at a time. */
  readonly seatsMax: number;
  /** Everything that was logged. */
  readonly said: unknown[];
  /** What happened, in order; a seed that fails tells its end. */
  readonly story: StoryLine[];
  /** What must not be, as soon as it is seen. */
  readonly problems: string[];
  readonly counts: Counts;
  tell(what: string, detail?: () => string): void;
  hubs(): HubProcess[];
  openSeat(): Promise<void>;
  killHub(seat: Seat): void;
  /** @param organizationId one that nobody follows at the moment. */
  follow(organizationId: string): void;
  killSubscriber(subscriber: SubscriberProcess, heard: boolean): void;
  /** Lets a gate's owner go on, in the present. */
  open(gate: Gate, fate: string): Promise<void>;
  advance(ms: number): void;
  /** Looks into the database, past every gate. */
  ask<T>(text: string, params?: readonly unknown[]): Promise<T[]>;
  close(): Promise<void>;
}

/** Chores are sixteen transactions: most of a seed would be theirs. */
const CHORES_LATE = 0.7;

export const ORGANIZATIONS = ["org-a", "org-b"] as const;

export async function openWorld(simDatabase: SimDatabase, seed: number): Promise<World> {
  const { database } = simDatabase;
  await simDatabase.empty();
  await simDatabase.setTime(BEGIN_MS);
  resetTimers(BEGIN_MS);
  const dice = createDice(seed);
  const town = await openTown(dice);
  const turns = createTurns();
  // Embedded: one hub, which takes over at once what its predecessor held. Cluster: several, with leases that run out.
  const seatsMax = dice.pick([1, 2, 3]);
  const said: unknown[] = [];
  const hear: HubParts["hear"] = ({ name }, fields, message) => {
    said.push({ name, message, ...fields });
    world.tell(`${name} says: ${message}`, () => JSON.stringify(fields));
  };
  const parts: HubParts = { database, engine: seatsMax === 1 ? "pglite" : "postgres", town, turns, dice, hear };
  let seats: Seat[] = [];
  let subscribers: SubscriberProcess[] = [];
  const fronts: Seat["front"][] = [];
  let [started, followed] = [0, 0];
  const world: World = {
    database,
    dice,
    turns,
    town,
    members: membersOf(town),
    get seats() {
      return seats;
    },
    get subscribers() {
      return subscribers;
    },
    seatsMax,
    said,
    story: [],
    problems: town.problems,
    counts: { turns: 0, deaths: 0, faults: 0, losses: 0, effects: 0 },
    tell: (what, detail = () => "") => void world.story.push({ atMs: town.nowMs() - BEGIN_MS, what, detail }),
    hubs: () => seats.flatMap(({ hub }) => hub ?? []),
    openSeat: async () => {
      const seat = await takeSeat(`hub ${++started}`, parts);
      fronts.push(seat.front);
      seats = [...seats, seat];
      world.tell(`${seat.process.name} starts`);
      turns.start(seat.process, async () => {
        await startHub(seat, parts).then(
          (hub) => void (seat.hub = hub),
          // As a supervisor would: another one is started.
          () => world.killHub(seat),
        );
      });
    },
    killHub: (seat) => {
      if (!seat.process.dead) turns.kill(seat.process);
      seats = seats.filter((one) => one !== seat);
      world.counts.deaths++;
      world.tell(`${seat.process.name} is dead`);
      for (const gate of turns.gates)
        if (gate.process === seat.process && gate.kind === "request" && dice.chance(0.5)) turns.open(gate, "drop");
      for (const one of subscribers) if (one.servedBy === seat.hub) world.killSubscriber(one, false);
    },
    follow: (organizationId) => {
      const servedBy = world.hubs()[0];
      if (servedBy === undefined) return;
      const failed = (one: SubscriberProcess): void => world.killSubscriber(one, true);
      const name = `subscriber ${++followed}`;
      world.tell(`${name} follows ${organizationId} at ${servedBy.process.name}`);
      subscribers = [...subscribers, startSubscriber(name, organizationId, { database, turns, servedBy, failed })];
    },
    killSubscriber: (subscriber, heard) => {
      turns.kill(subscriber.process);
      subscribers = subscribers.filter((one) => one !== subscriber);
      world.counts.deaths++;
      world.tell(`${subscriber.process.name} is dead`);
      if (heard) subscriber.hangUp();
    },
    open: async (gate, fate) => {
      await simDatabase.setTime(town.nowMs());
      turns.open(gate, fate);
    },
    advance: (ms) => {
      town.advance(ms);
      passTime(town.nowMs(), () => dice.chance(CHORES_LATE));
    },
    ask: async (text, params) => {
      await simDatabase.setTime(town.nowMs());
      return asOwner(database, (tx) => run(tx, text, params));
    },
    close: async () => {
      for (const { process } of seats) turns.kill(process);
      for (const { process } of subscribers) turns.kill(process);
      await Promise.all(fronts.map((front) => front.stop()));
      await town.stop();
    },
  };
  return world;
}
