import { type Database, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type FakeProvider, json, startFakeProvider } from "./testing/fake-provider.ts";
import { type Harness, HOST, SPEC, startHarness } from "./testing/harness.ts";

let database: Database;
let provider: FakeProvider;
let harness: Harness;
beforeAll(async () => {
  database = await openPglite();
  provider = await startFakeProvider();
  provider.routes.set("/v1/me", (_, response) => json(200, {})(response));
  harness = await startHarness(database, provider);
});
afterAll(async () => {
  harness.stop();
  await provider.stop();
  await database.close();
});

const secret = (change: object = {}) => ({
  organizationId: "acme",
  integration: "seven-shifts",
  name: "api_key",
  value: "canary-key-1",
  actor: "user-1",
  ...change,
});
const store = (change: object = {}) => harness.vault.storeIntegrationSecret(secret(change));
const stored = (organizationId = "acme", integration = "seven-shifts") =>
  harness.vault.integrationSecrets(organizationId, integration);
const purge = (organizationId = "acme", integration = "seven-shifts") =>
  harness.vault.purgeIntegrationSecrets(organizationId, integration, "user-1");
/** What the provider is sent with the secret of a name. */
async function sent(name: string, organizationId = "acme"): Promise<string | undefined> {
  const found = await stored(organizationId);
  if (found === undefined) throw new Error("nothing is stored");
  const spec = { ...SPEC, attach: { in: "header", name: "x-key", secret: name, template: "{}" } as const };
  let header: string | undefined;
  provider.routes.set("/v1/key", (request, response) => {
    header = String(request.headers["x-key"]);
    json(200, {})(response);
  });
  await harness.vault.open(found.scope, harness.use({ spec })).fetch(`https://${HOST}/v1/key`);
  return header;
}

describe("an integration's secrets", () => {
  it("are stored by name, replaced under the same id, and used without being seen", async () => {
    expect(await stored()).toBeUndefined();
    const key = await store();
    const password = await store({ name: "password", value: "canary-password-1" });
    expect(await stored()).toMatchObject({ secretIds: { api_key: key, password } });
    expect([await sent("api_key"), await sent("password")]).toEqual(["canary-key-1", "canary-password-1"]);
    expect(await store({ value: "canary-key-2" })).toBe(key);
    expect(await store({ value: "canary-key-3" })).toBe(key);
    expect(await store({ name: "later", value: "canary-later" })).not.toBe(key);
    expect([await sent("api_key"), await sent("password"), await sent("later")]).toEqual([
      "canary-key-3",
      "canary-password-1",
      "canary-later",
    ]);
    expect(inspect(await stored(), { depth: 9 })).not.toContain("canary");
  });

  it("belong to one organisation and one integration", async () => {
    await store({ organizationId: "globex", value: "canary-globex" });
    await store({ integration: "square", value: "canary-square" });
    expect([await sent("api_key"), await sent("api_key", "globex")]).toEqual(["canary-key-3", "canary-globex"]);
    expect(await stored("initech")).toBeUndefined();
  });

  it("are all stored when they are stored at once, and one value wins", async () => {
    const organizationId = "crowd";
    const ids = await Promise.all([
      ...["a", "b", "c"].map((name) => store({ organizationId, name, value: `canary-${name}` })),
      ...["1", "2"].map((value) => store({ organizationId, name: "same", value })),
    ]);
    expect(Object.keys((await stored(organizationId))?.secretIds ?? {}).toSorted()).toEqual(["a", "b", "c", "same"]);
    expect(ids[3]).toBe(ids[4]);
    expect(await sent("b", organizationId)).toBe("canary-b");
    expect(["1", "2"]).toContain(await sent("same", organizationId));
  });

  it("are purged with a count, and again with none", async () => {
    expect([await purge(), await purge()]).toEqual([3, 0]);
    expect(await stored()).toBeUndefined();
    expect(await sent("api_key", "globex")).toBe("canary-globex");
    expect(await store()).toMatch(/^[0-9a-f-]{36}$/);
    expect(await sent("api_key")).toBe("canary-key-1");
  });

  it("survive the sweep", async () => {
    harness.clock.now = new Date("2027-11-21T10:00:00Z");
    await harness.vault.sweep();
    expect(await sent("api_key")).toBe("canary-key-1");
  });

  it("need a name and a value", async () => {
    for (const change of [{ value: "" }, { name: "" }, { name: "n".repeat(201) }, { value: "v".repeat(70_000) }])
      await expect(store(change)).rejects.toMatchObject({ code: "secret_required" });
  });

  it("leave a trace of who did what, with no value in it", async () => {
    const lines = await asOwner(database, (tx) =>
      run<{ line: string }>(
        tx,
        "SELECT concat_ws(' ', action, actor, detail) AS line FROM vault.audit WHERE organization_id = 'acme' AND integration = 'seven-shifts' AND action <> 'credential.open' ORDER BY sequence",
      ),
    );
    expect(lines.map(({ line }) => line)).toEqual([
      "credential.store user-1 api_key",
      "credential.store user-1 password",
      "credential.rotate user-1 api_key",
      "credential.rotate user-1 api_key",
      "credential.store user-1 later",
      ...["later", "api_key", "password"].map((name) => `credential.delete user-1 ${name}`),
      "credential.store user-1 api_key",
    ]);
  });
});
