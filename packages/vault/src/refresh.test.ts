import { asOwner } from "@tributary/db/testing";
import { type Database, openPglite, run } from "@tributary/db";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Vault } from "./vault.ts";
import { type FakeProvider, json, reset, startFakeProvider } from "./testing/fake-provider.ts";
import { type Harness, ME, SCOPE, startHarness } from "./testing/harness.ts";

let database: Database;
let provider: FakeProvider;
let harness: Harness;
let vault: Vault;
beforeAll(async () => {
  database = await openPglite();
  provider = await startFakeProvider();
  harness = await startHarness(database, provider);
  vault = await harness.another({ limits: { responseBytesMax: 1024 * 1024 } });
});
afterAll(async () => {
  harness.stop();
  await provider.stop();
  await database.close();
});
beforeEach(async () => {
  await asOwner(database, (tx) => run(tx, "DELETE FROM vault.credential_grant"));
  await asOwner(database, (tx) => run(tx, "TRUNCATE vault.audit, vault.audit_head"));
  provider.routes.clear();
  provider.tokenFaults.length = 0;
  provider.revocationFaults.length = 0;
  provider.forgetRefresh();
  Object.assign(provider.settings, { rotate: true, graceUses: 0, expiresIn: 3600, holdMs: 0 });
  harness.clock.now = new Date("2026-11-21T10:00:00Z");
  await harness.link();
  for (const list of [provider.tokenRequests, provider.apiRequests, provider.revocations]) list.length = 0;
});

const open = (change = {}) => vault.open(SCOPE, harness.use(change));
const newest = (kind: string) => provider.issued.findLast((token) => token.startsWith(`canary-${kind}`)) ?? "";

