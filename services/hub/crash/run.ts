import { setTimeout as sleep } from "node:timers/promises";
import { type House, openHouse, runTrial, type TrialResult } from "./house.ts";
import type { PointMoment } from "./faults.ts";
import { amountsOf, trialsOf } from "./trials.ts";
import { isClean } from "./verify.ts";

/** The last line of the command. */
export interface Sum {
  readonly kills: number;
  readonly lost: number;
  readonly duplicates: number;
  readonly reordered: number;
}

export interface Whole extends Sum {
  readonly faults: ReadonlyMap<string, number>;
  readonly reached: ReadonlyMap<string, { readonly times: number; readonly kills: number }>;
  readonly problems: readonly string[];
  readonly effects: number;
  readonly seconds: number;
  readonly clean: boolean;
}

export interface RunOptions {
  readonly rounds: number;
  /** Only the worlds whose names hold this. */
  readonly only?: string | undefined;
  readonly seed: number;
  readonly say: (line: string) => void;
  /** Ends everything, as Ctrl-C does. */
  readonly signal?: AbortSignal;
}

/** @throws RangeError when no world has such a name. */
export async function runWhole({ rounds, seed, only = "", say, signal }: RunOptions): Promise<Whole> {
  const trials = Object.entries(trialsOf(amountsOf(rounds)));
  const chosen = trials.filter(([name]) => name.includes(only));
  if (chosen.length === 0)
    throw new RangeError(`no world is called so; they are:\n${trials.map(([name]) => `  ${name}`).join("\n")}`);
  return inHouse(signal, async (house) => {
    const started = performance.now();
    const results = await side(chosen, async ([name, trial], index) => {
      const result = await runTrial(house, trial, { random: seeded(seed + index), say });
      say(described(name, result));
      return result;
    });
    const reaches = chosen.flatMap(([, trial]) => trial.reaches ?? []);
    return summed(results, (performance.now() - started) / 1_000, reaches);
  });
}

/** Trials at a time: they wait for most of theirs. */
const AT_ONCE = 2;

/** Works on two at a time, in their order. @returns what came of them, in their order. */
export async function side<T, R>(all: readonly T[], work: (one: T, index: number) => Promise<R>): Promise<R[]> {
  const left = [...all.entries()];
  const results: R[] = [];
  const one = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift())
      results[next[0]] = await work(next[1], next[0]);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  return results;
}

/** Opens a house, and closes it whatever happens. @throws the signal's reason when that aborts. */
export async function inHouse<T>(signal: AbortSignal | undefined, work: (house: House) => Promise<T>): Promise<T> {
  const house = await openHouse();
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal?.reason as Error);
  aborted.promise.catch(() => {});
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted === true) abort();
  try {
    return await Promise.race([work(house), aborted.promise]);
  } finally {
    signal?.removeEventListener("abort", abort);
    const closers = [...house.opened];
    await house.close();
    // What was under way when everything was closed may have started a server again.
    if (signal?.aborted === true) {
      await sleep(500);
      for (const close of closers.toReversed()) await close().catch(() => {});
    }
  }
}

/** mulberry32: the same choices for the same seed. What they meet is the clock's. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** @param reaches where a process has to have ended. */
function summed(results: readonly TrialResult[], seconds: number, reaches: readonly PointMoment[]): Whole {
  const faults = new Map<string, number>();
  const reached = new Map<string, { times: number; kills: number }>();
  for (const result of results) {
    for (const [name, times] of result.faults) faults.set(name, (faults.get(name) ?? 0) + times);
    for (const [name, { times, kills }] of result.reached) {
      const before = reached.get(name) ?? { times: 0, kills: 0 };
      reached.set(name, { times: before.times + times, kills: before.kills + kills });
    }
  }
  const missed = [...new Set(reaches.map(({ point, moment }) => `${point}/${moment}`))].filter(
    (name) => (reached.get(name)?.kills ?? 0) === 0,
  );
  const problems = [
    ...results.flatMap((result) => [...result.problems, ...result.failures]),
    ...missed.map((name) => `nothing was killed at ${name}`),
  ];
  const sum = (of: (result: TrialResult) => number): number => results.reduce((all, each) => all + of(each), 0);
  return {
    kills: [...faults.values()].reduce((all, each) => all + each, 0),
    lost: sum(({ lost }) => lost),
    duplicates: sum(({ duplicates }) => duplicates),
    reordered: sum(({ reordered }) => reordered),
    effects: sum(({ effects }) => effects),
    faults,
    reached,
    problems,
    seconds,
    clean: results.every(isClean) && missed.length === 0,
  };
}

export function described(name: string, result: TrialResult): string {
  const faults = [...result.faults].map(([fault, times]) => `${times} × ${fault}`).join(", ");
  const { effects, lost, duplicates, reordered, seconds, problems, failures } = result;
  const counts = `${effects} effects: ${lost} lost, ${duplicates} twice, ${reordered} out of order`;
  const lines = [`${isClean(result) ? "✓" : "✗"} ${name} (${seconds.toFixed(0)} s)`, `  ${faults}`, `  ${counts}`];
  return [...lines, ...[...problems, ...failures].map((problem) => `  ✗ ${problem}`)].join("\n");
}
