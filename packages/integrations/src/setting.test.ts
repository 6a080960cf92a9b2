import { type Database, migrate, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { migrations as vaultTables, openVault, type Vault } from "@tributary/vault";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { migrations } from "./migrations.ts";
import { partPlaintext } from "./plaintext.ts";
import { moveAllPlaintext, readSetting, writeSetting } from "./setting.ts";

const folder = mkdtempSync(join(tmpdir(), "tributary-setting-"));
let database: Database;
let vault: Vault;
beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [vaultTables, migrations]);
  const keys = { file: join(folder, "keys.json") };
  vault = await openVault({ database, keys, clients: [], publicOrigin: "https://hub.example.com" });
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await database.close();
});

const parts = (change: Partial<Vault> = {}) => ({
  database,
  vault: { ...vault, ...change },
  now: () => new Date(),
  uuid: randomUUID,
});
/** As an import or an older copy brings it. */
const plant = (organizationId: string, config: object) =>
  asOwner(database, (tx) =>
    run(
      tx,
      "INSERT INTO integrations.setting (organization_id, integration, config, updated_by, updated_at) VALUES ($1, 'seven-shifts', $2, 'import', now())",
      [organizationId, JSON.stringify(config)],
    ),
  );
const read = (organizationId: string, by = parts()) => readSetting(by, organizationId, "seven-shifts");
const names = async (organizationId: string) =>
  Object.keys((await vault.integrationSecrets(organizationId, "seven-shifts"))?.secretIds ?? {}).toSorted();
const stored = async (organizationId: string) => {
  const rows = await asOwner(database, (tx) => run<{ row: string }>(tx, EVERYTHING, [organizationId]));
  return rows.map(({ row }) => row).join("\n");
};

const LEGACY = {
  v: 1,
  enabled: true,
  status: "active",
  connection_mode: "api",
  api_key: "canary-key",
  token_url: "https://provider.example.com/token",
  config: {
    company_id: "7140",
    password: "canary-password",
    auto_sync: false,
    nested: [{ authToken: "canary-token" }],
  },
};
const CLEAN = {
  v: 1,
  enabled: true,
  status: "active",
  connection_mode: "api",
  token_url: "https://provider.example.com/token",
  config: { company_id: "7140", auto_sync: false, nested: [{}] },
};

describe("a credential in a configuration", () => {
  it.each([
    "api_key",
    "apiKey",
    "API-KEY",
    "token",
    "accessToken",
    "refresh_token",
    "password",
    "dbPassword",
    "secret",
    "client_secret",
    "private_key",
    "webhook-secret",
    "authorization",
  ])("is told by its name: %s", (name) => {
    expect(partPlaintext({ v: 1, [name]: "x" })).toEqual({ secrets: [{ name, value: "x" }], rest: { v: 1 } });
  });

  it.each(["token_url", "has_password", "secretary", "key", "company_id", "monkey", "tokens_used", "spinning"])(
    "is not everything that sounds alike: %s",
    (name) => {
      expect(partPlaintext({ v: 1, [name]: "x" }).secrets).toEqual([]);
    },
  );

  it("is found at any depth, below a name that says so, as a number, and not when it is empty or a switch", () => {
    const config = {
      v: 1,
      secret: { user: "u", deep: ["d"] },
      a: { token: 1234 },
      b: { token: "t" },
      password: "",
      credentials: null,
      pin: true,
    };
    expect(partPlaintext(config)).toEqual({
      secrets: [
        { name: "user", value: "u" },
        { name: "secret.deep.0", value: "d" },
        { name: "a.token", value: "1234" },
        { name: "b.token", value: "t" },
      ],
      rest: { v: 1, secret: { deep: [] }, a: {}, b: {}, password: "", credentials: null, pin: true },
    });
  });
});

