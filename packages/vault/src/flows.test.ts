import { asOwner } from "@tributary/db/testing";
import { type Database, openPglite, run } from "@tributary/db";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { ConsentCallback, ConsentRequest } from "./vault.ts";
import { CLIENT, type FakeProvider, json, reset, startFakeProvider } from "./testing/fake-provider.ts";
import { consentRequest, type Harness, PERSON, SCOPE, SPEC, startHarness } from "./testing/harness.ts";

let database: Database;
let provider: FakeProvider;
let harness: Harness;
beforeAll(async () => {
  database = await openPglite();
  provider = await startFakeProvider();
  harness = await startHarness(database, provider);
});
afterAll(async () => {
  harness.stop();
  await provider.stop();
  await database.close();
});
beforeEach(async () => {
  provider.tokenRequests.length = 0;
  provider.tokenFaults.length = 0;
  Object.assign(provider.settings, { scope: undefined, expiresIn: 3600 });
  harness.clock.now = new Date("2026-11-21T10:00:00Z");
  await asOwner(database, (tx) => run(tx, "DELETE FROM vault.credential_grant"));
  await asOwner(database, (tx) => run(tx, "DELETE FROM vault.flow"));
});

async function begun(change: Partial<ConsentRequest> = {}, query: Record<string, string> = {}) {
  const consent = await harness.vault.beginConsent(consentRequest(change));
  const callback: ConsentCallback = {
    contextId: "tasks",
    query: provider.consent(consent.url, query),
    person: PERSON,
    organizationId: "acme",
  };
  return { consent, callback, asked: new URL(consent.url) };
}

describe("a consent", () => {
  it("sends the browser to the provider with PKCE, a state and the context's own callback", async () => {
    const { asked, consent } = await begun({
      parameters: { prompt: "consent", state: "chosen", redirect_uri: "https://evil.example.com" },
    });
    expect(asked.origin).toBe(provider.origin);
    expect(Object.fromEntries(asked.searchParams)).toEqual({
      response_type: "code",
      client_id: CLIENT.clientId,
      redirect_uri: "https://hub.example.com/api/integrations/oauth/callback/tasks",
      scope: "data:read task:add",
      state: expect.stringMatching(/^[\w-]{43}$/),
      code_challenge: expect.stringMatching(/^[\w-]{43}$/),
      code_challenge_method: "S256",
      prompt: "consent",
    });
    expect(consent.expiresAt).toEqual(new Date("2026-11-21T10:10:00Z"));
  });

  it("joins scopes as the provider wants them, and leaves PKCE out where the provider cannot", async () => {
    const { asked } = await begun({ spec: { ...SPEC, scopeSeparator: ",", pkce: { none: "its server refuses it" } } });
    expect(asked.searchParams.get("scope")).toBe("data:read,task:add");
    expect(asked.searchParams.has("code_challenge")).toBe(false);
  });

  it.each(["basic", "post"] as const)("ends in a sealed grant (client authentication: %s)", async (clientAuth) => {
    const { callback, consent } = await begun({ spec: { ...SPEC, clientAuth } });
    const flow = await harness.vault.takeFlow(callback);
    expect(flow).toEqual({
      flowId: consent.flowId,
      scope: SCOPE,
      connectionId: "connection-1",
      contextId: "tasks",
      code: callback.query.get("code"),
    });
    const grant = await harness.vault.redeem(flow, flow.code);
    expect(Object.keys(grant.secretIds)).toEqual(["access_token", "refresh_token"]);
    expect(grant.scopes).toEqual(["data:read", "task:add"]);
    expect(grant.expiresAt).toEqual(new Date("2026-11-21T11:00:00Z"));
    expect(await harness.vault.describe(SCOPE)).toEqual(grant);
  });

  it.each(["data:read data:delete", "data:read,data:delete", "data:read, data:delete"])(
    "keeps the scopes that were granted, written as %j",
    async (scope) => {
      provider.settings.scope = scope;
      expect((await harness.link()).scopes).toEqual(["data:read", "data:delete"]);
    },
  );

  it("has no expiry when the provider names none", async () => {
    provider.settings.expiresIn = undefined;
    expect((await harness.link()).expiresAt).toBeUndefined();
  });

  it("is redeemed once", async () => {
    const { callback } = await begun();
    const flow = await harness.vault.takeFlow(callback);
    await harness.vault.redeem(flow, flow.code);
    await expect(harness.vault.redeem(flow, flow.code)).rejects.toMatchObject({ code: "oauth_state_invalid" });
    await expect(harness.vault.redeem({ ...flow }, flow.code)).rejects.toMatchObject({ code: "oauth_state_invalid" });
    expect(provider.tokenRequests).toHaveLength(1);
  });
});

