import { type Database, openPostgres, run } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type FakeProvider, json, startFakeProvider } from "./testing/fake-provider.ts";
import { consentRequest, type Harness, ME, PERSON, SCOPE, startHarness } from "./testing/harness.ts";
import type { VaultError } from "./errors.ts";
import { CLAIM_DUE } from "./renew-due.ts";
import type { Vault } from "./vault.ts";

/** Eight vaults on eight pools stand for eight processes: they share the database and nothing else. */
let server: PrivatePostgres;
let databases: Database[];
let vaults: Vault[];
let provider: FakeProvider;
let harness: Harness;
beforeAll(async () => {
  server = await startPrivatePostgres();
  const url = await server.createDatabase();
  databases = Array.from({ length: 8 }, () => openPostgres({ url, connectionsMax: 3 }));
  provider = await startFakeProvider();
  const [first] = databases as [Database];
  harness = await startHarness(first, provider);
  vaults = await Promise.all(databases.map((database) => harness.another({ database })));
});
afterAll(async () => {
  harness.stop();
  await provider.stop();
  await Promise.all(databases.map((database) => database.close()));
  await server.stop();
});
beforeEach(async () => {
  await asOwner(databases[0]!, (tx) => run(tx, "DELETE FROM vault.credential_grant"));
  provider.forgetRefresh();
  provider.settings.holdMs = 0;
  await harness.link();
  provider.tokenRequests.length = 0;
});

const fetchAll = () => Promise.all(vaults.map((vault) => vault.open(SCOPE, harness.use()).fetch(ME)));

