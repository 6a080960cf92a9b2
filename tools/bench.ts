// `npm run bench -- [name…] [--json] [--seconds n]`: runs `packages/*/bench/*.bench.ts` and the services'. A name is a
// bench's, or the part before its slash. Every figure stands beside a ceiling that was taken in the same run, because a
// virtual machine's absolute figures differ from hour to hour; the ratio is what a goal is about.
import { globSync } from "node:fs";
import { parseArgs } from "node:util";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { measure, type Bench, type Measurement } from "./measure.ts";
import { byText, repositoryRoot } from "./tree.ts";

const { values, positionals: wanted } = readArguments();
const json = values.json === true;
const seconds = values.seconds === undefined ? undefined : Number(values.seconds);

const benches = await findBenches();
const names = benches.map((bench) => bench.name);
const isWanted = (name: string): boolean => wanted.some((each) => each === name || name.startsWith(`${each}/`));
const unknown = wanted.filter((each) => !names.some((name) => each === name || name.startsWith(`${each}/`)));
if (unknown.length > 0 || (seconds !== undefined && !(seconds > 0))) {
  process.stderr.write(`unknown: ${unknown.join(", ")}. There are: ${names.join(", ")}; --json and --seconds n\n`);
  process.exitCode = 2;
} else {
  const selected = benches.filter((bench) => wanted.length === 0 || isWanted(bench.name));
  // One after the other: two benches at once would measure each other.
  for (const bench of selected) await runOne(bench);
}

/** A bench that fails does not keep the others from being measured. */
async function runOne(bench: Bench): Promise<void> {
  try {
    print(await measure(bench, (line) => process.stderr.write(`${line}\n`), seconds));
  } catch (error) {
    process.stderr.write(`${bench.name} failed: ${error instanceof Error ? (error.stack ?? error.message) : "?"}\n`);
    process.exitCode = 1;
  }
}

async function findBenches(): Promise<Bench[]> {
  const files = globSync("{packages,services}/*/bench/*.bench.ts", { cwd: repositoryRoot }).toSorted(byText);
  const found: Bench[] = [];
  for (const file of files) {
    const module = (await import(pathToFileURL(join(repositoryRoot, file)).href)) as { default?: Partial<Bench> };
    const { name, unit, run } = module.default ?? {};
    if (name === undefined || unit === undefined || run === undefined)
      throw new TypeError(`${file} does not export { name, unit, run } as its default`);
    found.push(module.default as Bench);
  }
  return found;
}

function print(result: Measurement): void {
  if (json) {
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return;
  }
  const spread = `${percent(result.ratioMin)}–${percent(result.ratioMax)}`;
  process.stdout.write(
    `${result.name.padEnd(32)} ${figure(result.ours).padStart(12)} of ${figure(result.ceiling).padStart(12)} ${result.unit.padEnd(12)} ${percent(result.ratio).padStart(6)} (${spread}, ${result.runs} runs)${goalOf(result)}\n`,
  );
}

function goalOf({ goal, reached, unit }: Measurement): string {
  if (goal === undefined) return "";
  const { of, atLeast, atMost } = goal;
  const bound = atLeast ?? atMost ?? 0;
  const text = of === "ratio" ? percent(bound) : `${figure(bound)} ${unit}`;
  return `; ${atMost === undefined ? "≥" : "≤"} ${text}: ${reached === true ? "reached" : "missed"}`;
}

function figure(value: number): string {
  return value.toLocaleString("en", { maximumFractionDigits: value < 100 ? 2 : 0 });
}

function percent(value: number): string {
  return `${(value * 100).toFixed(0)} %`;
}

function readArguments() {
  const options = { json: { type: "boolean" }, seconds: { type: "string" } } as const;
  try {
    return parseArgs({ options, allowPositionals: true });
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : "wrong arguments"}\n`);
    process.exit(2);
  }
}
