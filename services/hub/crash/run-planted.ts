import { runTrial, type TrialResult } from "./house.ts";
import { PLANT_TRIALS } from "./plant-trials.ts";
import { type Plant, PLANTS } from "./plants.ts";
import { described, inHouse, seeded, side } from "./run.ts";
import { isClean, isRight } from "./verify.ts";

export interface PlantedRun {
  /** Ids of bugs that went unnoticed. */
  readonly missed: readonly string[];
  readonly caught: readonly string[];
  /** Trials that the code as it is did not bear. */
  readonly unclean: readonly string[];
}

export interface PlantedOptions {
  /** None: all of them. */
  readonly ids: readonly string[];
  readonly seed: number;
  readonly say: (line: string) => void;
  readonly signal?: AbortSignal;
  /** Whether each trial is run without a bug first. Default true. */
  readonly controls?: boolean;
}

/** How often a bug may be looked for: whether a fault meets it is chance. */
const ATTEMPTS = 5;

/** What has no bug comes to its end however slow the machine is. */
const CONTROL_QUIET_MS = 60_000;

/** @throws RangeError for an id that is nobody's. */
export async function runPlanted({ ids, seed, say, signal, controls = true }: PlantedOptions): Promise<PlantedRun> {
  const unknown = ids.filter((id) => !PLANTS.some((plant) => plant.id === id));
  if (unknown.length > 0) throw new RangeError(`there is no planted bug ${unknown.join(", ")}`);
  const plants = PLANTS.filter(({ id }) => ids.length === 0 || ids.includes(id));
  return inHouse(signal, async (house) => {
    const outcome = { missed: [] as string[], caught: [] as string[], unclean: [] as string[] };
    const attempt = (trial: Plant["trial"], plant: string | undefined, seedOf: number): Promise<TrialResult> => {
      const { world, quietMs, ...rest } = PLANT_TRIALS[trial];
      const patience = plant === undefined ? CONTROL_QUIET_MS : quietMs;
      return runTrial(
        house,
        { ...rest, quietMs: patience, world: { ...world, plant } },
        { random: seeded(seedOf), say },
      );
    };
    const trials = controls ? [...new Set(plants.map(({ trial }) => trial))] : [];
    await side(trials, async (name, index) => {
      const result = await attempt(name, undefined, seed + index);
      say(described(`${name}, without a bug`, result));
      if (!isClean(result)) outcome.unclean.push(name);
    });
    await side(plants, async (plant, index) => {
      let found: string | undefined;
      for (let each = 0; each < ATTEMPTS && found === undefined; each++) {
        const result = await attempt(plant.trial, plant.id, seed + index + each * plants.length);
        found = isRight(result) ? undefined : symptoms(result);
        for (const failure of result.failures) say(`  ${plant.id}: ${failure}`);
        say(
          `${found === undefined ? "✗" : "✓"} ${plant.id} (${plant.trial}, ${result.seconds.toFixed(0)} s): ${found ?? "not noticed"}`,
        );
      }
      outcome[found === undefined ? "missed" : "caught"].push(plant.id);
    });
    return outcome;
  });
}

function symptoms({ lost, duplicates, reordered, problems }: TrialResult): string {
  const counts = Object.entries({ lost, twice: duplicates, "out of order": reordered });
  return [...counts.filter(([, times]) => times > 0).map(([what, times]) => `${times} ${what}`), ...problems].join(
    "; ",
  );
}
