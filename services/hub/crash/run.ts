import { setTimeout as sleep } from "node:timers/promises";
import {
  brokerAway,
  crashDatabase,
  deleteStream,
  freezeCommit,
  freezeRelay,
  killAtPoints,
  killBroker,
  killBrokerInWindow,
  momentsOf,
  outliveWindow,
  rollBackStore,
  type Stage,
} from "./faults.ts";
import { type House, openHouse, runTrial, type Trial, type TrialResult, WINDOW_MS } from "./house.ts";
import { POINTS } from "./points.ts";
import { isClean } from "./verify.ts";

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
}

/** What the whole is: 200 SIGKILLs of nats-server, and the rest in its proportion. Every point is always reached. */
export const ROUNDS = 200;

export const amountsOf = (rounds: number): Amounts => ({
  brokerKills: rounds,
  inWindow: Math.ceil(rounds / 20),
  rollBacks: Math.ceil(rounds / 20),
  deletions: Math.ceil(rounds / 40),
  databaseCrashes: Math.ceil(rounds / 4),
  outages: Math.ceil(rounds / 40),
  freezes: Math.ceil(rounds / 40),
  awayMs: rounds * 50,
});

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

const SAMPLE_LOAD = 100;
const QUIET_MS = 20_000;

/** One after the other, each in a world of its own: what follows a fault is then that fault's. */
export function trialsOf(amounts: Amounts): Readonly<Record<string, Trial>> {
  const trial = (faults: Trial["faults"], load = SAMPLE_LOAD): Trial => ({
    world: {},
    load,
    faults,
    quietMs: QUIET_MS,
  });
  const times = async (count: number, work: () => Promise<void>): Promise<void> => {
    for (let each = 0; each < count; each++) await work();
  };
  return {
    "processes killed at every point": trial(async (stage) => {
      const roles = ["commit", "relay", "subscribe"] as const;
      await Promise.all(roles.map((role) => killAtPoints(stage, role, momentsOf(role))));
    }, SAMPLE_LOAD / 2),
    "processes frozen and overtaken, a relay away past the window of message ids": trial(async (stage) => {
      await outliveWindow(stage, amounts.outages, WINDOW_MS);
      await times(amounts.freezes, () => freezeRelay(stage, stage.random() < 0.5 ? "half" : "before", WINDOW_MS));
      await times(amounts.freezes, () => freezeCommit(stage));
    }),
    "nats-server killed": trial(async (stage) => {
      await killBroker(stage, amounts.brokerKills);
      await killBrokerInWindow(stage, amounts.inWindow);
      await brokerAway(stage, amounts.awayMs);
    }),
    "its store rolled back, its stream deleted": trial(async (stage) => {
      await rollBackStore(stage, amounts.rollBacks, WINDOW_MS);
      await deleteStream(stage, amounts.deletions, WINDOW_MS);
    }),
    // Intake goes on while the others find their way back: less of it leaves less to drain.
    "PostgreSQL shut down at once": trial((stage) => crashDatabase(stage, amounts.databaseCrashes), SAMPLE_LOAD / 4),
  };
}

export interface RunOptions {
  readonly rounds: number;
  readonly seed: number;
  readonly say: (line: string) => void;
  /** Ends everything, as Ctrl-C does. */
  readonly signal?: AbortSignal;
}

export async function runWhole({ rounds, seed, say, signal }: RunOptions): Promise<Whole> {
  return inHouse(signal, async (house) => {
    const random = seeded(seed);
    const results: TrialResult[] = [];
    const started = performance.now();
    for (const [name, trial] of Object.entries(trialsOf(amountsOf(rounds)))) {
      const result = await runTrial(house, trial, { random, say });
      results.push(result);
      say(described(name, result));
    }
    return summed(results, (performance.now() - started) / 1_000);
  });
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

function summed(results: readonly TrialResult[], seconds: number): Whole {
  const faults = new Map<string, number>();
  const reached = new Map<string, { times: number; kills: number }>();
  for (const result of results) {
    for (const [name, times] of result.faults) faults.set(name, (faults.get(name) ?? 0) + times);
    for (const [name, { times, kills }] of result.reached) {
      const before = reached.get(name) ?? { times: 0, kills: 0 };
      reached.set(name, { times: before.times + times, kills: before.kills + kills });
    }
  }
  const missed = POINTS.flatMap(({ name, moments }) => moments.map((moment) => `${name}/${moment}`)).filter(
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

export type { Stage };
