import { setTimeout as sleep } from "node:timers/promises";
import type { Role } from "./points.ts";
import type { Arm } from "./watch.ts";
import type { WorkerProcess } from "./worker-process.ts";
import type { World } from "./world.ts";

/** The processes that keep the path going, each with roles of its own: whoever ends is replaced. */
export interface Crew {
  of(role: Role): WorkerProcess;
  /** Puts another process in the place of one that has ended, and lets time pass for what the dead one held. */
  replace(role: Role, arm?: Arm): Promise<WorkerProcess>;
  /** Starts a process for the place of one that is about to end; it begins when it takes that place. */
  prepare(role: Role, arm: Arm): WorkerProcess;
  /** Lets a prepared process take its place, and time pass as in {@link Crew.replace}. */
  enter(role: Role, prepared: WorkerProcess): Promise<WorkerProcess>;
  /** Takes a process that was started beside the crew into it. */
  adopt(role: Role, worker: WorkerProcess): void;
  /** Events published and handled so far, by processes that are gone as well. */
  progress(): number;
  /** Waits until so many more were published; without a relay, handled. @returns false when that took too long. */
  published(more: number, ms: number): Promise<boolean>;
  /** Waits until so many more were published and handled. @returns false when that took too long. */
  moved(more: number, ms: number): Promise<boolean>;
  ready(ms?: number): Promise<boolean>;
  /** Ends everybody as an operator would. @returns who did not end, and what they were doing. */
  dismiss(): Promise<readonly string[]>;
}

const LOOK_MS = 25;
const READY_MS_MAX = 120_000;
/** Two processes that both say so for ten seconds, which is longer than it takes to notice, have led at the same time. */
const TWO_LEADERS_LOOKS = 400;

/** One process for each. */
const CREW: readonly (readonly Role[])[] = [["commit"], ["relay"], ["subscribe"]];

/** @param teams the roles of each process. */
export async function startCrew(world: World, teams: readonly (readonly Role[])[] = CREW): Promise<Crew> {
  const crew = new Map<readonly Role[], WorkerProcess>();
  const relays = teams.flat().includes("relay");
  let gone = 0;
  let gonePublished = 0;
  let over = false;
  const teamOf = (role: Role): readonly Role[] => {
    const team = teams.find((roles) => roles.includes(role));
    if (team === undefined) throw new Error(`nobody is the crew's ${role}`);
    return team;
  };
  const publishedBy = ({ status }: WorkerProcess): number => (relays ? status.published : status.handled);
  const start = (team: readonly Role[], arm?: Arm): WorkerProcess => {
    return seat(team, world.start(team.at(-1) ?? "", team, arm));
  };
  function seat(team: readonly Role[], worker: WorkerProcess): WorkerProcess {
    crew.set(team, worker);
    void worker.ended.then(async ({ unexpected }) => {
      gone += worker.status.published + worker.status.handled;
      gonePublished += publishedBy(worker);
      // A supervisor starts what failed again; that it failed is known.
      if (unexpected && !over && crew.get(team) === worker) await begin(team);
    });
    return worker;
  }
  async function begin(team: readonly Role[], arm?: Arm): Promise<WorkerProcess> {
    await world.age(team);
    return start(team, arm);
  }
  for (const team of teams) start(team);
  const watch = watchLeaders(world);
  const of = (role: Role): WorkerProcess => {
    const worker = crew.get(teamOf(role));
    if (worker === undefined) throw new Error(`nobody is the crew's ${role}`);
    return worker;
  };
  const progress = (): number =>
    world.workers().reduce((sum, { status }) => sum + status.published + status.handled, gone);
  const until = async (condition: () => boolean, ms: number): Promise<boolean> => {
    for (let waited = 0; waited < ms; waited += LOOK_MS) {
      if (condition()) return true;
      await sleep(LOOK_MS);
    }
    return condition();
  };
  return {
    of,
    replace: (role, arm) => begin(teamOf(role), arm),
    prepare: (role, arm) => world.start(teamOf(role).at(-1) ?? "", teamOf(role), arm, true),
    enter: async (role, prepared) => {
      await world.age(teamOf(role));
      prepared.go();
      return seat(teamOf(role), prepared);
    },
    adopt: (role, worker) => void crew.set(teamOf(role), worker),
    progress,
    published: (more, ms) => {
      const sum = (): number => world.workers().reduce((all, worker) => all + publishedBy(worker), gonePublished);
      const enough = sum() + more;
      return until(() => sum() >= enough, ms);
    },
    moved: (more, ms) => {
      const enough = progress() + more;
      return until(() => progress() >= enough, ms);
    },
    ready: (ms = READY_MS_MAX) => until(() => [...crew.values()].every(({ status }) => status.ready), ms),
    dismiss: async () => {
      over = true;
      clearInterval(watch);
      const workers = world.workers();
      const ended = await Promise.all(workers.map((worker) => worker.stop()));
      return workers.flatMap(({ name }, index) => (ended[index] === undefined ? [] : [`${name} (${ended[index]})`]));
    },
  };
}

/** One publisher a stream: two may believe it for a moment, not for longer. */
function watchLeaders(world: World): NodeJS.Timeout {
  let together = 0;
  return setInterval(() => {
    const leaders = world.workers().filter(({ status, frozen }) => status.relay === "leading" && !frozen);
    together = leaders.length > 1 ? together + 1 : 0;
    if (together === TWO_LEADERS_LOOKS) world.problems.push("two processes led the stream at the same time");
  }, LOOK_MS);
}
