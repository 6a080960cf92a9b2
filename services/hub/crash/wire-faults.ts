import { setTimeout as sleep } from "node:timers/promises";
import { count, RECOVERY_MS_MAX, type Stage, underLoad } from "./faults.ts";
import type { Direction, HeldEnd, Wire } from "./wire.ts";
import type { Server } from "./wires.ts";

/** From whom to which server. */
export type Way = readonly [process: string, server: Server];

/** Those of a path over a broker. */
export const BROKER_WAYS: readonly Way[] = [
  ["relay", "broker"],
  ["subscribe", "broker"],
  ["commit", "database"],
  ["relay", "database"],
  ["subscribe", "database"],
];

const STRANDED_MS = 150;
const TEAR_MS_MAX = 60_000;

/** How connections end, of a sudden. */
const BREAKS: Readonly<Record<string, (stage: Stage, wire: Wire, way: Way) => Promise<void>>> = {
  "wire reset": async (_, wire) => void wire.cut("reset"),
  "wire ended": async (_, wire) => void wire.cut("end"),
  "wire torn within a message there": (stage, wire, way) => torn(stage, wire, way, "there"),
  "wire torn within a message back": (stage, wire, way) => torn(stage, wire, way, "back"),
  "wire reset at one end, what was said arrives late": async (stage, wire) => {
    const reset = wire.strand();
    await sleep(STRANDED_MS);
    const arrive = reset();
    await sleep(stage.random() * 1_000);
    arrive();
  },
};

async function torn({ world }: Stage, wire: Wire, [process, server]: Way, where: Direction): Promise<void> {
  if (!(await wire.tear(where, TEAR_MS_MAX)))
    world.problems.push(
      `nothing went ${where} from ${process} to ${server} for ${TEAR_MS_MAX / 1_000} s after a fault`,
    );
}

/** Ends the connections of each way in each manner, so many times. */
export async function breakWires(stage: Stage, ways: readonly Way[], times: number): Promise<void> {
  for (let each = 0; each < times; each++)
    for (const way of ways)
      for (const [fault, happen] of Object.entries(BREAKS)) {
        await underLoad(stage);
        await happen(stage, stage.world.wires.between(...way), way);
        count(stage, fault);
        await letPass(stage, way);
      }
  await letAllPass(stage);
}

/** A run whose database is gone cannot give its lease back; it is let pass. */
const letPass = async ({ world }: Stage, [process, server]: Way): Promise<void> => {
  if (server === "database" && process !== "relay") await world.age(["commit"]);
};

/** What a lost connection said last may have been granted after {@link letPass}: it is over when others have worked since. */
async function letAllPass(stage: Stage): Promise<void> {
  await underLoad(stage);
  await stage.world.age(["commit"]);
}

/** Longer than who waits at that end has patience. */
const STALL_MS: Readonly<Record<Server, number>> = { broker: 5_500, database: 4_000, hub: 10_500 };

const STALLS: readonly (readonly Direction[])[] = [["there"], ["back"], ["there", "back"]];

/** Holds what goes on a way for longer than anybody waits: then it comes late, or never. So many of all there are. */
export async function stallWires(stage: Stage, ways: readonly Way[], times: number): Promise<void> {
  const all = ways.flatMap((way) => STALLS.map((stalled) => ({ way, stalled, at: stage.random() })));
  const chosen = all.toSorted((one, other) => one.at - other.at).slice(0, times);
  for (const [index, { way, stalled }] of chosen.entries()) {
    await underLoad(stage);
    const end: HeldEnd = index % 2 === 0 ? "late" : "lost";
    const release = stage.world.wires.between(...way).stall(stalled);
    await sleep(STALL_MS[way[1]]);
    release(end);
    count(stage, `wire stalled, what was said ${end === "late" ? "arrives late" : "is lost"}`);
    await letPass(stage, way);
  }
  await letAllPass(stage);
}

/** Everything takes its time for a while. */
export async function slowWires(stage: Stage, ways: readonly Way[]): Promise<void> {
  for (const way of ways) {
    const wire = stage.world.wires.between(...way);
    wire.slow(10 + stage.random() * 40);
    await sleep(500);
    await underLoad(stage);
    wire.slow(0);
    count(stage, "wire slow for a while");
  }
}

/**
 * A relay whose way to the database stalls loses the lead to one beside it, and learns of that when its records arrive
 * late: none of them may count.
 */
export async function overtakeByWire(stage: Stage, times: number): Promise<void> {
  const { world } = stage;
  for (let each = 0; each < times; each++) {
    await underLoad(stage);
    const beside = world.start("relay beside", ["relay"]);
    for (let waited = 0; waited < RECOVERY_MS_MAX && beside.status.relay !== "standby"; waited += 50) await sleep(50);
    const release = world.wires.between("relay", "database").stall(["there"]);
    for (let waited = 0; waited < RECOVERY_MS_MAX && beside.status.published === 0; waited += 50) await sleep(50);
    await sleep(500);
    release("late");
    count(stage, "relay overtaken while its wire stalls");
    await underLoad(stage);
    await beside.kill();
    await world.age(["relay"]);
  }
  await underLoad(stage);
}

/** Acknowledgements do not get through, while the stream of events stands: as a proxy does that has no place left. */
export async function refuseAcks(stage: Stage, ms: number): Promise<void> {
  await underLoad(stage);
  const takeAll = stage.world.wires.between("subscribe", "hub").refuseBut(/EventService\/Subscribe/);
  await sleep(ms);
  takeAll();
  count(stage, "acknowledgements refused while the stream stands");
  await underLoad(stage);
}
