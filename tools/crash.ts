// `npm run crash [-- --rounds n] [--only words] [--json] [--seed n] [--planted [id…]]`: kills the processes of the path, its
// broker and its database, cuts the wires between them, and counts what the effects at the end miss, repeat or reorder. With
// --planted it does so to copies of the code that each hold one bug, and fails when one of them goes unnoticed. With --only
// it tries the worlds whose names hold these words. What it does stands in services/hub/crash.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { provideServers } from "./servers.ts";
import { repositoryRoot } from "./tree.ts";

/** What services/hub/crash/index.ts promises to this command. */
interface CrashHarness {
  crash(options: {
    readonly rounds: number | undefined;
    readonly seed: number;
    readonly only: string | undefined;
    readonly planted: readonly string[] | undefined;
    readonly say: (line: string) => void;
    readonly signal: AbortSignal;
  }): Promise<{ readonly clean: boolean; readonly lastLine: Readonly<Record<string, unknown>> }>;
}

const usage = "npm run crash [-- --rounds n] [--only words] [--seed n] [--json] [--planted [id…]]";
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => stop.abort(new Error("interrupted")));

// What was interrupted waits for answers that will not come: nobody waits for it.
process.exit(await main());

async function main(): Promise<number> {
  const options = read();
  if (options === undefined) {
    process.stderr.write(`usage: ${usage}\n`);
    return 2;
  }
  const missing = provideServers();
  if (missing !== "") {
    process.stderr.write(`${missing}\n`);
    return 1;
  }
  // Found at run time: the tools import nothing of the packages.
  const harness = pathToFileURL(join(repositoryRoot, "services/hub/crash/index.ts")).href;
  const { crash } = (await import(harness)) as CrashHarness;
  const { json, ...rest } = options;
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  try {
    const { clean, lastLine } = await crash({ ...rest, say, signal: stop.signal });
    const words = Object.entries(lastLine).map(([name, value]) => `${name} ${String(value)}`);
    process.stdout.write(`${json ? JSON.stringify(lastLine) : `${clean ? "✓" : "✗"} ${words.join(" · ")}`}\n`);
    return clean ? 0 : 1;
  } catch (error) {
    if (error instanceof RangeError) {
      process.stderr.write(`${error.message}\n`);
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
        rounds: { type: "string" },
        seed: { type: "string" },
        only: { type: "string" },
        json: { type: "boolean", default: false },
        planted: { type: "boolean", default: false },
      },
    });
    const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
    const seed = values.seed === undefined ? Date.now() % 1_000_000 : Number(values.seed);
    if ((rounds !== undefined && !(rounds >= 1)) || !Number.isInteger(seed)) return undefined;
    if (!values.planted && positionals.length > 0) return undefined;
    return { json: values.json, only: values.only, planted: values.planted ? positionals : undefined, rounds, seed };
  } catch {
    return undefined;
  }
}
