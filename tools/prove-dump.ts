// `npm run prove:dump [-- --secrets n] [--mode cluster|embedded] [--json]`: runs a deployment, gives its vault secrets by
// every road, takes its dumps, its write-ahead log, its folders, the broker's store and the logs, and counts the secrets
// that are found in them. What it does stands in services/hub/test/prove-dump.ts.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { provideServers } from "./servers.ts";
import { repositoryRoot } from "./tree.ts";

type Mode = "cluster" | "embedded";

/** What services/hub/test/prove-dump.ts promises to this command. */
interface DumpHarness {
  proveDump(options: { readonly secrets: number; readonly mode: Mode; readonly say: (line: string) => void }): Promise<{
    readonly planted: Readonly<Record<string, number>>;
    readonly searched: readonly {
      readonly medium: string;
      readonly files: number;
      readonly bytes: number;
      readonly found: readonly string[];
      readonly needle: readonly string[];
    }[];
  }>;
}

const usage = "npm run prove:dump [-- --secrets n] [--mode cluster|embedded] [--json]";
const SECRETS_MAX = 100_000;

process.exitCode = await main();

async function main(): Promise<number> {
  const options = read();
  if (options === undefined) {
    process.stderr.write(`usage: ${usage}\n`);
    return 2;
  }
  const missing = options.modes.includes("cluster") ? provideServers() : "";
  if (missing !== "") {
    process.stderr.write(`${missing}\n`);
    return 1;
  }
  // Found at run time: the tools import nothing of the packages.
  const harness = pathToFileURL(join(repositoryRoot, "services/hub/test/prove-dump.ts")).href;
  const { proveDump } = (await import(harness)) as DumpHarness;
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const proofs = [];
  for (const mode of options.modes) proofs.push({ mode, ...(await proveDump({ ...options, mode, say })) });
  const searched = proofs.flatMap((proof) => proof.searched);
  const found = searched.reduce((sum, medium) => sum + medium.found.length, 0);
  const blind = searched.filter(({ needle }) => needle.length === 0).length;
  const clean = found === 0 && blind === 0;
  if (options.json) process.stdout.write(`${JSON.stringify({ clean, found, blind, proofs })}\n`);
  else process.stdout.write(`${proofs.flatMap(told).join("\n")}\n${verdict(clean, found, blind, searched.length)}\n`);
  return clean ? 0 : 1;
}

type Proof = { readonly mode: Mode } & Awaited<ReturnType<DumpHarness["proveDump"]>>;

function told({ mode, planted, searched }: Proof): string[] {
  const counts = Object.entries(planted).map(([name, count]) => `${name} ${count}`);
  return [
    `${mode}: ${counts.join(" · ")}`,
    ...searched.flatMap(({ medium, files, bytes, found, needle }) => [
      `  ${found.length} found · ${medium} · ${files} files, ${(bytes / 2 ** 20).toFixed(1)} MiB · what stands in the clear: ${needle.length > 0 ? needle.join(", ") : "NOT FOUND"}`,
      ...found.slice(0, 20).map((where) => `    ${where}`),
    ]),
  ];
}

function verdict(clean: boolean, found: number, blind: number, media: number): string {
  return clean
    ? `✓ 0 secrets in ${media} media, and the search finds what is in the clear in each`
    : `✗ ${found} places with a secret, ${blind} of ${media} media in which the search finds nothing at all`;
}

function read() {
  try {
    const { values } = parseArgs({
      options: {
        secrets: { type: "string", default: "1000" },
        mode: { type: "string" },
        json: { type: "boolean", default: false },
      },
    });
    const secrets = Number(values.secrets);
    const modes = (["cluster", "embedded"] as const).filter(
      (mode) => values.mode === undefined || values.mode === mode,
    );
    if (!Number.isInteger(secrets) || secrets < 1 || secrets > SECRETS_MAX || modes.length === 0) return undefined;
    return { secrets, modes, json: values.json };
  } catch {
    return undefined;
  }
}
