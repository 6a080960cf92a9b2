/**
 * One measurement of a path and of its ceiling: the same work without our logic, taken in the same run. A bench file's
 * default export. Nothing has to be imported for it: `export default { name, unit, run }`.
 */
export interface Bench {
  /** What `npm run bench -- <name>` calls it. */
  readonly name: string;
  /** Of both figures, such as "events/s", "ms p50" or "MiB". */
  readonly unit: string;
  /** Called once to warm up and then `repeats` times; starts and stops what it needs itself. */
  run(context: BenchContext): Promise<Figures>;
  /** What must be reached: of the ratio to the ceiling, or of our own figure, in its unit. */
  readonly goal?: { readonly of: "ratio" | "ours"; readonly atLeast?: number; readonly atMost?: number };
  /** How often it is measured. Default 5. */
  readonly repeats?: number;
}

export interface Figures {
  readonly ours: number;
  readonly ceiling: number;
}

export interface BenchContext {
  /** The run before the measured ones; its figures are thrown away, so it may do less. */
  readonly warmUp: boolean;
  /** How long a bench that sustains something should; undefined: as long as it finds enough. */
  readonly seconds?: number;
  /** A line for the person who waits; goes to standard error. */
  log(line: string): void;
}

/** Medians of the runs. The ratio is ours / ceiling of each run, so noise that both share cancels out. */
export interface Measurement {
  readonly name: string;
  readonly unit: string;
  readonly ours: number;
  readonly ceiling: number;
  readonly ratio: number;
  readonly ratioMin: number;
  readonly ratioMax: number;
  readonly runs: number;
  /** Absent without a goal. */
  readonly goal?: Bench["goal"];
  readonly reached?: boolean;
}

const REPEATS = 5;

/** @throws TypeError when a run gives a figure that is not a positive number: it measured nothing. */
export async function measure(bench: Bench, log: (line: string) => void, seconds?: number): Promise<Measurement> {
  const runs: Figures[] = [];
  const context = { log, ...(seconds === undefined ? {} : { seconds }) };
  await bench.run({ ...context, warmUp: true });
  for (let run = 0; run < (bench.repeats ?? REPEATS); run++) {
    const figures = await bench.run({ ...context, warmUp: false });
    if (!(figures.ours > 0 && figures.ceiling > 0 && Number.isFinite(figures.ours / figures.ceiling)))
      throw new TypeError(`${bench.name} measured ${figures.ours} of ${figures.ceiling}`);
    runs.push(figures);
  }
  const ratios = runs.map(({ ours, ceiling }) => ours / ceiling);
  const measured = {
    name: bench.name,
    unit: bench.unit,
    ours: median(runs.map((each) => each.ours)),
    ceiling: median(runs.map((each) => each.ceiling)),
    ratio: median(ratios),
    ratioMin: Math.min(...ratios),
    ratioMax: Math.max(...ratios),
    runs: runs.length,
  };
  const { goal } = bench;
  if (goal === undefined) return measured;
  const { atLeast = Number.NEGATIVE_INFINITY, atMost = Number.POSITIVE_INFINITY } = goal;
  const value = measured[goal.of];
  return { ...measured, goal, reached: value >= atLeast && value <= atMost };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2;
}
