import { availableParallelism } from "node:os";
import { startWorker } from "./crew.ts";
import { SIM_PLANTS } from "./plants.ts";
import type { SeedResult } from "./run-seed.ts";

export interface SimOptions {
  /** How many, from `seed` on. */
  readonly seeds: number;
  readonly seed: number;
  /** Ids of planted bugs to look for, none of them meaning all; undefined: look at the code as it is. */
  readonly planted: readonly string[] | undefined;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

export interface SimOutcome {
  readonly clean: boolean;
  readonly lastLine: Readonly<Record<string, unknown>>;
}

/** What the command does, without the command. @throws RangeError for a plant that is nobody's. */
export const sim = (options: SimOptions): Promise<SimOutcome> =>
  options.planted === undefined ? runSeeds(options) : runPlanted(options, options.planted);

/** A core each; more would wait for each other. */
const WORKERS_MAX = 4;

async function runSeeds({ seeds, seed: first, say, signal }: SimOptions): Promise<SimOutcome> {
  const started = performance.now();
  const results: SeedResult[] = [];
  let next = first;
  const work = async (): Promise<void> => {
    const worker = await startWorker("");
    const stop = (): void => worker.stop();
    signal.addEventListener("abort", stop, { once: true });
    try {
      while (next < first + seeds && !signal.aborted) {
        const result = await worker.run(next++);
        results.push(result);
        if (result.problems.length > 0) for (const line of failure(result, seeds === 1 ? Infinity : LINES)) say(line);
        if (results.length % PROGRESS === 0) say(`${results.length} of ${seeds} seeds`);
      }
    } finally {
      worker.stop();
      signal.removeEventListener("abort", stop);
    }
  };
  await Promise.all(Array.from({ length: Math.min(WORKERS_MAX, availableParallelism(), seeds) }, work));
  const failed = results.filter(({ problems }) => problems.length > 0);
  const sum = (of: (result: SeedResult) => number): number => results.reduce((all, each) => all + of(each), 0);
  const lastLine = {
    seeds: results.length,
    failed: failed.length,
    effects: sum(({ counts }) => counts.effects),
    turns: sum(({ counts }) => counts.turns),
    deaths: sum(({ counts }) => counts.deaths),
    faults: sum(({ counts }) => counts.faults),
    losses: sum(({ counts }) => counts.losses),
    seconds: Math.round((performance.now() - started) / 1_000),
    digest: digestOf(results),
  };
  return { clean: failed.length === 0, lastLine };
}

const PROGRESS = 100;
/** Of the story of a seed that failed; whoever runs one seed alone wants the whole of it. */
const LINES = 40;

/** What a person needs who is to find out why. */
function failure({ seed, problems, story }: SeedResult, lines: number): string[] {
  return [
    ...story.slice(-lines),
    ...problems.map((problem) => `✗ seed ${seed}: ${problem}`),
    `  again: npm run sim -- --seed ${seed} --seeds 1`,
  ];
}

/** One for all seeds, whichever process ran them, and in whichever order they came to their end. */
const digestOf = (results: readonly SeedResult[]): string =>
  results.length === 1
    ? (results[0]?.digest ?? "")
    : results
        .map(({ digest }) => BigInt(`0x${digest}`))
        .reduce((all, one) => all ^ one, 0n)
        .toString(16)
        .padStart(16, "0");

/** A bug counts as unnoticed after so many seeds. */
export const PLANTED_SEEDS_MAX = 150;

async function runPlanted({ seed: first, say, signal }: SimOptions, ids: readonly string[]): Promise<SimOutcome> {
  const unknown = ids.filter((id) => !SIM_PLANTS.some((plant) => plant.id === id));
  if (unknown.length > 0) throw new RangeError(`there is no planted bug ${unknown.join(", ")}`);
  const plants = SIM_PLANTS.filter(({ id }) => ids.length === 0 || ids.includes(id));
  const missed: string[] = [];
  for (const { id, means } of plants) {
    const worker = await startWorker(id);
    const stop = (): void => worker.stop();
    signal.addEventListener("abort", stop, { once: true });
    let found: string | undefined;
    let tried = 0;
    try {
      while (found === undefined && tried < PLANTED_SEEDS_MAX && !signal.aborted)
        found = noticed(await worker.run(first + tried++));
    } finally {
      worker.stop();
      signal.removeEventListener("abort", stop);
    }
    if (found === undefined) missed.push(id);
    say(`${found === undefined ? "✗" : "✓"} ${id} (${means}), ${tried} seeds: ${found ?? "not noticed"}`);
  }
  const lastLine = { planted: plants.length, caught: plants.length - missed.length, missed };
  return { clean: missed.length === 0, lastLine };
}

/** A simulation that breaks down has noticed nothing. */
const noticed = ({ problems }: SeedResult): string | undefined =>
  problems.find((problem) => !problem.startsWith("the simulation failed"));