describe("a callback", () => {
  const others: [string, Partial<ConsentCallback>][] = [
    ["another person", { person: { ...PERSON, userId: "user-2" } }],
    ["another session", { person: { ...PERSON, sessionHash: "0ther" } }],
    ["another organisation", { organizationId: "globex" }],
    ["another context", { contextId: "calendar" }],
  ];
  it.each(others)("of %s is refused, and uses the flow up", async (_, change) => {
    const { callback } = await begun();
    await expect(harness.vault.takeFlow({ ...callback, ...change })).rejects.toMatchObject({
      code: "oauth_session_mismatch",
    });
    await expect(harness.vault.takeFlow(callback)).rejects.toMatchObject({ code: "oauth_state_invalid" });
    expect(provider.tokenRequests).toHaveLength(0);
  });

  it("wins once of fifty at the same time", async () => {
    const { callback } = await begun();
    const taken = await Promise.allSettled(Array.from({ length: 50 }, () => harness.vault.takeFlow(callback)));
    expect(taken.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const { reason } of taken.filter((result) => result.status === "rejected"))
      expect(reason).toMatchObject({ code: "oauth_state_invalid" });
  });

  it("comes too late after ten minutes", async () => {
    const { callback } = await begun();
    harness.clock.now = new Date("2026-11-21T10:10:00Z");
    await expect(harness.vault.takeFlow(callback)).rejects.toMatchObject({ code: "oauth_state_invalid" });
  });

  it.each(["code", "state", "iss", "anything"])("with %s twice is refused", async (name) => {
    const { callback } = await begun();
    for (const value of name === "code" || name === "state" ? ["x"] : ["x", "x"]) callback.query.append(name, value);
    await expect(harness.vault.takeFlow(callback)).rejects.toMatchObject({ code: "oauth_state_invalid" });
  });

  it.each([undefined, "", "unknown"])("with the state %j is refused", async (state) => {
    const query = new URLSearchParams({ code: "c", ...(state === undefined ? {} : { state }) });
    const callback = { contextId: "tasks", query, person: PERSON, organizationId: "acme" };
    await expect(harness.vault.takeFlow(callback)).rejects.toMatchObject({ code: "oauth_state_invalid" });
  });

  it("that says no is a refusal of the person or of the provider", async () => {
    const denied = await begun({}, { error: "access_denied" });
    await expect(harness.vault.takeFlow(denied.callback)).rejects.toMatchObject({
      code: "oauth_denied",
      detail: "access_denied",
    });
    const broken = await begun({}, { error: "invalid_scope" });
    await expect(harness.vault.takeFlow(broken.callback)).rejects.toMatchObject({
      code: "oauth_provider_error",
      detail: "invalid_scope",
    });
    const hostile = await begun({}, { error: "<script>alert(1)</script>" });
    await expect(harness.vault.takeFlow(hostile.callback)).rejects.toMatchObject({
      code: "oauth_provider_error",
      detail: undefined,
    });
    const empty = await begun({}, { code: "" });
    await expect(harness.vault.takeFlow(empty.callback)).rejects.toMatchObject({ code: "oauth_provider_error" });
  });

  it("must name the issuer when the provider does that, also when it refuses", async () => {
    const spec = { ...SPEC, issuer: "https://provider.example.com" };
    const good = await begun({ spec }, { iss: spec.issuer });
    const flow = await harness.vault.takeFlow(good.callback);
    await expect(harness.vault.redeem(flow, flow.code)).resolves.toBeDefined();
    for (const query of [{}, { iss: "https://evil.example.com" }, { error: "access_denied" }] as Record<
      string,
      string
    >[]) {
      const { callback } = await begun({ spec }, query);
      await expect(harness.vault.takeFlow(callback)).rejects.toMatchObject({ code: "oauth_issuer_mismatch" });
    }
  });

  const edits = [
    "user_id = 'user-2'",
    "organization_id = 'globex'",
    "spec = replace(spec, 'provider', 'evil')",
    "credential_id = 'c2'",
    "expires_at = expires_at + interval '1 day'",
    "kek_id = 'other'",
  ];
  it.each(edits)("of a flow that was edited in the database (%s) is refused", async (edit) => {
    const { callback } = await begun();
    await asOwner(database, (tx) => run(tx, `UPDATE vault.flow SET ${edit}`));
    await expect(harness.vault.takeFlow(callback)).rejects.toMatchObject({ code: "oauth_state_invalid" });
  });
});

