// The gates, one job each: `npm run check:types`, `check:lint`, `check:boundaries`, `check:contracts`; and the two jobs
// that write: `npm run format`, `npm run generate`. A gate prints one line when it is green and its findings when not.
// `npm run check:contracts -- <folder…>` looks at the consumers of other repositories as well.
import { resolve } from "node:path";
import { checkBoundaries } from "./checks/boundaries.ts";
import { checkContracts } from "./checks/contracts.ts";
import { checkLint } from "./checks/lint.ts";
import { checkTypes } from "./checks/types.ts";
import { attached } from "./command.ts";
import { generateContracts } from "./contracts/generate.ts";
import { type CheckResult, repositoryRoot } from "./tree.ts";

const gates: Readonly<Record<string, (root: string) => Promise<CheckResult>>> = {
  types: checkTypes,
  lint: checkLint,
  boundaries: checkBoundaries,
  contracts: (root) => checkContracts(root, { consumers: process.argv.slice(3).map((folder) => resolve(folder)) }),
};
const writers: Readonly<Record<string, () => Promise<number>>> = {
  format: () => attached("oxfmt", ["--write", "."], { cwd: repositoryRoot }),
  generate,
};

const name = process.argv[2] ?? "";
const gate = gates[name];
const writer = writers[name];
if (gate !== undefined) process.exitCode = await runGate(name, gate);
else if (writer !== undefined) process.exitCode = await writer();
else {
  process.stderr.write(
    `unknown check "${name}"; one of: ${[...Object.keys(gates), ...Object.keys(writers)].join(", ")}\n`,
  );
  process.exitCode = 2;
}

async function runGate(job: string, check: (root: string) => Promise<CheckResult>): Promise<number> {
  const start = performance.now();
  const { seen, findings, warnings = [] } = await check(repositoryRoot);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  for (const warning of warnings) process.stdout.write(`warning: ${warning}\n`);
  for (const finding of findings) process.stdout.write(`${finding}\n`);
  const count = findings.length === 1 ? "1 finding" : `${findings.length} findings`;
  process.stdout.write(
    findings.length === 0 ? `✓ ${job}: ${seen} (${seconds} s)\n` : `✗ ${job}: ${count} in ${seen}\n`,
  );
  return findings.length === 0 ? 0 : 1;
}

async function generate(): Promise<number> {
  try {
    const written = await generateContracts(repositoryRoot);
    for (const file of written) process.stdout.write(`${file}\n`);
    process.stdout.write(
      written.length === 0 ? "Everything generated is up to date.\n" : `${written.length} written.\n`,
    );
    return 0;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : "the generation failed"}\n`);
    return 1;
  }
}
