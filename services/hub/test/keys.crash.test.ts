import { type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { openPostgres } from "@tributary/db";
import { openVault } from "@tributary/vault";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "tributary-keys-crash-"));
const PEOPLE = 3;

let server: PrivatePostgres;
let env: Record<string, string>;
beforeAll(async () => {
  server = await startPrivatePostgres();
  const url = await server.createDatabase();
  env = {
    DATABASE_URL: url,
    TRIBUTARY_DATA_DIR: scratch,
    TRIBUTARY_VAULT_KEYS_FILE: join(scratch, "vault-keys.json"),
  };
  // Makes the tables and the key file.
  await tributary(["keys", "status"]);
  const database = openPostgres({ url, connectionsMax: 2 });
  const keys = { file: env["TRIBUTARY_VAULT_KEYS_FILE"] ?? "" };
  const vault = await openVault({ database, keys, clients: [], publicOrigin: "https://hub.example.com" });
  for (let n = 0; n < PEOPLE; n++) {
    const owner = { kind: "user", id: `user-${n}` } as const;
    const scope = { organizationId: "acme", integration: "tasks", owner, credentialId: `c-${n}` };
    await vault.openForm({ scope, person: { userId: owner.id, sessionHash: "" }, fields: ["password"] });
  }
  await database.close();
});
afterAll(async () => {
  await server.stop();
  rmSync(scratch, { recursive: true, force: true });
});

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
}

/** The command as a process of its own, killed at its n-th step when that is given. */
function tributary(args: readonly string[], killAtStep?: number): Promise<Ended> {
  const { PATH = "", HOME = "" } = process.env;
  const flags = ["--disable-warning=ExperimentalWarning", "--import", path("kill-at.mjs"), path("../src/tributary.ts")];
  const child = spawn(process.execPath, [...flags, ...args, "--json"], {
    env: { PATH, HOME, ...env, ...(killAtStep === undefined ? {} : { KILL_AT_STEP: String(killAtStep) }) },
    stdio: ["ignore", "pipe", "ignore"],
    timeout: 60_000,
  });
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal, stdout }));
  });
}

// Three pairs wrapped, three made: the process dies at the first and the last of each, and the next one goes on from there.
it.each([1, 3, 4, 6])("a rotation killed with SIGKILL at step %i is finished by asking again", async (step) => {
  const { id } = JSON.parse((await tributary(["keys", "new"])).stdout) as { id: string };
  expect(await tributary(["keys", "rotate"], step)).toMatchObject({ signal: "SIGKILL", stdout: "" });
  const ended = await tributary(["keys", "rotate"]);
  expect(ended.code).toBe(0);
  const { status } = JSON.parse(ended.stdout) as {
    status: { keys: { id: string; inRing: boolean; wraps: number }[]; subjects: number; rotation: object };
  };
  expect(status).toMatchObject({ subjects: PEOPLE, rotation: { subjectsLeft: 0, finishedAt: expect.any(String) } });
  const [first, ...others] = status.keys;
  expect(first).toMatchObject({ id, inRing: true });
  expect(others.every(({ inRing, wraps }) => inRing && wraps === 0)).toBe(true);
});