describe("a renewal", () => {
  it("happens once for eight sessions that are refused together", async () => {
    provider.expireAccess();
    provider.settings.holdMs = 50;
    const responses = await Promise.all(Array.from({ length: 8 }, () => open().fetch(ME)));
    expect(responses.map(({ status }) => status)).toEqual(Array(8).fill(200));
    expect(provider.tokenRequests).toHaveLength(1);
  });

  it("happens before the request when the credential is known to have expired", async () => {
    harness.clock.now = new Date("2026-11-21T11:00:00Z");
    expect((await open().fetch(ME)).status).toBe(200);
    expect([provider.tokenRequests.length, provider.apiRequests.length]).toEqual([1, 1]);
  });

  it("keeps the ids of secrets, and the refresh token when the answer has none", async () => {
    const before = await vault.describe(SCOPE);
    provider.settings.rotate = false;
    for (let round = 0; round < 3; round++) {
      provider.expireAccess();
      expect((await open().fetch(ME)).status).toBe(200);
    }
    expect((await vault.describe(SCOPE))?.secretIds).toEqual(before?.secretIds);
    expect(new Set(provider.tokenRequests.map((params) => params.get("refresh_token"))).size).toBe(1);
    expect(await asOwner(database, (tx) => run(tx, "SELECT field, revision FROM vault.secret ORDER BY 1, 2"))).toEqual([
      { field: "access_token", revision: 4n },
      { field: "refresh_token", revision: 3n },
      { field: "refresh_token", revision: 4n },
    ]);
  });

  it("that does not help leaves the 401 to the connector", async () => {
    provider.routes.set("/v1/me", (_, response) => json(401, {})(response));
    expect((await open().fetch(ME)).status).toBe(401);
    expect([provider.tokenRequests.length, provider.apiRequests.length]).toEqual([1, 2]);
  });

  it("is impossible without a refresh token", async () => {
    await asOwner(database, (tx) =>
      run(tx, "UPDATE vault.credential_grant SET secret_ids = secret_ids - 'refresh_token'"),
    );
    provider.expireAccess();
    expect((await open().fetch(ME)).status).toBe(401);
    expect(provider.tokenRequests).toHaveLength(0);
  });

  it("that the provider refuses asks for consent again", async () => {
    provider.expireAccess();
    provider.forgetRefresh();
    await expect(open().fetch(ME)).rejects.toMatchObject({ code: "reauth_required", detail: "invalid_grant" });
    expect(provider.tokenRequests).toHaveLength(1);
  });

  it.each([
    ["503", json(503, {}), "provider_unavailable", 1],
    ["429", json(429, { error: "slow_down" }), "provider_unavailable", 1],
    ["invalid_request", json(400, { error: "invalid_request" }), "provider_unavailable", 1],
    ["invalid_client", json(401, { error: "invalid_client" }), "oauth_client_invalid", 1],
  ] as const)("answered with %s expires nothing", async (_, answer, code, requests) => {
    provider.expireAccess();
    provider.tokenFaults.push({ answer });
    await expect(open().fetch(ME)).rejects.toMatchObject({ code });
    expect(provider.tokenRequests).toHaveLength(requests);
    expect((await open().fetch(ME)).status).toBe(200);
  });

  it("whose answer is lost is sent once more with the old token", async () => {
    provider.expireAccess();
    provider.settings.graceUses = 1;
    provider.tokenFaults.push({ late: true, answer: reset });
    expect((await open().fetch(ME)).status).toBe(200);
    expect(new Set(provider.tokenRequests.map((params) => params.get("refresh_token"))).size).toBe(1);
    expect(provider.tokenRequests).toHaveLength(2);
  });

  it("whose answer is lost at a provider without grace ends, and does not loop", async () => {
    provider.expireAccess();
    provider.tokenFaults.push({ late: true, answer: reset });
    await expect(open().fetch(ME)).rejects.toMatchObject({ code: "reauth_required" });
    expect(provider.tokenRequests).toHaveLength(2);
  });

  it("that gets no answer twice is left as it was, and then tried once a request", async () => {
    provider.expireAccess();
    for (let fault = 0; fault < 3; fault++) provider.tokenFaults.push({ answer: reset });
    await expect(open().fetch(ME)).rejects.toMatchObject({ code: "provider_unavailable" });
    expect(provider.tokenRequests).toHaveLength(2);
    await expect(open().fetch(ME)).rejects.toMatchObject({ code: "provider_unavailable" });
    expect(provider.tokenRequests).toHaveLength(3);
    expect((await open().fetch(ME)).status).toBe(200);
  });

  it("falls back to the token before, when the provider has lost its last rotation", async () => {
    const first = newest("rt");
    provider.expireAccess();
    provider.settings.graceUses = 1;
    await open().fetch(ME);
    provider.expireAccess();
    provider.tokenFaults.push({ answer: json(400, { error: "invalid_grant" }) });
    expect((await open().fetch(ME)).status).toBe(200);
    expect(provider.tokenRequests.at(-1)?.get("refresh_token")).toBe(first);
  });

  it("goes on when its caller gives up, so that no rotated token is lost", async () => {
    provider.expireAccess();
    provider.settings.holdMs = 200;
    const controller = new AbortController();
    const pending = open({ signal: controller.signal }).fetch(ME);
    setTimeout(() => controller.abort(new Error("enough")), 100);
    await expect(pending).rejects.toThrow("enough");
    expect((await open().fetch(ME)).status).toBe(200);
    expect(provider.tokenRequests).toHaveLength(1);
  });

  it("that stood still until its lease ran out sends nothing under it", async () => {
    // The first lease of the credential is over as soon as it is taken.
    await asOwner(database, async (tx) => {
      await run(
        tx,
        `CREATE FUNCTION vault.stand_still() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN NEW.lease_until := now() + interval '10 seconds'; RETURN NEW; END $$`,
      );
      await run(
        tx,
        `CREATE TRIGGER stand_still BEFORE UPDATE ON vault.credential_grant FOR EACH ROW
         WHEN (NEW.lease_token = 1 AND OLD.lease_token = 0) EXECUTE FUNCTION vault.stand_still()`,
      );
    });
    provider.expireAccess();
    expect((await open().fetch(ME)).status).toBe(200);
    expect(provider.tokenRequests).toHaveLength(1);
    const [row] = await asOwner(database, (tx) => run(tx, "SELECT lease_token FROM vault.credential_grant"));
    expect(row, "what was sent was sent under the second").toEqual({ lease_token: 2n });
    await asOwner(database, (tx) => run(tx, "DROP FUNCTION vault.stand_still CASCADE"));
  });

  it("takes over from a process that died holding the lease", async () => {
    provider.expireAccess();
    await asOwner(database, (tx) =>
      run(
        tx,
        "UPDATE vault.credential_grant SET lease_token = 1, lease_until = now() + interval '300 milliseconds', intent_at = now()",
      ),
    );
    expect((await open().fetch(ME)).status).toBe(200);
    expect(provider.tokenRequests).toHaveLength(1);
  });
});
