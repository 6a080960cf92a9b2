import { hash } from "node:crypto";
import { check, effectsOf, eventsOf } from "./checks.ts";
import { dismiss, drain, settleIn } from "./drain.ts";
import { playTurn } from "./play.ts";
import type { SimDatabase } from "./sim-database.ts";
import { type Counts, openWorld, type StoryLine } from "./world.ts";

export interface SeedResult {
  readonly seed: number;
  /** Empty when everything is right. */
  readonly problems: readonly string[];
  /** How it went, if something is not. */
  readonly story: readonly string[];
  /** Of the story, the events and the effects: the same whenever the seed is run. */
  readonly digest: string;
  readonly counts: Counts;
}

const TURNS_MIN = 140;
const TURNS_MORE = 160;
const STORY_LINES = 600;

const lineOf = ({ atMs, what, detail }: StoryLine): string =>
  `${String(atMs).padStart(9)} ms  ${what}${detail() === "" ? "" : ` (${detail()})`}`;

/** One seed, from an empty database to the verdict. */
export async function runSeed(simDatabase: SimDatabase, seed: number): Promise<SeedResult> {
  const world = await openWorld(simDatabase, seed);
  const problems: string[] = [];
  let rows: readonly unknown[] = [];
  try {
    // Most seeds begin when everybody has linked an account already: most of what can go wrong comes later.
    if (world.dice.chance(0.8)) await settleIn(world);
    const turns = TURNS_MIN + world.dice.below(TURNS_MORE);
    for (let turn = 0; turn < turns; turn++) await playTurn(world);
    const drained = await drain(world);
    if (!drained) problems.push("it did not come to rest after the faults had ended");
    await dismiss(world);
    problems.push(...world.problems, ...(await check(world)));
    rows = [await eventsOf(world), await effectsOf(world)];
  } catch (error) {
    problems.push(...world.problems, `the simulation failed: ${error instanceof Error ? error.stack : String(error)}`);
  } finally {
    await world.close();
  }
  const told = world.story.map(({ atMs, what }) => `${atMs} ${what}`);
  const text = JSON.stringify([told, rows], (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
  // Whoever reads it wants to know how it ended, and what each step was.
  const story = problems.length === 0 ? [] : world.story.slice(-STORY_LINES).map(lineOf);
  return { seed, problems, story, digest: hash("sha256", text, "hex").slice(0, 16), counts: world.counts };
}
