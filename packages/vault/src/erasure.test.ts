import { appendFileSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { channel } from "node:diagnostics_channel";
import { openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { appendErasures, readErasures } from "./erasure-file.ts";
import { type FakeProvider, startFakeProvider } from "./testing/fake-provider.ts";
import { type Harness, ME, SCOPE, startHarness } from "./testing/harness.ts";
import type { CredentialScope } from "./vault.ts";

type Pglite = Awaited<ReturnType<typeof openPglite>>;
let database: Pglite;
let provider: FakeProvider;
let harness: Harness;
let ledger: string;
beforeAll(async () => {
  database = await openPglite();
  provider = await startFakeProvider();
  harness = await startHarness(database, provider);
  ledger = `${harness.keyFile}.erasures`;
});
afterAll(async () => {
  harness.stop();
  await provider.stop();
  await database.close();
});
beforeEach(async () => {
  rmSync(ledger, { force: true });
  await asOwner(database, (tx) => run(tx, "TRUNCATE vault.credential_grant, vault.subject_key, vault.erasure CASCADE"));
});

const other: CredentialScope = { ...SCOPE, owner: { kind: "user", id: "user-2" }, credentialId: "credential-2" };
const shared: CredentialScope = { ...SCOPE, owner: { kind: "organization", id: "acme" }, credentialId: "credential-3" };
const open = (vault: Harness["vault"], scope = SCOPE) => vault.open(scope, harness.use()).fetch(ME);
const status = async (vault: Harness["vault"], scope = SCOPE) =>
  open(vault, scope).then(
    (response) => response.status,
    (error: { code?: string }) => error.code,
  );
const count = async (table: string, at = database): Promise<number> =>
  (await asOwner(at, (tx) => run<{ n: number }>(tx, `SELECT count(*)::int AS n FROM vault.${table}`)))[0]?.n ?? -1;
const vaultWith = (at = database) => harness.another({ erasureLedger: ledger, database: at });

describe("erasing a person", () => {
  it("destroys their keys and credentials, and leaves everybody else's", async () => {
    const vault = await vaultWith();
    for (const scope of [SCOPE, other, shared]) await harness.link({ scope }, vault);
    expect(await vault.erase({ organizationId: "acme", userId: "user-1" })).toMatchObject({ keys: 1, credentials: 1 });
    expect(await status(vault)).toBe("credential_missing");
    expect([await status(vault, other), await status(vault, shared)]).toEqual([200, 200]);
    expect([await count("subject_key"), await count("credential_grant")]).toEqual([2, 2]);
    expect(await vault.erase({ organizationId: "acme", userId: "user-1" })).toMatchObject({ keys: 0, credentials: 0 });
    expect(await vault.erase({ organizationId: "globex", userId: "user-2" })).toMatchObject({
      keys: 0,
      credentials: 0,
    });
  });

  it("takes the data key from a session that is open, at once", async () => {
    const vault = await vaultWith();
    await harness.link({}, vault);
    const session = vault.open(SCOPE, harness.use());
    await session.fetch(ME);
    // Somebody puts the ciphertext back that was in a backup: the session's key would still open it.
    await asOwner(database, (tx) => run(tx, "CREATE TABLE kept_grant AS TABLE vault.credential_grant"));
    await asOwner(database, (tx) => run(tx, "CREATE TABLE kept_secret AS TABLE vault.secret"));
    await vault.erase({ organizationId: "acme", userId: "user-1" });
    await asOwner(database, async (tx) => {
      await run(tx, "INSERT INTO vault.credential_grant SELECT * FROM kept_grant");
      await run(tx, "INSERT INTO vault.secret SELECT * FROM kept_secret");
    });
    await expect(session.fetch(ME)).rejects.toMatchObject({ code: "credential_integrity_error" });
    await asOwner(database, (tx) => run(tx, "DROP TABLE kept_grant, kept_secret"));
  });

  it("ends consents and forms under way", async () => {
    const vault = await vaultWith();
    const person = { userId: "user-1", sessionHash: "5e55" };
    await vault.openForm({ scope: SCOPE, person, fields: ["password"] });
    await vault.openForm({ scope: shared, person, fields: ["password"] });
    await vault.openForm({ scope: other, person: { ...person, userId: "user-2" }, fields: ["password"] });
    await vault.erase({ organizationId: "acme", userId: "user-1" });
    expect(await count("form")).toBe(1);
  });

  it("is for this life: who comes back links again, and keeps what they link", async () => {
    const vault = await vaultWith();
    await harness.link({}, vault);
    await vault.erase({ organizationId: "acme", userId: "user-1" });
    await harness.link({}, vault);
    const again = await vaultWith();
    expect(await status(again)).toBe(200);
  });

  it("is not begun when it cannot be written down", async () => {
    const vault = await harness.another({ erasureLedger: "/nonexistent/erasures" });
    await harness.link({}, vault);
    await expect(vault.erase({ organizationId: "acme", userId: "user-1" })).rejects.toMatchObject({
      code: "erasure_ledger_invalid",
    });
    expect([await status(vault), await count("erasure")]).toEqual([200, 0]);
  });
});

it("erasing an organisation takes all its people, and no other organisation", async () => {
  const vault = await vaultWith();
  const foreign = { ...SCOPE, organizationId: "globex" };
  for (const scope of [SCOPE, other, shared, foreign]) await harness.link({ scope }, vault);
  expect(await vault.erase({ organizationId: "acme" })).toMatchObject({ keys: 3, credentials: 3 });
  expect(await status(vault, foreign)).toBe(200);
  expect(await vault.erasures()).toMatchObject([{ organizationId: "acme", userId: undefined }]);
});

describe("an older copy of the database", () => {
  it("does not bring anybody back: neither by its wrapped keys, nor by its rows", async () => {
    const vault = await vaultWith();
    for (const scope of [SCOPE, other, shared]) await harness.link({ scope }, vault);
    const backup = await database.pglite.dumpDataDir("none");
    await vault.erase({ organizationId: "acme", userId: "user-1" });
    await vault.erase({ organizationId: "acme", userId: "user-9" });
    const restored = await openPglite({ loadDataDir: backup });
    try {
      expect([await count("subject_key", restored), await count("erasure", restored)]).toEqual([3, 0]);
      const careless = await harness.another({ database: restored });
      expect(await status(careless)).toBe(200);
      const careful = await vaultWith(restored);
      expect(await status(careful)).toBe("credential_missing");
      expect([await status(careful, other), await status(careful, shared)]).toEqual([200, 200]);
      expect([await count("subject_key", restored), await count("secret", restored)]).toEqual([2, 4]);
      // Known to this database too from now on, and once.
      expect(await careful.erasures()).toHaveLength(2);
      await vaultWith(restored);
      expect(await count("erasure", restored)).toBe(2);
    } finally {
      await restored.close();
    }
  });
});

describe("an erasure that is cut short", () => {
  it.each(["vault.erasure.announced", "vault.erasure.shredded"])("at %s is finished at the next start", async (cut) => {
    const vault = await vaultWith();
    await harness.link({}, vault);
    const steps = channel("tributary:step");
    const dead = Promise.withResolvers<void>();
    const { transaction } = database;
    const reached = (name: unknown): void => {
      if (name !== cut) return;
      Object.assign(database, { transaction: () => new Promise(() => {}) });
      dead.resolve();
    };
    steps.subscribe(reached);
    void vault.erase({ organizationId: "acme", userId: "user-1" });
    await dead.promise;
    steps.unsubscribe(reached);
    Object.assign(database, { transaction });
    expect(await status(await vaultWith())).toBe("credential_missing");
    expect(await count("erasure")).toBe(1);
  });
});

describe("the ledger's file", () => {
  const entry = (id: string) => ({
    id,
    organizationId: "acme",
    userId: "user-1",
    erasedAt: new Date("2026-11-21T10:00:00.000Z"),
  });
  const [one, two] = ["2f6f1c86-8f3e-4a7f-9d0a-111111111111", "2f6f1c86-8f3e-4a7f-9d0a-222222222222"] as const;

  it("is its owner's alone, and survives a line that was never finished", async () => {
    await appendErasures(ledger, [entry(one)]);
    expect(statSync(ledger).mode & 0o777).toBe(0o600);
    for (let cut = 1; cut < 60; cut += 7) {
      const whole = readFileSync(ledger, "utf8");
      appendFileSync(ledger, `\n${JSON.stringify({ v: 1, ...entry(two) })}`.slice(0, cut));
      expect(await readErasures(ledger)).toEqual([entry(one)]);
      await appendErasures(ledger, [entry(two)]);
      expect(await readErasures(ledger)).toEqual([entry(one), entry(two)]);
      writeFileSync(ledger, whole);
    }
  });

  it.each(['{"v":2}', '{"not":"ours"}', "garbage}"])("is refused when a line is not its own: %s", async (line) => {
    await appendErasures(ledger, [entry(one)]);
    appendFileSync(ledger, `${line}\n`);
    await expect(vaultWith()).rejects.toMatchObject({ code: "erasure_ledger_invalid" });
  });

  it("gets what another hub erased, at the next sweep", async () => {
    const vault = await vaultWith();
    const elsewhere = await harness.another({ erasureLedger: `${ledger}.other` });
    await elsewhere.erase({ organizationId: "acme", userId: "user-1" });
    expect(await readErasures(ledger)).toEqual([]);
    await vault.sweep();
    expect(await readErasures(ledger)).toHaveLength(1);
  });
});

it("nobody may change the ledger: every role may only add to it", async () => {
  const grants = await asOwner(database, (tx) =>
    run<{ grantee: string; privilege_type: string }>(
      tx,
      `SELECT grantee, privilege_type FROM information_schema.role_table_grants
      WHERE table_schema = 'vault' AND table_name = 'erasure' AND grantee LIKE 'tributary_%' ORDER BY 1, 2`,
    ),
  );
  expect(grants.map(({ grantee, privilege_type: verb }) => `${grantee} ${verb}`)).toEqual([
    "tributary_keeper INSERT",
    "tributary_keeper SELECT",
    "tributary_vault INSERT",
    "tributary_vault SELECT",
  ]);
});
