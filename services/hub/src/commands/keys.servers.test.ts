import { type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { createKeyFile, openVault } from "@tributary/vault";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { forgetSecrets } from "../config.ts";
import { openDataFolder } from "../data-folder.ts";
import { type CommandContext, runCommandLine } from "./command-line.ts";
import { eraseCommand } from "./erase.ts";
import { keysCommand } from "./keys.ts";
import { withData } from "./open-data.ts";

const scratch = mkdtempSync(join(tmpdir(), "tributary-keys-command-"));
let server: PrivatePostgres;
beforeAll(async () => {
  server = await startPrivatePostgres();
});
afterAll(async () => {
  await server.stop();
  rmSync(scratch, { recursive: true, force: true });
});
let dataDir: string;
let cluster: Record<string, string>;
beforeEach(async () => {
  dataDir = mkdtempSync(join(scratch, "data-"));
  cluster = {
    DATABASE_URL: await server.createDatabase(),
    TRIBUTARY_VAULT_KEYS_FILE: join(dataDir, "vault-keys.json"),
  };
});

function contextWith(env: Record<string, string> = cluster) {
  const written = { stdout: "", stderr: "" };
  const context: CommandContext = {
    env: { TRIBUTARY_DATA_DIR: dataDir, ...env },
    integrations: [],
    stdout: { write: (text: string) => (written.stdout += text) },
    stderr: { write: (text: string) => (written.stderr += text) },
    now: () => new Date(),
  };
  return { written, context };
}
async function run(argv: readonly string[], env: Record<string, string> = cluster) {
  const { written, context } = contextWith(env);
  const code = await runCommandLine(argv, [keysCommand, eraseCommand], context);
  return { code, ...written, env: context.env };
}
const json = async <T>(...argv: string[]): Promise<T> => {
  const ended = await run([...argv, "--json"]);
  expect(ended.code, ended.stderr + ended.stdout).toBe(0);
  expect(ended.stdout.trimEnd().split("\n")).toHaveLength(1);
  return JSON.parse(ended.stdout) as T;
};
interface Status {
  readonly keys: { readonly id: string; readonly wraps: number }[];
  readonly subjects: number;
  readonly oldGenerations: number;
}

/** Opens forms for some people, which makes each a key pair. */
const people = (count: number): Promise<void> =>
  withData(contextWith().context, async ({ database, file }) => {
    const keys = { file: file("vault-keys.json") };
    const vault = await openVault({ database, keys, clients: [], publicOrigin: "https://hub.example.com" });
    for (let n = 0; n < count; n++) {
      const owner = { kind: "user", id: `user-${n}` } as const;
      const scope = { organizationId: "acme", integration: "tasks", owner, credentialId: `c-${n}` };
      await vault.openForm({ scope, person: { userId: owner.id, sessionHash: "" }, fields: ["password"] });
    }
  });

it("changes both kinds of keys beside running hubs, and says what each wraps", async () => {
  await people(3);
  const before = await json<Status>("keys", "status");
  expect(before).toMatchObject({ keys: [{ wraps: 3 }], subjects: 3, oldGenerations: 0 });
  const { id } = await json<{ id: string }>("keys", "new");
  expect(await json("keys", "rotate")).toMatchObject({
    kek: { id, changed: 3, unreadable: 0 },
    subjects: { subjects: 3, changed: 0, unreadable: 0, retired: 0 },
    status: { subjects: 3, oldGenerations: 3, rotation: { subjectsLeft: 0, finishedAt: expect.any(String) } },
  });
  const after = await run(["keys", "status"]);
  expect(after.stdout).toMatch(new RegExp(`^${id} +6 key pairs +first`));
});

it("shows progress apart from the result", async () => {
  await people(2);
  await run(["keys", "new"]);
  const ended = await run(["keys", "rotate", "kek", "--json"]);
  expect(ended.stderr).toContain("wrapping key pairs: 2 of 2");
  expect(() => JSON.parse(ended.stdout) as unknown).not.toThrow();
});

it("is refused in one line while a hub has the folder", async () => {
  const folder = openDataFolder(dataDir);
  try {
    for (const argv of [
      ["keys", "status"],
      ["keys", "rotate"],
      ["erase", "organisation", "acme", "--yes"],
    ]) {
      const ended = await run(argv, {});
      expect(ended).toMatchObject({ code: 3, stdout: "" });
      expect(ended.stderr).toMatch(/^tributary: another hub is running on the data folder .+\n$/);
    }
  } finally {
    folder.release();
  }
});

it("ends with 3 and the id of every key that is missing, and writes nothing", async () => {
  await people(1);
  const [key] = (await json<Status>("keys", "status")).keys;
  const file = join(dataDir, "vault-keys.json");
  rmSync(file);
  await createKeyFile(file);
  const other = readFileSync(file, "utf8");
  for (const argv of [
    ["keys", "status"],
    ["keys", "rotate"],
    ["keys", "new"],
  ]) {
    const ended = await run(argv);
    expect(ended).toMatchObject({ code: 3, stdout: "" });
    expect(ended.stderr).toContain(`"${key?.id}"`);
    expect(readFileSync(file, "utf8")).toBe(other);
  }
});

it("gives a ring that came as a value back, and prints no key otherwise", async () => {
  const file = join(scratch, `${Math.random()}.json`);
  await createKeyFile(file);
  const value = readFileSync(file, "utf8");
  const secrets = (JSON.parse(value) as { keys: { key: string }[] }).keys.map(({ key }) => key);
  const env = { DATABASE_URL: cluster["DATABASE_URL"] ?? "", TRIBUTARY_VAULT_KEYS: value };
  const made = await run(["keys", "new", "--json"], env);
  const { id, ring } = JSON.parse(made.stdout) as { id: string; ring: string };
  expect((JSON.parse(ring) as { keys: { id: string }[] }).keys.at(-1)?.id).toBe(id);
  for (const argv of [
    ["keys", "status"],
    ["keys", "rotate"],
  ]) {
    const ended = await run(argv, env);
    for (const secret of secrets) expect(ended.stdout + ended.stderr).not.toContain(secret);
  }
  writeFileSync(file, "", { mode: 0o600 });
});

it("erases only when it is told to be sure, and says when there is nobody", async () => {
  expect(await run(["erase", "person", "user-1"])).toMatchObject({ code: 2, stdout: "" });
  expect(await run(["erase", "person", "user-1", "--yes"])).toMatchObject({ code: 1, stdout: "" });
  await people(2);
  expect(await json("erase", "person", "user-1", "--organization", "acme", "--yes")).toMatchObject({
    erased: [{ keys: 1, credentials: 0, connections: 0 }],
  });
  expect((await json<Status>("keys", "status")).subjects).toBe(1);
  expect(await json("erase", "organisation", "acme", "--yes")).toMatchObject({ erased: [{ keys: 1 }] });
  expect(readFileSync(join(dataDir, "erasures.jsonl"), "utf8").match(/"acme"/g)).toHaveLength(4);
});

it("leaves no secret in the environment that a child process would inherit", async () => {
  const env = {
    DATABASE_URL: cluster["DATABASE_URL"] ?? "",
    TRIBUTARY_VAULT_KEYS: readFileSync(await keyFile(), "utf8"),
    TRIBUTARY_SESSION_SECRET: "canary-session-secret-of-32-characters",
    TRIBUTARY_SERVICE_KEYS: "reader:acme:canary-service-key-of-32-characters",
    TRIBUTARY_OAUTH_TASKS_CLIENT_ID: "tasks-client",
    TRIBUTARY_OAUTH_TASKS_CLIENT_SECRET: "canary-client-secret",
  };
  const ended = await run(["keys", "status"], env);
  expect(ended.code).toBe(0);
  expect(Object.keys(ended.env).toSorted()).toEqual(["TRIBUTARY_DATA_DIR", "TRIBUTARY_OAUTH_TASKS_CLIENT_ID"]);
  // The process's own environment, as its children get it.
  const before = { ...process.env };
  Object.assign(process.env, env, { DATABASE_URL: "postgres://canary-password@db", NATS_URL: "nats://canary@nats" });
  try {
    const probe = () =>
      spawnSync(process.execPath, ["-p", "JSON.stringify(process.env)"], { encoding: "utf8", timeout: 60_000 }).stdout;
    expect(probe()).toContain("canary");
    forgetSecrets(process.env);
    expect(probe()).toContain("tasks-client");
    expect(probe()).not.toMatch(/canary|signingSeed/);
  } finally {
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
    Object.assign(process.env, before);
  }
});

async function keyFile(): Promise<string> {
  const file = join(scratch, "other-keys.json");
  await createKeyFile(file);
  return file;
}
