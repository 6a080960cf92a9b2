// The one entry behind `npm start`, `npm test` and the checks. Plain JavaScript without dependencies, because it runs
// before anything is installed, on whatever Node (>= 18) the machine has:
//   1. the pinned pnpm installs from the frozen lockfile, when the lockfile or a manifest changed since the last time;
//   2. everything after that runs under the Node that the lockfile brought (Node 24 runs TypeScript as it is).
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const bin = join(root, "node_modules", ".bin");
const jobs = {
  start: ["services/hub/src/main.ts"],
  tributary: ["services/hub/src/tributary.ts"],
  test: ["tools/test.ts"],
  bench: ["tools/bench.ts"],
  crash: ["tools/crash.ts"],
  "prove:dump": ["tools/prove-dump.ts"],
  format: ["tools/check.ts", "format"],
  generate: ["tools/check.ts", "generate"],
  "contracts:release": ["tools/contracts-release.ts"],
  "contracts:export": ["tools/contracts-export.ts"],
  "pack:subscriber": ["tools/pack.ts"],
  "check:types": ["tools/check.ts", "types"],
  "check:lint": ["tools/check.ts", "lint"],
  "check:boundaries": ["tools/check.ts", "boundaries"],
  "check:contracts": ["tools/check.ts", "contracts"],
};

install();
const node = localNode();
const [name = "", ...rest] = process.argv.slice(2);
const job = jobs[name];
if (job === undefined) fail(`unknown job "${name}"; one of: ${Object.keys(jobs).join(", ")}`, 2);
const env = {
  ...process.env,
  PATH: bin + delimiter + process.env.PATH,
  NODE_OPTIONS: process.env.NODE_OPTIONS ?? "",
  // What was compiled, and stripped of its types, is not compiled again: a third of a start.
  NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(root, "node_modules", ".cache", "compile"),
};
const child = spawn(node, ["--disable-warning=ExperimentalWarning", ...job, ...rest], {
  cwd: root,
  stdio: "inherit",
  env,
});
// A terminal sends Ctrl-C to the whole group, a supervisor to us alone: the child is told either way, and takes it twice.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
// npm that is killed says nothing to what it started: without a parent there is nobody left to stop us.
const { ppid } = process;
setInterval(() => process.ppid === ppid || child.kill("SIGTERM"), 1000).unref();
child.on("exit", (code, signal) => process.exit(signal === null ? (code ?? 1) : 1));

function install() {
  const stampFile = join(root, "node_modules", ".tributary-install");
  const wanted = createHash("sha256")
    .update(readFileSync(join(root, "pnpm-lock.yaml")))
    .update(readFileSync(join(root, "pnpm-workspace.yaml")))
    .update(`${process.platform}-${process.arch}`)
    .digest("hex");
  if (existsSync(stampFile) && readFileSync(stampFile, "utf8") === wanted) return;
  const pnpm = JSON.parse(readFileSync(join(root, "package.json"), "utf8")).packageManager;
  process.stderr.write("Installing what the lockfile names (once; half a minute on a slow line) …\n");
  const startedAt = Date.now();
  // Standard output belongs to the job: `npm start -- --json` must end in one line of JSON. pnpm speaks only of errors,
  // because the Node that it runs on is not the one that the packages will.
  const flags = ["install", "--frozen-lockfile", "--reporter=append-only", "--loglevel=error"];
  const result = spawnSync("npx", ["--yes", "--loglevel=error", pnpm, ...flags], {
    cwd: root,
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32",
  });
  if (result.error) fail(`npx could not be started: ${result.error.message}`, 1);
  if (result.status !== 0) fail("the install failed; the lines above say why", result.status ?? 1);
  writeFileSync(stampFile, wanted);
  process.stderr.write(`Installed in ${Math.round((Date.now() - startedAt) / 1000)} s.\n`);
}

function localNode() {
  const local = join(bin, "node");
  if (existsSync(local)) return local;
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major > 22 || (major === 22 && minor >= 19)) return process.execPath;
  return fail(`no bundled Node for ${process.platform}-${process.arch}: install Node 22.19 or newer`, 1);
}

function fail(message, code) {
  process.stderr.write(`tributary: ${message}\n`);
  process.exit(code);
}
