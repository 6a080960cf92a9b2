import { type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Crew, startCrew } from "./crew.ts";
import type { PointMoment, Stage } from "./faults.ts";
import type { Role } from "./points.ts";
import { drain, type Verdict, verify } from "./verify.ts";
import { openWorld, type World, type WorldOptions } from "./world.ts";

/** A database server and a folder for everything that is tried, and what is open in it. */
export interface House {
  readonly postgres: PrivatePostgres;
  readonly compiled: string;
  readonly opened: (() => Promise<unknown>)[];
  /** Ends every process and removes every folder that was made. Safe to call twice, and at any moment. */
  close(): Promise<void>;
}

/** For the pools of two worlds at a time, and those of the dead. */
const ROOM = { max_connections: "200" };

export async function openHouse(): Promise<House> {
  const opened: (() => Promise<unknown>)[] = [];
  const compiled = mkdtempSync(join(tmpdir(), "tributary-crash-"));
  opened.push(() => Promise.resolve(rmSync(compiled, { recursive: true, force: true })));
  const postgres = await startPrivatePostgres(ROOM);
  opened.push(() => postgres.stop());
  return { postgres, compiled, opened, close: () => closeAll(opened) };
}

/** The newest first. */
async function closeAll(opened: (() => Promise<unknown>)[]): Promise<void> {
  for (let close = opened.pop(); close !== undefined; close = opened.pop()) await close().catch(() => {});
}

export interface Trial {
  readonly world: Partial<Omit<WorldOptions, "postgres" | "opened" | "compiled">>;
  /** The roles of each process. Default: one that commits, one that relays, one that subscribes. */
  readonly crew?: readonly (readonly Role[])[];
  /** Where processes have to end in it, at the least. */
  readonly reaches?: readonly PointMoment[];
  /** Its faults hit the database server, so it has one of its own. */
  readonly alone?: boolean;
  /** Changes a second while the faults happen. */
  readonly load: number;
  readonly faults: (stage: Stage) => Promise<void>;
  /** After the load has ended it may stand still for so long before it counts as stuck. */
  readonly quietMs: number;
}

export interface TrialResult extends Verdict {
  readonly faults: ReadonlyMap<string, number>;
  readonly reached: World["reached"];
  readonly seconds: number;
}

export const WINDOW_MS = 400;

/** One world from its beginning to its end: load, faults, healing, and what was found then. */
export async function runTrial(
  house: House,
  trial: Trial,
  { random, say }: Pick<Stage, "random" | "say">,
): Promise<TrialResult> {
  const started = performance.now();
  const opened: House["opened"] = [];
  const close = (): Promise<void> => closeAll(opened);
  house.opened.push(close);
  try {
    const { compiled } = house;
    const postgres = trial.alone === true ? await startPrivatePostgres(ROOM) : house.postgres;
    if (trial.alone === true) opened.push(() => postgres.stop());
    const world = await openWorld({ windowMs: WINDOW_MS, ...trial.world, postgres, compiled, opened });
    const crew: Crew = await startCrew(world, trial.crew);
    if (!(await crew.ready())) world.failures.push("the processes were not ready in time");
    const faults = new Map<string, number>();
    const endLoad = world.load(trial.load);
    opened.push(() => Promise.resolve(endLoad()));
    await trial.faults({ world, crew, random, faults, say });
    endLoad();
    const drained = await drain(world, trial.quietMs);
    for (const refusal of world.again?.refusals ?? []) world.failures.push(`the hub refuses ${refusal}`);
    for (const name of await crew.dismiss()) world.failures.push(`${name} did not end in time after SIGTERM`);
    const verdict = await verify(world, drained);
    return { ...verdict, faults, reached: world.reached, seconds: (performance.now() - started) / 1_000 };
  } finally {
    await close();
    house.opened.splice(house.opened.indexOf(close), 1);
  }
}
