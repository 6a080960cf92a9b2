import { runPlanted } from "./run-planted.ts";
import { runWhole } from "./run.ts";
import { ROUNDS } from "./trials.ts";

export interface CrashOptions {
  /** SIGKILLs of nats-server; everything else keeps its proportion. Default 200. */
  readonly rounds: number | undefined;
  readonly seed: number;
  /** Only the worlds whose names hold this. Default: all. */
  readonly only?: string | undefined;
  /** Ids of planted bugs to look for, none of them meaning all; undefined: look at the code as it is. */
  readonly planted: readonly string[] | undefined;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

export interface CrashOutcome {
  readonly clean: boolean;
  readonly lastLine: Readonly<Record<string, unknown>>;
}

/** What the command does, without the command. */
export async function crash({
  rounds = ROUNDS,
  seed,
  only,
  planted,
  say,
  signal,
}: CrashOptions): Promise<CrashOutcome> {
  if (planted !== undefined) {
    const { missed, caught, unclean } = await runPlanted({ ids: planted, seed, say, signal });
    const lastLine = { planted: missed.length + caught.length, caught: caught.length, unclean: unclean.length };
    return { clean: missed.length === 0 && unclean.length === 0, lastLine };
  }
  say(`seed ${seed}, ${rounds} rounds`);
  const whole = await runWhole({ rounds, seed, only, say, signal });
  say("");
  for (const [fault, times] of whole.faults) say(`${String(times).padStart(6)} × ${fault}`);
  say("");
  for (const [point, { times, kills }] of [...whole.reached].toSorted(([one], [other]) => (one < other ? -1 : 1)))
    say(`  ${point.padEnd(28)} reached ${String(times).padStart(7)} times, killed ${kills}`);
  say("");
  for (const problem of whole.problems) say(`✗ ${problem}`);
  say(`${whole.effects} effects in ${whole.seconds.toFixed(0)} s`);
  const { kills, lost, duplicates, reordered, clean } = whole;
  return { clean, lastLine: { kills, lost, duplicates, reordered } };
}
