// The gates, one job each: `npm run check:types`, `check:lint`, `check:boundaries`, `check:contracts`; and the two jobs
// that write: `npm run format`, `npm run generate`. A gate prints one line when it is green and its findings when not.
import { checkBoundaries } from "./checks/boundaries.ts";
import { checkContracts } from "./checks/contracts.ts";
import { checkLint } from "./checks/lint.ts";
import { checkTypes } from "./checks/types.ts";
import { attached } from "./command.ts";
import { type CheckResult, repositoryRoot } from "./tree.ts";

const gates: Readonly<Record<string, (root: string) => Promise<CheckResult>>> = {
  types: checkTypes,
  lint: checkLint,
  boundaries: checkBoundaries,
  contracts: checkContracts,
};
const writers: Readonly<Record<string, readonly [program: string, ...args: string[]]>> = {
  format: ["oxfmt", "--write", "."],
  generate: ["buf", "generate"],
};

const name = process.argv[2] ?? "";
const gate = gates[name];
const writer = writers[name];
if (gate !== undefined) process.exitCode = await runGate(name, gate);
else if (writer !== undefined) {
  const [program, ...args] = writer;
  process.exitCode = await attached(program, args, { cwd: repositoryRoot });
} else {
  process.stderr.write(
    `unknown check "${name}"; one of: ${[...Object.keys(gates), ...Object.keys(writers)].join(", ")}\n`,
  );
  process.exitCode = 2;
}

async function runGate(job: string, check: (root: string) => Promise<CheckResult>): Promise<number> {
  const start = performance.now();
  const { seen, findings } = await check(repositoryRoot);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  for (const finding of findings) process.stdout.write(`${finding}\n`);
  const count = findings.length === 1 ? "1 finding" : `${findings.length} findings`;
  process.stdout.write(
    findings.length === 0 ? `✓ ${job}: ${seen} (${seconds} s)\n` : `✗ ${job}: ${count} in ${seen}\n`,
  );
  return findings.length === 0 ? 0 : 1;
}