describe("an exchange", () => {
  it("with a code that the provider does not know is rejected, and nothing is stored", async () => {
    const { callback } = await begun({}, { code: "canary-wrong-code" });
    const flow = await harness.vault.takeFlow(callback);
    await expect(harness.vault.redeem(flow, flow.code)).rejects.toMatchObject({
      code: "oauth_exchange_rejected",
      detail: "invalid_grant",
    });
    expect(await harness.vault.describe(SCOPE)).toBeUndefined();
  });

  it("proves that the verifier is the flow's own: a code of another flow is rejected", async () => {
    const [mine, theirs] = [await begun(), await begun()];
    const flow = await harness.vault.takeFlow(mine.callback);
    const stolen = theirs.callback.query.get("code") ?? "";
    await expect(harness.vault.redeem(flow, stolen)).rejects.toMatchObject({ code: "oauth_exchange_rejected" });
  });

  const failures: [string, Parameters<typeof json>, string][] = [
    ["503 without JSON", [503, "gone"], "provider_unavailable"],
    ["429 with an error", [429, { error: "slow_down" }], "provider_unavailable"],
    ["200 without a token type", [200, { access_token: "canary-at-untyped" }], "provider_unavailable"],
    [
      "invalid_client behind WWW-Authenticate",
      [401, { error: "invalid_client" }, { "www-authenticate": "Basic" }],
      "oauth_client_invalid",
    ],
    ["401 without an error", [401, {}], "oauth_client_invalid"],
    ["Todoist's name for a bad client", [400, { error: "incorrect_application_credentials" }], "oauth_client_invalid"],
    ["Todoist's name for a bad code", [400, { error: "bad_authorization_code" }], "oauth_exchange_rejected"],
    ["an error with status 200", [200, { error: "invalid_grant" }], "oauth_exchange_rejected"],
    ["a redirect", [302, {}, { location: "https://evil.example.com" }], "oauth_exchange_rejected"],
    [
      "a token with a line break",
      [200, { access_token: "canary-at\r\nx", token_type: "bearer" }],
      "provider_unavailable",
    ],
  ];
  it.each(failures)("answered with %s is judged by its meaning", async (_, [status, body, headers], code) => {
    const { callback } = await begun();
    const flow = await harness.vault.takeFlow(callback);
    provider.tokenFaults.push({ answer: json(status, body, headers) });
    await expect(harness.vault.redeem(flow, flow.code)).rejects.toMatchObject({ name: "VaultError", code });
    expect(await harness.vault.describe(SCOPE)).toBeUndefined();
  });

  it("without an answer is unavailable, and is not sent twice", async () => {
    const { callback } = await begun();
    const flow = await harness.vault.takeFlow(callback);
    provider.tokenFaults.push({ answer: reset });
    await expect(harness.vault.redeem(flow, flow.code)).rejects.toMatchObject({ code: "provider_unavailable" });
    expect(provider.tokenRequests).toHaveLength(1);
  });

  it("never believes an ID token, and does not stumble over one", async () => {
    const { callback } = await begun();
    const flow = await harness.vault.takeFlow(callback);
    provider.tokenFaults.push({
      answer: json(200, { access_token: "canary-at-1", token_type: "bearer", id_token: "a.b.c", scope: ["x", "y"] }),
    });
    expect(await harness.vault.redeem(flow, flow.code)).toMatchObject({ scopes: ["x", "y"] });
  });
});

describe("housekeeping", () => {
  it("deletes flows that expired and credentials that nobody accepted within the hour", async () => {
    await begun();
    const { callback } = await begun();
    const flow = await harness.vault.takeFlow(callback);
    await harness.vault.redeem(flow, flow.code);
    await harness.vault.sweep();
    expect(await harness.vault.describe(SCOPE)).toBeDefined();
    harness.clock.now = new Date("2026-11-21T11:00:01Z");
    await harness.vault.sweep();
    expect(await harness.vault.describe(SCOPE)).toBeUndefined();
    expect(
      await asOwner(database, (tx) => run(tx, "SELECT 1 FROM vault.flow UNION ALL SELECT 1 FROM vault.secret")),
    ).toEqual([]);
  });

  it("keeps what was accepted, and forgets it once", async () => {
    await harness.link();
    harness.clock.now = new Date("2026-11-22T10:00:00Z");
    await harness.vault.sweep();
    await harness.vault.accept(SCOPE);
    expect(await harness.vault.forget({ ...SCOPE, organizationId: "globex" })).toBe(0);
    expect(await harness.vault.forget(SCOPE)).toBe(2);
    expect(await harness.vault.forget(SCOPE)).toBe(0);
    await expect(harness.vault.accept(SCOPE)).rejects.toMatchObject({ code: "credential_missing" });
  });
});
