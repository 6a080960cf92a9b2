import { type Database, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import type { OAuth2Spec } from "@tributary/sdk";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type FakeProvider, json, startFakeProvider } from "./testing/fake-provider.ts";
import { type Harness, ME, SCOPE, SPEC, startHarness } from "./testing/harness.ts";
import type { CredentialScope, Vault } from "./vault.ts";

let database: Database;
let provider: FakeProvider;
let harness: Harness;
let vault: Vault;
beforeAll(async () => {
  database = await openPglite();
  provider = await startFakeProvider();
  harness = await startHarness(database, provider);
  vault = harness.vault;
});
afterAll(async () => {
  harness.stop();
  await provider.stop();
  await database.close();
});
beforeEach(async () => {
  await asOwner(database, (tx) => run(tx, "DELETE FROM vault.credential_grant"));
  provider.forgetRefresh();
  Object.assign(provider.settings, { rotate: true, graceUses: 0, expiresIn: 3600, holdMs: 0 });
  for (const list of [provider.tokenRequests, provider.apiRequests, provider.tokenFaults]) list.length = 0;
  at("10:00:00");
});

const at = (time: string): void => void (harness.clock.now = new Date(`2026-11-21T${time}Z`));
const scopeOf = (credentialId: string, organizationId = "acme"): CredentialScope => ({
  ...SCOPE,
  organizationId,
  credentialId,
});
async function link(spec: Partial<OAuth2Spec> = {}, scope = SCOPE): Promise<void> {
  await harness.link({ scope, spec: { ...SPEC, ...spec } });
  provider.tokenRequests.length = 0;
}
const outcomes = async (limit = 100) => (await vault.renewDue(limit)).map(({ outcome }) => outcome);
const dueAt = async () => {
  const rows = await asOwner(database, (tx) =>
    run<{ at: string | null }>(
      tx,
      "SELECT to_char(renew_at AT TIME ZONE 'UTC', 'HH24:MI:SS') AS at FROM vault.renewal",
    ),
  );
  return rows.map((row) => row.at);
};

describe("a credential", () => {
  it("is renewed five minutes before it expires, with nobody asking for it, and not a second earlier", async () => {
    await link();
    expect(await dueAt()).toEqual(["10:55:00"]);
    at("10:54:59");
    expect(await vault.renewDue(10)).toEqual([]);
    at("10:55:00");
    expect(await vault.renewDue(10)).toEqual([{ scope: SCOPE, outcome: "renewed" }]);
    expect(provider.tokenRequests).toHaveLength(1);
    expect(await dueAt()).toEqual(["11:50:00"]);
    expect(await vault.renewDue(10)).toEqual([]);
    // The request finds a token that works, and renews nothing.
    expect((await vault.open(SCOPE, harness.use()).fetch(ME)).status).toBe(200);
    expect(provider.tokenRequests).toHaveLength(1);
  });

  it("of a short life is renewed at its half", async () => {
    provider.settings.expiresIn = 60;
    await link();
    expect(await dueAt()).toEqual(["10:00:30"]);
  });

  it("is not renewed before it is asked for when the connector wants it so", async () => {
    await link({ refresh: "on-demand" });
    at("23:00:00");
    expect(await vault.renewDue(10)).toEqual([]);
    expect((await vault.open(SCOPE, harness.use()).fetch(ME)).status).toBe(200);
    expect(provider.tokenRequests).toHaveLength(1);
  });

  it("whose expiry is not known is renewed when a request is refused, and only then", async () => {
    provider.settings.expiresIn = undefined;
    await link();
    expect(await dueAt()).toEqual([null]);
    at("23:00:00");
    expect(await vault.renewDue(10)).toEqual([]);
    provider.expireAccess();
    expect((await vault.open(SCOPE, harness.use()).fetch(ME)).status).toBe(200);
    expect(provider.tokenRequests).toHaveLength(1);
  });

  it("without a refresh token is left alone", async () => {
    provider.settings.rotate = false;
    await link();
    await link({}, scopeOf("without"));
    expect(await dueAt()).toEqual(["10:55:00", null]);
  });

  it("that was deleted is not renewed", async () => {
    await link();
    await vault.forget(SCOPE);
    at("10:56:00");
    expect(await vault.renewDue(10)).toEqual([]);
    expect(await dueAt()).toEqual([]);
  });

  it("is found by its time: of what is not due, nothing is opened", async () => {
    for (let n = 0; n < 5; n++) await link({}, scopeOf(`late-${n}`, `org-${n}`));
    at("10:30:00");
    for (let n = 0; n < 3; n++) await link({}, scopeOf(`later-${n}`));
    at("10:56:00");
    const openings = async () => {
      const [row] = await asOwner(database, (tx) =>
        run<{ n: number }>(tx, "SELECT count(*)::int AS n FROM vault.audit WHERE action = 'credential.open'"),
      );
      return row?.n ?? 0;
    };
    const before = await openings();
    expect(await outcomes(3)).toEqual(["renewed", "renewed", "renewed"]);
    expect(await outcomes(3)).toEqual(["renewed", "renewed"]);
    expect(await outcomes(3)).toEqual([]);
    expect(await openings()).toBe(before + 5);
  });
});

