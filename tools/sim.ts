// `npm run sim [-- --seeds n] [--seed s] [--json] [--planted [id…]]`: drives the real runtime through a simulated world in
// which everything goes wrong that can, each time as one seed decides, and looks at what is left. With --planted it does so
// to copies of the code that each hold one bug, and fails when one of them goes unnoticed. It stands in services/hub/sim.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { repositoryRoot } from "./tree.ts";

/** What services/hub/sim/index.ts promises to this command. */
interface Simulation {
  sim(options: {
    readonly seeds: number;
    readonly seed: number;
    readonly planted: readonly string[] | undefined;
    readonly say: (line: string) => void;
    readonly signal: AbortSignal;
  }): Promise<{ readonly clean: boolean; readonly lastLine: Readonly<Record<string, unknown>> }>;
}

const usage = "npm run sim [-- --seeds n] [--seed s] [--json] [--planted [id…]]";
const SEEDS = 100;
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => stop.abort(new Error("interrupted")));

process.exit(await main());

async function main(): Promise<number> {
  const options = read();
  if (options === undefined) {
    process.stderr.write(`usage: ${usage}\n`);
    return 2;
  }
  // Found at run time: the tools import nothing of the packages.
  const { sim } = (await import(pathToFileURL(join(repositoryRoot, "services/hub/sim/index.ts")).href)) as Simulation;
  const { json, ...rest } = options;
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  try {
    if (rest.planted === undefined) say(`seeds ${rest.seed} to ${rest.seed + rest.seeds - 1}`);
    const { clean, lastLine } = await sim({ ...rest, say, signal: stop.signal });
    const words = Object.entries(lastLine).map(([name, value]) => `${name} ${String(value)}`);
    process.stdout.write(`${json ? JSON.stringify(lastLine) : `${clean ? "✓" : "✗"} ${words.join(" · ")}`}\n`);
    return clean ? 0 : 1;
  } catch (error) {
    if (error instanceof RangeError) {
      process.stderr.write(`${error.message}\nusage: ${usage}\n`);
      return 2;
    }
    if (!stop.signal.aborted) throw error;
    process.stderr.write("interrupted: everything that was started is ended\n");
    return 130;
  }
}

function read() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        seeds: { type: "string", default: String(SEEDS) },
        seed: { type: "string", default: "1" },
        json: { type: "boolean", default: false },
        planted: { type: "boolean", default: false },
      },
    });
    const [seeds, seed] = [Number(values.seeds), Number(values.seed)];
    if (!Number.isInteger(seeds) || seeds < 1 || !Number.isInteger(seed) || seed < 0) return undefined;
    if (!values.planted && positionals.length > 0) return undefined;
    return { json: values.json, planted: values.planted ? positionals : undefined, seeds, seed };
  } catch {
    return undefined;
  }
}