describe("a setting that is loaded", () => {
  it("has its credentials moved into the vault, tells the admins, and is left alone from then on", async () => {
    await plant("acme", LEGACY);
    const before = await stored("acme");
    expect(before).toContain("canary-key");
    expect(await read("acme")).toMatchObject({ config: CLEAN, version: 2, enabled: false });
    expect(await names("acme")).toEqual(["api_key", "authToken", "password"]);
    const after = await stored("acme");
    expect(after).not.toContain("canary");
    expect(after).toContain("secret_moved");
    expect(after).toMatch(/setting\.secret_moved,plaintext-mover.*api_key authToken password/);
    expect(await read("acme")).toMatchObject({ config: CLEAN, version: 2 });
    expect(await stored("acme")).toBe(after);
  });

  it("loses nothing when the process dies between the two, and ends in the same", async () => {
    await plant("killed", LEGACY);
    let stores = 0;
    const dying = parts({
      storeIntegrationSecret: async (secret) => {
        if (stores++ === 2) throw new Error("killed");
        return vault.storeIntegrationSecret(secret);
      },
    });
    await expect(read("killed", dying)).rejects.toThrow("killed");
    // Nothing has left the row before all of it is in the vault.
    for (const value of ["canary-key", "canary-password", "canary-token"])
      expect(await stored("killed")).toContain(value);
    const all = parts({ storeIntegrationSecret: (secret) => vault.storeIntegrationSecret(secret) });
    const stopped = {
      ...all,
      uuid: () => {
        throw new Error("killed after sealing");
      },
    };
    await expect(read("killed", stopped)).rejects.toThrow("killed after sealing");
    expect(await stored("killed")).toContain("canary-key");
    const ids = (await vault.integrationSecrets("killed", "seven-shifts"))?.secretIds;
    expect(await read("killed")).toMatchObject({ config: CLEAN, version: 2 });
    expect((await vault.integrationSecrets("killed", "seven-shifts"))?.secretIds).toEqual(ids);
    expect(await stored("killed")).not.toContain("canary");
  });

  it("is moved once by two that load it together", async () => {
    await plant("together", LEGACY);
    const both = await Promise.all([read("together"), read("together")]);
    for (const one of both) expect(one).toMatchObject({ config: CLEAN, version: 2 });
    expect((await stored("together")).match(/^(setting\.)?secret_moved,/gm)).toHaveLength(2);
  });

  it("waits for no reader: a start looks through all of them", async () => {
    for (const name of ["one", "two"]) await plant(name, LEGACY);
    await plant("three", CLEAN);
    expect(await moveAllPlaintext(parts())).toBe(2);
    for (const name of ["one", "two", "three"]) expect(await stored(name)).not.toContain("canary");
    expect(await moveAllPlaintext(parts())).toBe(0);
  });
});

describe("a setting that is written", () => {
  const change = {
    organizationId: "writer",
    integration: "seven-shifts",
    enabled: true,
    apiVersion: "v2",
    config: { v: 1, region: "eu", api_key: "canary-written" },
    version: undefined,
    actor: "user-1",
  } as const;

  it("never has a credential in its row, and is changed only from the version it was read at", async () => {
    expect(await writeSetting(parts(), change)).toMatchObject({ config: { v: 1, region: "eu" }, version: 1 });
    expect(await names("writer")).toEqual(["api_key"]);
    await expect(writeSetting(parts(), change)).rejects.toMatchObject({ code: "conflict" });
    const next = { ...change, enabled: false, version: 1, config: { v: 1 } } as const;
    expect(await writeSetting(parts(), next)).toMatchObject({ enabled: false, version: 2 });
    await expect(writeSetting(parts(), next)).rejects.toMatchObject({ code: "conflict" });
    expect(await stored("writer")).not.toContain("canary");
    expect(await read("writer")).toMatchObject({ enabled: false, apiVersion: "v2", config: { v: 1 } });
  });

  it("is refused without its shape", async () => {
    for (const config of [{}, { v: 2 }, { v: 1, long: "x".repeat(17_000) }])
      await expect(writeSetting(parts(), { ...change, config: config as never })).rejects.toMatchObject({
        code: "validation_failed",
      });
    expect(await read("nobody")).toBeUndefined();
  });
});

const EVERYTHING = `
SELECT s::text AS row FROM integrations.setting s WHERE organization_id = $1
UNION ALL SELECT n.code || ',' || n::text FROM integrations.notice n WHERE organization_id = $1
UNION ALL SELECT a.action || ',' || a.actor || ',' || a::text FROM vault.audit a WHERE organization_id = $1
UNION ALL SELECT x::text FROM vault.secret x WHERE organization_id = $1`;
