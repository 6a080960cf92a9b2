// `npm test [-- <step | file pattern>…]`: everything, in order, one after the other, because two cores are not shared well
// by servers and a browser. Every step runs even when an earlier one failed; the last line is the sum of the tests.
import { globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attached } from "./command.ts";
import { provideServers } from "./servers.ts";
import { repositoryRoot as root } from "./tree.ts";

interface Outcome {
  readonly step: string;
  readonly ok: boolean;
  readonly seconds: number;
  readonly passed: number;
  readonly failed: number;
  readonly note: string;
}

type Verdict = Omit<Outcome, "step" | "seconds">;

/** The part of vitest's JSON report that the sum needs. */
interface Report {
  readonly numTotalTests: number;
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
}

const CHECKS = ["types", "lint", "boundaries", "contracts"];
/** As in vitest.config.ts. `needs` is started by the tests themselves; here it only has to exist. */
const PROJECTS: Readonly<Record<string, { readonly files: string; readonly needs: boolean }>> = {
  unit: { files: "{packages,services}/*/src/**/*.test.ts", needs: false },
  servers: { files: "{packages,services}/*/{src,test}/**/*.{servers,story}.test.ts", needs: true },
  browser: { files: "{packages,services}/*/{src,test}/**/*.browser.test.ts", needs: true },
  crash: { files: "{packages,services}/*/{src,test}/**/*.crash.test.ts", needs: true },
};

const wanted = process.argv.slice(2);
const named = wanted.filter((arg) => CHECKS.includes(arg) || arg in PROJECTS);
const patterns = wanted.filter((arg) => !named.includes(arg));
const checks = wanted.length === 0 ? CHECKS : CHECKS.filter((name) => named.includes(name));
const projects = Object.keys(PROJECTS).filter((name) => (named.length === 0 ? true : named.includes(name)));
const scratch = mkdtempSync(join(tmpdir(), "tributary-test-"));
const outcomes: Outcome[] = [];
const missing = new Map<string, string>();

try {
  for (const name of checks) await step(`check:${name}`, () => runCheck(name));
  for (const name of projects) await step(name, () => runProject(name));
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
summary();

async function step(name: string, work: () => Promise<Verdict>): Promise<void> {
  process.stdout.write(`\n── ${name} ──\n`);
  const start = performance.now();
  const verdict = await work();
  outcomes.push({ step: name, seconds: (performance.now() - start) / 1000, ...verdict });
}

async function runCheck(name: string): Promise<Verdict> {
  const code = await attached(process.execPath, [join(root, "tools/check.ts"), name], { cwd: root });
  return { ok: code === 0, passed: 0, failed: 0, note: code === 0 ? "" : "see above" };
}

async function runProject(name: string): Promise<Verdict> {
  const { files = "", needs = false } = PROJECTS[name] ?? {};
  const present = globSync(files, { cwd: root }).length;
  const selected = patterns.length > 0;
  if (present === 0) return { ok: true, passed: 0, failed: 0, note: "no such files" };
  if (needs) {
    const problem = missing.get("servers") ?? provideServers();
    missing.set("servers", problem);
    if (problem !== "") {
      process.stdout.write(`${problem}\n`);
      return { ok: false, passed: 0, failed: 1, note: problem };
    }
  }
  const file = join(scratch, `${name}.json`);
  const code = await attached(
    process.execPath,
    [
      join(root, "node_modules/vitest/vitest.mjs"),
      "run",
      "--project",
      name,
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${file}`,
      ...(selected ? ["--passWithNoTests"] : []),
      ...patterns,
    ],
    // Without a terminal the reporter prints one line a file, and details for what failed.
    { cwd: root, env: { NO_COLOR: process.stdout.isTTY ? "" : "1" } },
  );
  return judge(code, file, selected);
}

/** A project is green when vitest says so, when something ran, and when nothing was left out. */
function judge(code: number, file: string, selected: boolean): Verdict {
  const report = readReport(file);
  if (report === undefined)
    return selected && code === 0
      ? { ok: true, passed: 0, failed: 0, note: "no file matches" }
      : { ok: false, passed: 0, failed: 1, note: `vitest ended with ${code} and no report` };
  const left = report.numPendingTests + report.numTodoTests;
  const ran = report.numPassedTests + report.numFailedTests;
  const problems = [
    ...(ran === 0 && !selected ? ["no test ran although there are files"] : []),
    ...(left > 0 && !selected ? [`${left} left out`] : []),
    ...(code !== 0 && report.numFailedTests === 0 ? ["failed outside a test"] : []),
  ];
  const failed = report.numFailedTests + problems.length;
  return { ok: failed === 0, passed: report.numPassedTests, failed, note: problems.join("; ") };
}

function readReport(file: string): Report | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Report;
  } catch {
    return undefined;
  }
}

function summary(): void {
  process.stdout.write("\n── summary ──\n");
  for (const { step: name, ok, seconds, passed, failed, note } of outcomes) {
    const counts = passed + failed === 0 ? "" : `${passed} passed${failed > 0 ? `, ${failed} failed` : ""}`;
    const line = [`${ok ? "✓" : "✗"} ${name.padEnd(17)}`, `${seconds.toFixed(1).padStart(7)} s`, counts, note];
    process.stdout.write(`${line.filter((part) => part !== "").join("  ")}\n`);
  }
  const passed = outcomes.reduce((sum, outcome) => sum + outcome.passed, 0);
  const failed = outcomes.reduce((sum, outcome) => sum + outcome.failed, 0);
  process.stdout.write(`Tests: ${passed} passed, ${failed} failed\n`);
  const nothing = wanted.length > 0 && patterns.length > 0 && passed + failed === 0;
  if (nothing) process.stderr.write(`no test matches ${patterns.join(" ")}\n`);
  process.exitCode = outcomes.every((outcome) => outcome.ok) && !nothing ? 0 : 1;
}
