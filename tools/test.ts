// `npm test [-- <step | file pattern>…]`: everything, in order, one after the other, because two cores are not shared well
// by servers and a browser. Every step runs even when an earlier one failed; the last line is the sum of the tests.
import { globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attached } from "./command.ts";
import { provideServers } from "./servers.ts";
import { TEST_PROJECTS, type TestProject } from "./test-projects.ts";
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
/** A project that hangs fails, long before whoever runs it gives up. */
const PROJECT_LIMIT_MS = 20 * 60_000;

const wanted = process.argv.slice(2);
const projectNames = TEST_PROJECTS.map((project) => project.name);
const steps = wanted.filter((arg) => CHECKS.includes(arg) || projectNames.includes(arg));
/** Handed on to vitest: parts of paths, and its own options such as `-t <name>`. */
const patterns = wanted.filter((arg) => !steps.includes(arg));
const checks = wanted.length === 0 ? CHECKS : CHECKS.filter((name) => steps.includes(name));
const projects = TEST_PROJECTS.filter(({ name }) => {
  const anyNamed = steps.some((each) => projectNames.includes(each));
  return anyNamed ? steps.includes(name) : wanted.length === 0 || patterns.length > 0;
});
const scratch = mkdtempSync(join(tmpdir(), "tributary-test-"));
const outcomes: Outcome[] = [];
/** What provideServers said; asked once. */
let missing: string | undefined;

try {
  for (const name of checks) await step(`check:${name}`, () => runCheck(name));
  for (const project of projects)
    if (patterns.length === 0 || matching(project).length > 0) await step(project.name, () => runProject(project));
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

/** The project's files that the patterns choose, as vitest does: a pattern is a part of the path. */
function matching({ include, exclude }: TestProject): string[] {
  const files = globSync([...include], { cwd: root, exclude: ["**/node_modules/**", ...exclude] });
  const paths = patterns.filter((arg) => !arg.startsWith("-"));
  // An option's value looks like a path and matches nothing; then vitest decides.
  const options = paths.length < patterns.length;
  return options || paths.length === 0 ? files : files.filter((file) => paths.some((path) => file.includes(path)));
}

async function runProject(project: TestProject): Promise<Verdict> {
  const { name } = project;
  const selected = patterns.length > 0;
  if (matching(project).length === 0) return { ok: true, passed: 0, failed: 0, note: "no such files" };
  if (project.needsServers) {
    missing ??= provideServers();
    if (missing !== "") {
      process.stdout.write(`${missing}\n`);
      return { ok: false, passed: 0, failed: 1, note: missing };
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
    { cwd: root, env: process.stdout.isTTY ? {} : { NO_COLOR: "1" }, timeoutMs: PROJECT_LIMIT_MS },
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
  // `-t <name>` leaves out on purpose, and may choose nothing.
  const narrowed = patterns.some((arg) => arg.startsWith("-"));
  const problems = [
    ...(ran === 0 && !narrowed ? ["no test ran although there are files"] : []),
    ...(left > 0 && !narrowed ? [`${left} left out`] : []),
    ...(code !== 0 && ran > 0 && report.numFailedTests === 0 ? ["failed outside a test"] : []),
  ];
  const failed = report.numFailedTests + (problems.length > 0 ? 1 : 0);
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
  const nothing = patterns.length > 0 && passed + failed === 0;
  if (nothing) process.stdout.write(`no test matches ${patterns.join(" ")}\n`);
  // The last line, in this form whatever happened: programs read it.
  process.stdout.write(`Tests: ${passed} passed, ${failed} failed\n`);
  process.exitCode = outcomes.every((outcome) => outcome.ok) && !nothing ? 0 : 1;
}