describe("eight processes", () => {
  it("renew a rotating token once, every time", async () => {
    for (let round = 1; round <= 10; round++) {
      provider.expireAccess();
      provider.settings.holdMs = round % 2 === 0 ? 30 : 0;
      expect((await fetchAll()).map(({ status }) => status)).toEqual(Array(8).fill(200));
      expect(provider.tokenRequests).toHaveLength(round);
    }
    expect(new Set(provider.tokenRequests.map((params) => params.get("refresh_token"))).size).toBe(10);
    expect(
      await asOwner(databases[0]!, (tx) =>
        run(tx, "SELECT generation, lease_until, intent_at FROM vault.credential_grant"),
      ),
    ).toEqual([{ generation: 11n, lease_until: null, intent_at: null }]);
  });

  it("renew what is due once between them, whoever looks first", async () => {
    const scopes = Array.from({ length: 24 }, (_, n) => ({ ...SCOPE, credentialId: `due-${n}` }));
    for (const scope of scopes) await harness.link({ scope });
    provider.tokenRequests.length = 0;
    provider.settings.holdMs = 20;
    const began = harness.clock.now;
    for (let round = 1; round <= 3; round++) {
      harness.clock.now = new Date(harness.clock.now.getTime() + 3_500_000);
      const ended = (await Promise.all(vaults.map((vault) => vault.renewDue(10)))).flat();
      // Twenty-five credentials, one request each, and no one is renewed by two.
      expect(ended.map(({ outcome }) => outcome)).toEqual(Array(25).fill("renewed"));
      expect(new Set(ended.map(({ scope }) => scope.credentialId)).size).toBe(25);
      expect(provider.tokenRequests).toHaveLength(25 * round);
    }
    expect(new Set(provider.tokenRequests.map((params) => params.get("refresh_token"))).size).toBe(75);
    harness.clock.now = began;
  });

  it("share one renewal between those who look for what is due and those who were refused", async () => {
    provider.expireAccess();
    provider.settings.holdMs = 50;
    const began = harness.clock.now;
    harness.clock.now = new Date(began.getTime() + 3_500_000);
    const [due, fetched] = await Promise.all([
      Promise.all(vaults.map((vault) => vault.renewDue(10))),
      Promise.all(vaults.map((vault) => vault.open(SCOPE, harness.use()).fetch(ME))),
    ]);
    expect(due.flat().map(({ outcome }) => outcome)).toEqual(["renewed"]);
    expect(fetched.map(({ status }) => status)).toEqual(Array(8).fill(200));
    expect(provider.tokenRequests).toHaveLength(1);
    harness.clock.now = began;
  });

  it("find what is due by its index, however many there are", async () => {
    const plan = await asOwner(databases[0]!, async (tx) => {
      await run(tx, "SET LOCAL session_replication_role = replica");
      await run(
        tx,
        `INSERT INTO vault.renewal (organization_id, credential_id, integration, owner_kind, owner_id, context_id, terms, signature, renew_at)
         SELECT 'org-' || n % 100, 'c-' || n, 'tasks', 'user', 'u', 'tasks', '{}', decode(repeat('00', 64), 'hex'), '2027-01-01'::timestamptz + n * interval '1 second'
         FROM generate_series(1, 20000) AS n`,
      );
      await run(tx, "ANALYZE vault.renewal");
      await run(tx, "SELECT set_config('role', 'tributary_keeper', true)");
      const rows = await run<Record<string, string>>(tx, `EXPLAIN ${CLAIM_DUE}`, ["2026-11-21T10:00:00Z", 100, 120]);
      await run(tx, "SELECT set_config('role', 'none', true)");
      await run(tx, "DELETE FROM vault.renewal WHERE credential_id LIKE 'c-%'");
      return rows.map((row) => row["QUERY PLAN"]).join("\n");
    });
    expect(plan).toContain("renewal_due");
    expect(plan).not.toContain("Seq Scan on renewal");
  });

  it("do not take a sibling's renewal for a refusal", async () => {
    provider.expireAccess();
    // The first request is refused only after another process has renewed: as if the lease had run out meanwhile.
    provider.tokenFaults.push({
      answer: (response) => {
        void (async () => {
          await asOwner(databases[1]!, (tx) =>
            run(tx, "UPDATE vault.credential_grant SET lease_until = now() - interval '1 second'"),
          );
          await vaults[1]!.open(SCOPE, harness.use()).fetch(ME);
          json(400, { error: "invalid_grant" })(response);
        })();
      },
    });
    expect((await vaults[0]!.open(SCOPE, harness.use()).fetch(ME)).status).toBe(200);
    expect(provider.tokenRequests).toHaveLength(2);
  });

  it("take a callback once of fifty", async () => {
    const { url } = await harness.vault.beginConsent(consentRequest());
    const callback = { contextId: "tasks", query: provider.consent(url), person: PERSON, organizationId: "acme" };
    const taken = await Promise.allSettled(
      Array.from({ length: 50 }, async (_, n) => {
        const vault = vaults[n % vaults.length]!;
        const flow = await vault.takeFlow(callback);
        return vault.redeem(flow, flow.code);
      }),
    );
    expect(taken.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    const refused = taken
      .filter((result) => result.status === "rejected")
      .map(({ reason }) => (reason as VaultError).code);
    expect(refused).toEqual(Array(49).fill("oauth_state_invalid"));
    expect(provider.tokenRequests).toHaveLength(1);
  });

  it("make one key for a subject that all of them meet for the first time", async () => {
    const scope = (n: number) => ({ ...SCOPE, owner: { kind: "user", id: "user-9" } as const, credentialId: `c-${n}` });
    provider.settings.rotate = true;
    await Promise.all(vaults.map((vault, n) => harness.link({ scope: scope(n) }, vault)));
    expect(
      await asOwner(databases[0]!, (tx) =>
        run(tx, "SELECT count(*)::int AS n FROM vault.subject_key WHERE owner_id = 'user-9'"),
      ),
    ).toEqual([{ n: 1 }]);
    for (const [n, vault] of vaults.entries())
      expect((await vault.open(scope(n), harness.use()).fetch(ME)).status).toBe(200);
  });
});

describe("a database that goes away", () => {
  it("while the provider answers does not lose the rotated token", async () => {
    const vault = vaults[0]!;
    await vault.open(SCOPE, harness.use()).fetch(ME);
    provider.expireAccess();
    provider.settings.holdMs = 300;
    const pending = vault.open(SCOPE, harness.use()).fetch(ME);
    while (provider.tokenRequests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await server.crash();
    await new Promise((resolve) => setTimeout(resolve, 400));
    await server.restart();
    expect((await pending).status).toBe(200);
    expect(provider.tokenRequests).toHaveLength(1);
  });
});
