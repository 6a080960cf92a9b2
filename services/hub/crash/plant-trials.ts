import { setTimeout as sleep } from "node:timers/promises";
import {
  count,
  dieAt,
  freezeCommit,
  freezeRelay,
  killAtPoints,
  killBroker,
  killBrokerInWindow,
  type PointMoment,
  REACH_MS_MAX,
  RECOVERY_MS_MAX,
  rollBackStore,
  type Stage,
  underLoad,
} from "./faults.ts";
import { type Trial, WINDOW_MS } from "./house.ts";
import { BESIDE_CREW, HUB_CREW } from "./trials.ts";
import { refuseAcks } from "./wire-faults.ts";
import type { PlantTrial } from "./plants.ts";
import type { Moment } from "./points.ts";

/** The change of the account "poisoned" that is too large for the broker. */
const POISON = 20;

const LOAD = 60;
/** A broken connection is noticed, looked after and trusted again within a few seconds, on a busy machine too. */
const QUIET_MS = 12_000;
/** With a bug in it much never comes to this. */
const MOVED_MS_MAX = 30_000;

const trial = (
  faults: Trial["faults"],
  world: Trial["world"] = {},
  load = LOAD,
  more: Pick<Trial, "crew"> = {},
): Trial => ({ world, load, faults, quietMs: QUIET_MS, ...more });

const HTTP_WORLD: Trial["world"] = { road: "http", mortal: true };

const points = (...names: readonly `${string}/${Moment}`[]): PointMoment[] =>
  names.map((name) => {
    const [point = "", moment] = name.split("/");
    return { point, moment: moment as Moment };
  });

const everyAccount = ({ world }: Stage, changes: number): void => {
  for (const account of world.connections.keys()) world.provider.add(account, changes);
};

/** Short ones, each with the faults that its bugs cannot bear. The code as it is bears all of them. */
export const PLANT_TRIALS: Readonly<Record<PlantTrial, Trial>> = {
  load: trial(async (stage) => {
    everyAccount(stage, 100);
    await stage.crew.moved(1_500, MOVED_MS_MAX);
  }),
  silence: trial(
    async (stage) => {
      for (let each = 0; each < 4; each++) {
        everyAccount(stage, 10);
        await sleep(1_200);
      }
    },
    { silent: true },
  ),
  poison: trial(
    async (stage) => {
      everyAccount(stage, POISON * 3);
      await stage.crew.moved(1_500, MOVED_MS_MAX);
    },
    { poison: POISON },
  ),
  "relay dies": trial(async (stage) => {
    for (const { point, moment } of points("relay.publish/before", "relay.ack/before", "relay.record/before")) {
      await underLoad(stage);
      if (!(await dieAt(stage, "relay", { point, moment, turn: 1, act: "kill" }))) return;
      count(stage, "relay killed");
      await sleep(WINDOW_MS * 2);
      await stage.crew.replace("relay");
    }
    await underLoad(stage);
  }),
  // Before the first event of a window, which names none before it: the rest is fenced by ids besides.
  "relay frozen": trial((stage) => freezeRelay(stage, "before", WINDOW_MS)),
  "two relays": trial(twoRelays),
  "late record": trial(lateRecord, {}, 0),
  "hub beside another": trial(hubBesideAnother),
  "broker dies": trial(async (stage) => {
    await killBroker(stage, 3);
    await killBrokerInWindow(stage, 3);
  }),
  "roll-back": trial((stage) => rollBackStore(stage, 1, WINDOW_MS)),
  "commit dies": trial((stage) =>
    killAtPoints(
      stage,
      "commit",
      points("commit.state/before", "commit.append/before", "commit.append/after", "commit.commit/before"),
    ),
  ),
  "commit frozen": trial(freezeCommit),
  "subscriber dies": trial(async (stage) => {
    everyAccount(stage, 200);
    await killAtPoints(
      stage,
      "subscribe",
      points("subscribe.effect/before", "subscribe.inbox/before", "subscribe.commit/after", "subscribe.ack/before"),
    );
  }),
  intruder: trial(intruder),
  "two writers": trial(twoWriters, { written: true, accounts: ["a1", "a2", "a3"] }, 0, {
    crew: [["append"], ["relay"], ["subscribe"]],
  }),
  "subscriber's wire": trial(breakDelivery, { wired: true }),
  "acks refused": trial((stage) => refuseAcks(stage, 4_000), HTTP_WORLD, LOAD, { crew: HUB_CREW }),
  "hub and subscriber die": trial(
    again(async (stage) => {
      await killAtPoints(stage, "serve", points("serve.settle/after"));
      await letterDies(stage);
      await bothDie(stage);
    }),
    HTTP_WORLD,
    LOAD,
    { crew: HUB_CREW },
  ),
  "letters beside a broker": trial(
    again(async (stage) => {
      await killAtPoints(stage, "subscribe", points("subscribe.letter/before", "subscribe.letter/before"));
      await killAtPoints(stage, "serve", points("serve.again/before", "serve.letter/after", "serve.again/before"));
      await sleep(3_000);
    }),
    { mortal: true },
    LOAD,
    { crew: BESIDE_CREW },
  ),
};

/** A message of another publisher comes right before a window of several events of one connection. */
async function intruder(stage: Stage): Promise<void> {
  const { world, crew } = stage;
  for (let each = 1; each <= 4; each++) {
    await underLoad(stage);
    const relay = crew.of("relay");
    relay.arm({ point: "relay.publish", moment: "before", turn: 1, act: "stop" });
    everyAccount(stage, 20);
    if (!(await relay.untilFrozen(REACH_MS_MAX)))
      return void world.failures.push("relay.publish/before was not reached");
    await world.stream.intrude(each);
    relay.thaw();
    count(stage, "another publisher's message before a window");
    await sleep(500);
  }
  await underLoad(stage);
}

