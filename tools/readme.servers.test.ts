import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freePorts, type PrivatePostgres, startPrivatePostgres } from "../packages/db/src/testing/index.ts";
import { type PrivateNats, startPrivateNats } from "../packages/pipeline/src/testing/index.ts";
import { type ReadmeWorkspace, writeReadmeWorkspace } from "./readme-workspace.ts";
import { blockWith } from "./readme.ts";
import { repositoryRoot } from "./tree.ts";

/** What the page tells people to type is typed here, with folders and ports of this test's own. */
type Settings = Readonly<Record<string, string>>;
const RUN_MS_MAX = 180_000;

const scratch = mkdtempSync(join(tmpdir(), "tributary-readme-run-"));
let workspace: ReadmeWorkspace;
beforeAll(() => (workspace = writeReadmeWorkspace()));
afterAll(() => {
  workspace.remove();
  rmSync(scratch, { recursive: true, force: true });
});

describe("README.md, embedded", () => {
  const dataDir = join(scratch, "embedded");
  let settings: Settings;
  beforeAll(async () => {
    settings = { TRIBUTARY_DATA_DIR: dataDir, ...(await ports()) };
  });

  it("ends `npm start -- --once --json` with the line that it shows", { timeout: RUN_MS_MAX }, async () => {
    const ended = await typed("embedded", blockWith("sh", "--once --json"), settings);
    const result = lastLine(ended.stdout);
    expect(result).toMatchObject({ delivered: result["published"], duplicates: 0, deadLetters: 0 });
    expect(result["published"]).toBeGreaterThanOrEqual(20);
    const shown = JSON.parse(blockWith("json", "published")) as Record<string, unknown>;
    const timeless = (line: Record<string, unknown>): unknown => ({
      ...line,
      firstEventMs: 0,
      steps: (line["steps"] as { name: string }[]).map(({ name }) => name),
    });
    expect(timeless(result)).toEqual(timeless(shown));
    // Which steps took so long that they announced themselves differs between machines.
    const told = ended.stderr.split("\n").filter((line) => line.startsWith("✓"));
    const page = blockWith("console", "running").split("\n");
    expect(told).toEqual(page.filter((line) => line.startsWith("✓")).map((line) => moved(line, settings)));
  });

  it("keeps the hub running, and hands the subscriber events over HTTP", { timeout: RUN_MS_MAX }, async () => {
    const hub = start([join(repositoryRoot, "tools/run.mjs"), "start"], settings);
    try {
      await hub.until("Ctrl-C stops");
      const places = blockWith("console", "running").split("\n\n")[1] ?? "";
      expect(hub.output()).toContain(moved(places, settings).trimEnd());
      const token = readFileSync(join(dataDir, "subscriber.key"), "utf8");
      await listen({ EVENTS_URL: `http://127.0.0.1:${settings["TRIBUTARY_PORT"]}`, EVENTS_TOKEN: token });
      const looked = await typed("embedded", blockWith("sh", "tributary -- trigger"), settings);
      for (const said of ['Completed "', "tributary.task.v1.TaskCompleted", "sample"])
        expect(looked.stdout).toContain(said);
    } finally {
      expect(await hub.stop("SIGTERM"), hub.output()).toBe(0);
    }
  });
});

describe("README.md, on PostgreSQL and NATS", () => {
  let postgres: PrivatePostgres;
  let nats: PrivateNats;
  beforeAll(async () => {
    [postgres, nats] = await Promise.all([startPrivatePostgres(), startPrivateNats()]);
  });
  afterAll(() => Promise.all([postgres?.stop(), nats?.stop()]));

  it("makes keys that the hub takes, and delivers through the broker", { timeout: RUN_MS_MAX }, async () => {
    const settings = {
      DATABASE_URL: postgres.url,
      NATS_URL: nats.url,
      TRIBUTARY_DATA_DIR: join(scratch, "cluster"),
      ...(await ports()),
    };
    const [startLine = ""] = /^TRIBUTARY_SANDBOX=true npm start$/m.exec(blockWith("sh", "docker compose")) ?? [];
    const script = `${blockWith("sh", "vault-keys.json")}\ncd '${repositoryRoot}'\n${startLine} -- --once --json`;
    const ended = await typed("keys", script, settings);
    const result = lastLine(ended.stdout);
    expect(result).toMatchObject({ delivered: result["published"], duplicates: 0, deadLetters: 0 });
    await listen({ EVENTS_URL: nats.url });
  });
});

/** Runs the subscriber of the page until it has printed both kinds of events, and ends it as a person would. */
async function listen(settings: Settings): Promise<void> {
  const subscriber = start([join(workspace.folder, "services/hub/listen.ts")], settings);
  try {
    await subscriber.until(" changed   ");
    await subscriber.until(" completed ");
  } finally {
    expect(await subscriber.stop("SIGINT"), subscriber.output()).toBe(0);
  }
}

/** A shell that is given the lines of a block. Every path in them is relative to a folder of its own, or to the checkout. */
async function typed(name: string, script: string, settings: Settings) {
  const folder = name === "embedded" ? repositoryRoot : scratch;
  const shell = spawn("sh", ["-euc", script], { cwd: folder, env: environment(settings), detached: true });
  const output = collect(shell);
  const timer = setTimeout(() => endGroup(shell, "SIGKILL"), RUN_MS_MAX - 10_000);
  const [code] = (await once(shell, "close")) as [number | null];
  clearTimeout(timer);
  expect(code, output.stderr).toBe(0);
  return output;
}

function start(args: readonly string[], settings: Settings) {
  const child = spawn(process.execPath, args, { cwd: repositoryRoot, env: environment(settings), detached: true });
  const printed = collect(child);
  const output = (): string => printed.stdout + printed.stderr;
  return {
    output,
    until: async (text: string): Promise<void> => {
      for (const deadline = performance.now() + 60_000; !output().includes(text); await sleep(20))
        if (child.exitCode !== null || performance.now() > deadline) throw new Error(`no "${text}" in: ${output()}`);
    },
    stop: async (signal: NodeJS.Signals): Promise<number | null> => {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      const closed = once(child, "close");
      const timer = setTimeout(() => endGroup(child, "SIGKILL"), 30_000);
      child.kill(signal);
      await closed;
      clearTimeout(timer);
      return child.exitCode;
    },
  };
}

/** npm and the runner have children: killed as one group, nothing stays behind. */
function endGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid !== undefined) process.kill(-pid, signal);
}

function collect(child: ChildProcess): { stdout: string; stderr: string } {
  const output = { stdout: "", stderr: "" };
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (output.stdout += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (output.stderr += text));
  return output;
}

/** No setting of whoever runs the tests. */
const environment = (settings: Settings): Record<string, string> => ({
  PATH: process.env["PATH"] ?? "",
  HOME: process.env["HOME"] ?? "",
  ...settings,
});

const lastLine = (text: string): Record<string, unknown> =>
  JSON.parse(text.trimEnd().split("\n").at(-1) ?? "") as Record<string, unknown>;

/** The page shows the default ports. */
const moved = (text: string, settings: Settings): string =>
  text
    .replaceAll(":4600", `:${settings["TRIBUTARY_PORT"]}`)
    .replaceAll(":4610", `:${Number(settings["TRIBUTARY_SANDBOX_PORT"]) + 1}`);

async function ports(): Promise<{ TRIBUTARY_PORT: string; TRIBUTARY_SANDBOX_PORT: string }> {
  const first = await freePorts(3);
  return { TRIBUTARY_PORT: String(first), TRIBUTARY_SANDBOX_PORT: String(first + 1) };
}
