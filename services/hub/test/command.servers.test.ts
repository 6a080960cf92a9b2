import { asOwner, freePorts } from "@tributary/db/testing";
import { openPglite, run } from "@tributary/db";
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type DemoRun, runDemoProcess } from "./demo-process.ts";
import { startHubProcess } from "./hub-process.ts";
import { storedRows } from "./stored-rows.ts";

const scratch = mkdtempSync(join(tmpdir(), "tributary-command-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

interface Result {
  readonly published: number;
  readonly delivered: number;
  readonly firstEventMs: number | null;
  readonly steps: readonly { readonly name: string; readonly ms: number }[];
}

const dataDir = join(scratch, "data");
let port: number;
let env: Record<string, string>;
beforeAll(async () => {
  port = await freePorts(3);
  env = {
    TRIBUTARY_DATA_DIR: dataDir,
    TRIBUTARY_PORT: String(port),
    TRIBUTARY_SANDBOX_PORT: String(port + 1),
  };
});

/** Everything that `--once --json` leaves on standard output is one line. */
function resultOf(ended: DemoRun): Result {
  expect(ended.code, ended.stderr).toBe(0);
  expect(ended.stdout.trimEnd().split("\n")).toHaveLength(1);
  return JSON.parse(ended.stdout) as Result;
}

/** One line for the operator, and the code for "you have to change something". */
function expectRefusal(ended: DemoRun, says: string | RegExp): void {
  expect({ code: ended.code, stderr: ended.stderr }).toEqual({
    code: 3,
    stderr: expect.stringMatching(/^tributary: .+\n$/),
  });
  expect(ended.stderr).toMatch(says);
}

const refused = (changes: Readonly<Record<string, string>>): Promise<DemoRun> =>
  runDemoProcess({ env: { ...env, ...changes }, args: [] });

describe("the command, one start after the other on one data folder", () => {
  let first: Result;

  it("shows the whole road on a fresh folder, and says so in one line of JSON", async () => {
    first = resultOf(await runDemoProcess({ env }));
    expect(first).toEqual({
      published: first.delivered,
      delivered: expect.any(Number),
      duplicates: 0,
      deadLetters: 0,
      firstEventMs: expect.any(Number),
      steps: ["sign-in", "link", "sync", "deliver", "act", "return", "undo"].map((name) => ({
        name,
        ms: expect.any(Number),
      })),
    });
    expect(first.published).toBeGreaterThanOrEqual(20);
  });

  it("goes on with the same data: nothing is linked or read again, two changes are new", async () => {
    const ended = await runDemoProcess({ env });
    expect(ended.stderr).toContain("is linked already");
    const second = resultOf(ended);
    expect(second.published).toBe(first.published + 2);
    expect(second.delivered).toBe(second.published);
  });

  it("runs until Ctrl-C, and takes a second signal for the same, as when a wrapper passes on the terminal's", async () => {
    const hub = await startHubProcess(env);
    // Three seconds is the goal on a machine that does nothing else.
    process.stdout.write(`a start on existing data took ${hub.runningMs} ms\n`);
    await hub.until("Ctrl-C stops");
    hub.signal("SIGINT");
    await hub.until("Stopping");
    const { code, ms } = await hub.stop("SIGINT");
    expect({ code, stderr: hub.stderr }).toEqual({ code: 0, stderr: "" });
    expect(hub.stdout).toContain(`${hub.origin}/connections`);
    expect(hub.runningMs).toBeLessThan(60_000);
    expect(ms).toBeLessThan(25_000);
    expect(await leases()).toEqual([]);
  });

  it("has the folder to itself until SIGTERM: another hub is refused, and this one goes on", async () => {
    const hub = await startHubProcess(env);
    try {
      const others = await freePorts(3);
      const ended = await refused({ TRIBUTARY_PORT: String(others), TRIBUTARY_SANDBOX_PORT: String(others + 1) });
      expectRefusal(ended, /another hub is running on the data folder .+TRIBUTARY_DATA_DIR/);
      await hub.until("Ctrl-C stops");
      const ready = await fetch(`${hub.origin}/readyz`);
      expect([ready.status, await ready.json()]).toEqual([200, { status: "ready" }]);
    } finally {
      const { code, ms } = await hub.stop("SIGTERM");
      expect(code, hub.stderr).toBe(0);
      expect(ms).toBeLessThan(25_000);
    }
    expect(await leases()).toEqual([]);
  });

  it("stops in good order while the demo is still on its way", async () => {
    const hub = await startHubProcess(env);
    const { code } = await hub.stop("SIGINT");
    expect(code, hub.stderr).toBe(0);
    expect(await leases()).toEqual([]);
  });

  describe("refuses to start, and changes nothing:", () => {
    let before: Awaited<ReturnType<typeof storedRows>>;
    beforeAll(async () => {
      before = await storedRows(dataDir);
    });

    it.each([
      ["the hub's port", 0, "TRIBUTARY_PORT"],
      ["the sign-in provider's port", 1, "TRIBUTARY_SANDBOX_PORT"],
      ["a simulated provider's port", 2, "TRIBUTARY_SANDBOX_PORT"],
    ])("%s is taken", async (_what, offset, setting) => {
      const taken = createServer().listen(port + offset, "127.0.0.1");
      try {
        expectRefusal(await refused({}), `port ${port + offset} is taken; set ${setting} to a free one`);
      } finally {
        await new Promise((resolve) => taken.close(resolve));
      }
      expect(await storedRows(dataDir)).toEqual(before);
    });

    it("the vault's keys are gone, until they are back", async () => {
      const file = join(dataDir, "vault-keys.json");
      const { keys } = JSON.parse(readFileSync(file, "utf8")) as { keys: { id: string }[] };
      renameSync(file, join(scratch, "kept"));
      const ended = await refused({});
      expectRefusal(ended, `"${keys[0]?.id}"`);
      expect(await storedRows(dataDir)).toEqual(before);
      renameSync(join(scratch, "kept"), file);
      expect(resultOf(await runDemoProcess({ env })).published).toBeGreaterThan(first.published);
    });
  });
});

/** Who still holds one, in either package's tables. */
async function leases(): Promise<string[]> {
  const database = await openPglite({ dataDir: join(dataDir, "database") });
  try {
    const found = await asOwner(database, (tx) => run<{ id: string }>(tx, LEASES));
    return found.map(({ id }) => id);
  } finally {
    await database.close();
  }
}

const LEASES = `SELECT id::text FROM integrations.connection WHERE lease_until IS NOT NULL
  UNION ALL SELECT credential_id FROM vault.credential_grant WHERE lease_until IS NOT NULL`;

describe("the command, wrongly asked,", () => {
  it.each([["--fast"], ["everything"]])("answers %s with its usage and code 2", async (argument) => {
    const ended = await runDemoProcess({ env, args: [argument] });
    expect(ended).toMatchObject({ code: 2, stdout: "", stderr: expect.stringMatching(/^Usage: npm start/) });
  });

  it("explains itself when asked", async () => {
    const ended = await runDemoProcess({ env, args: ["--help"] });
    expect(ended).toMatchObject({ code: 0, stderr: "", stdout: expect.stringMatching(/--once[^]+--json/) });
  });
});

describe("a setting that cannot be", () => {
  const CANARY = "canary-4f1d";
  const never = { TRIBUTARY_DATA_DIR: join(scratch, "never") };

  it.each([
    ["a wrong one", { ...never, TRIBUTARY_PORT: CANARY, TRIBUTARY_SESSION_SECRET: CANARY }, /PORT: .+SESSION_SECRET: /],
    ["a key ring", { TRIBUTARY_DATA_DIR: join(scratch, "ring"), TRIBUTARY_VAULT_KEYS: CANARY }, /ring is not JSON/],
    ["simulated providers in production", { ...never, NODE_ENV: "production" }, /TRIBUTARY_SANDBOX/],
    [
      "a database that does not answer",
      {
        TRIBUTARY_DATA_DIR: join(scratch, "cluster"),
        TRIBUTARY_SANDBOX: "true",
        DATABASE_URL: `postgres://hub:${CANARY}@127.0.0.1:1/hub?connect_timeout=1`,
      },
      /DATABASE_URL cannot be used \(ECONNREFUSED\)/,
    ],
    ["a data folder below a file", { TRIBUTARY_DATA_DIR: join(file(), "data") }, /cannot be written \(EEXIST\)/],
    ["a data folder that is a file", { TRIBUTARY_DATA_DIR: file() }, /cannot be written \(EEXIST\)/],
    // Where not even root can make one.
    ["a data folder in /proc", { TRIBUTARY_DATA_DIR: "/proc/tributary/data" }, /cannot be written \(ENOENT\)/],
  ])("is %s: one line says so, and shows no value", async (_what, changes, says) => {
    const ended = await refused(changes);
    expectRefusal(ended, says);
    expect(ended.stdout + ended.stderr).not.toContain(CANARY);
  });

  function file(): string {
    const path = join(scratch, "file");
    writeFileSync(path, "not a folder");
    return path;
  }
});