describe("a provider that says", () => {
  it("invalid_grant asks a person to link again, once, and is not asked again", async () => {
    await link();
    provider.forgetRefresh();
    at("10:56:00");
    expect(await outcomes()).toEqual(["reauth_required"]);
    expect(provider.tokenRequests).toHaveLength(1);
    for (const time of ["10:59:00", "12:00:00", "23:59:00"]) {
      at(time);
      expect(await outcomes()).toEqual([]);
    }
    expect(provider.tokenRequests).toHaveLength(1);
  });

  it("invalid_client says so, expires nothing, and is asked again in an hour", async () => {
    await link();
    at("10:56:00");
    provider.tokenFaults.push({ answer: json(401, { error: "invalid_client" }) });
    expect(await outcomes()).toEqual(["oauth_client_invalid"]);
    expect(await dueAt()).toEqual(["11:56:00"]);
    at("11:55:00");
    expect(await outcomes()).toEqual([]);
    at("11:56:00");
    expect(await outcomes()).toEqual(["renewed"]);
    expect(provider.tokenRequests).toHaveLength(2);
  });

  it.each([
    ["503", json(503, {})],
    ["429", json(429, { error: "slow_down" })],
    ["invalid_request", json(400, { error: "invalid_request" })],
  ] as const)("%s is asked again, later and later, and expires nothing", async (_, answer) => {
    await link();
    at("10:56:00");
    for (const due of ["10:56:30", "10:57:30", "10:59:30", "11:03:30"]) {
      provider.tokenFaults.push({ answer });
      expect(await outcomes()).toEqual(["postponed"]);
      expect(await dueAt()).toEqual([due]);
      at(due);
    }
    expect(await outcomes()).toEqual(["renewed"]);
  });

  it("no for one credential does not hold up the others", async () => {
    for (let n = 0; n < 12; n++) await link({}, scopeOf(`credential-${n}`, `org-${n % 3}`));
    at("10:56:00");
    for (let n = 0; n < 4; n++)
      provider.tokenFaults.push({ answer: json(n % 2 === 0 ? 503 : 400, { error: "invalid_client" }) });
    const all = await outcomes();
    expect(all.filter((outcome) => outcome === "renewed")).toHaveLength(8);
    expect(all).toHaveLength(12);
  });
});

describe("what a renewal was told to do", () => {
  const edits = [
    "UPDATE vault.renewal SET terms = replace(terms, 'provider.example.com', 'evil.example.com')",
    "UPDATE vault.renewal SET context_id = 'other'",
    "UPDATE vault.renewal SET signature = decode(repeat('00', 64), 'hex')",
    "UPDATE vault.renewal r SET terms = o.terms, signature = o.signature FROM vault.renewal o WHERE o.credential_id = 'other' AND r.credential_id <> 'other'",
  ];
  it.each(edits)("cannot be changed in the database: %s", async (edit) => {
    await link({}, scopeOf("other"));
    await asOwner(database, (tx) =>
      run(tx, "UPDATE vault.renewal SET renew_at = NULL, integration = 'tasks' WHERE credential_id = 'other'"),
    );
    await link({ scopeSeparator: "," });
    await asOwner(database, (tx) => run(tx, edit));
    at("10:56:00");
    expect(await outcomes()).toEqual(["credential_integrity_error"]);
    expect(await outcomes()).toEqual([]);
    // Nor by a request that is refused.
    provider.expireAccess();
    await expect(vault.open(SCOPE, harness.use()).fetch(ME)).rejects.toMatchObject({
      code: "credential_integrity_error",
    });
    expect(provider.tokenRequests).toHaveLength(0);
  });

  it("comes round again when whoever claimed it died", async () => {
    await link();
    at("10:56:00");
    provider.settings.holdMs = 50;
    // Claimed by a process that is never heard of again.
    await asOwner(database, (tx) => run(tx, "UPDATE vault.renewal SET renew_at = '2026-11-21T10:58:00Z'"));
    expect(await outcomes()).toEqual([]);
    at("10:58:00");
    expect(await outcomes()).toEqual(["renewed"]);
  });

  it("is not needed of credentials from before: they renew on demand, and in the background from then on", async () => {
    await link();
    await asOwner(database, (tx) => run(tx, "DELETE FROM vault.renewal"));
    provider.expireAccess();
    expect((await vault.open(SCOPE, harness.use()).fetch(ME)).status).toBe(200);
    expect(await dueAt()).toEqual(["10:55:00"]);
  });
});