/** Two processes append to the same connections, and only the ledger orders them. */
async function twoWriters(stage: Stage): Promise<void> {
  const { world, crew } = stage;
  const writers = [crew.of("append"), world.start("append beside", ["append"])];
  await crew.moved(1_500, MOVED_MS_MAX);
  for (const writer of writers) {
    await writer.stop();
    const { refused } = writer.status;
    if (refused > 0) world.problems.push(`the database refused ${refused} transactions of a writer`);
  }
}

/** The hub dies with what it has settled, and with it the subscriber and what that has in its hands. */
async function bothDie(stage: Stage): Promise<void> {
  const { crew } = stage;
  for (let each = 0; each < 3; each++) {
    await underLoad(stage);
    everyAccount(stage, 40);
    const subscriber = crew.of("subscribe");
    subscriber.arm({ point: "subscribe.effect", moment: "before", turn: 40, act: "kill" });
    await Promise.race([subscriber.ended, sleep(MOVED_MS_MAX)]);
    await Promise.all([crew.of("serve").kill(), subscriber.kill()]);
    count(stage, "hub and subscriber killed");
    await crew.replace("serve");
    await crew.replace("subscribe");
  }
  await underLoad(stage);
}

/** A hub that dies with a dead letter in its hands, and the subscriber that would have told it again. */
async function letterDies(stage: Stage): Promise<void> {
  const { crew } = stage;
  for (let each = 0; each < 4; each++) {
    await underLoad(stage);
    const hub = crew.of("serve");
    hub.arm({ point: "serve.letter", moment: "before", turn: 1, act: "kill" });
    everyAccount(stage, 40);
    await Promise.race([hub.ended, sleep(MOVED_MS_MAX)]);
    await Promise.all([hub.kill(), crew.of("subscribe").kill()]);
    count(stage, "hub and subscriber killed");
    await crew.replace("serve");
    await crew.replace("subscribe");
  }
}

/** What the broker sends is on its way when the connection breaks. */
async function breakDelivery(stage: Stage): Promise<void> {
  const wire = stage.world.wires.between("subscribe", "broker");
  for (let each = 0; each < 5; each++) {
    await underLoad(stage);
    everyAccount(stage, 20);
    const release = wire.stall(["back"]);
    await underLoad(stage, 60);
    release("lost");
    count(stage, "wire stalled, what was said is lost");
    await sleep(700);
  }
  await underLoad(stage);
}

/** While somebody redrives and replays. */
function again(faults: Trial["faults"]): Trial["faults"] {
  return async (stage) => {
    const rest = stage.world.again?.keepOn();
    await faults(stage);
    await rest?.();
  };
}

/** Nobody dies, so the lead stays where it is. */
async function twoRelays(stage: Stage): Promise<void> {
  const { world } = stage;
  await underLoad(stage);
  const other = world.start("relay", ["relay"]);
  for (let waited = 0; waited < RECOVERY_MS_MAX && !other.status.ready; waited += 50) await sleep(50);
  const token = async (): Promise<bigint | undefined> =>
    (await world.ask<{ token: bigint }>("SELECT token FROM pipeline.relay_leader"))[0]?.token;
  const before = await token();
  await sleep(4_000);
  if ((await token()) !== before) world.problems.push("the lead changed hands although nobody died");
  await underLoad(stage);
}

/**
 * A leader that froze between the broker's answer and its record wakes up when the stream has lost what was answered
 * and another process leads: its record must not count.
 */
export async function lateRecord(stage: Stage): Promise<void> {
  const { world, crew } = stage;
  const { nats, provider } = world;
  everyAccount(stage, 20);
  await crew.moved(300, MOVED_MS_MAX);
  await sleep(1_500);
  await nats.kill();
  nats.saveStore();
  await nats.restart();
  const late = crew.of("relay");
  const next = world.start("relay", ["relay"], { point: "relay.look", moment: "before", turn: 1, act: "stop" });
  for (let waited = 0; waited < RECOVERY_MS_MAX && next.status.relay !== "standby"; waited += 50) await sleep(50);
  late.arm({ point: "relay.ack", moment: "after", turn: 1, act: "stop" });
  provider.add("a1", 30);
  if (!(await late.untilFrozen(REACH_MS_MAX))) return void world.failures.push("relay.ack/after was not reached");
  await nats.kill();
  nats.restoreStore();
  await nats.restart();
  await world.age(["relay"]);
  if (!(await next.untilFrozen(REACH_MS_MAX))) return void world.failures.push("relay.look/before was not reached");
  late.thaw();
  await sleep(1_500);
  await late.kill();
  next.thaw();
  crew.adopt("relay", next);
  count(stage, "relay frozen between answer and record");
  await sleep(500);
  everyAccount(stage, 40);
  await crew.moved(300, MOVED_MS_MAX);
}

/** A hub commits and publishes in one process, from memory, while another process commits to the same connections. */
export async function hubBesideAnother(stage: Stage): Promise<void> {
  const { world, crew } = stage;
  await underLoad(stage);
  const hub = world.start("hub", ["commit", "relay"]);
  for (let waited = 0; waited < RECOVERY_MS_MAX && !hub.status.ready; waited += 50) await sleep(50);
  await crew.of("relay").kill();
  crew.adopt("relay", hub);
  count(stage, "relay killed");
  await world.age(["relay"]);
  for (let each = 0; each < 10; each++) {
    everyAccount(stage, 5);
    await sleep(400);
  }
  await underLoad(stage);
}
