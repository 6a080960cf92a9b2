import { createHmac } from "node:crypto";
import { type Database, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import type { OAuth2Spec } from "@tributary/sdk";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { CLIENT, type FakeProvider, startFakeProvider } from "./testing/fake-provider.ts";
import { consentRequest, type Harness, ME, PERSON, SCOPE, SPEC, startHarness } from "./testing/harness.ts";
import type { ClientRequest, ClientSummary, ConsentRequest, Vault } from "./vault.ts";

const OWN = { clientId: "acme-client", clientSecret: "canary-acme-secret-77c" };
const PER_TENANT: OAuth2Spec = {
  authorizationUrl: "https://{subdomain}.people.example.com/oauth/authorize",
  tokenUrl: "https://{subdomain}.people.example.com/oauth/token",
  revocation: "https://{subdomain}.people.example.com/oauth/revoke",
};
const TENANT_HOST = "{subdomain}.people.example.com";

let database: Database;
let provider: FakeProvider;
let other: FakeProvider;
let harness: Harness;
let vault: Vault;
beforeAll(async () => {
  database = await openPglite();
  [provider, other] = [await startFakeProvider(), await startFakeProvider()];
  harness = await startHarness(database, provider);
  const deployment = [
    { contextId: "tasks", integration: "tasks", ...CLIENT },
    { contextId: "tasks.second", integration: "tasks", clientId: "client-2", clientSecret: "canary-second" },
    { contextId: "people", integration: "people", ...CLIENT },
  ];
  vault = await harness.another({
    clients: deployment,
    origins: new Map([
      ["https://provider.example.com", provider.origin],
      ["https://acme.people.example.com", provider.origin],
      ["https://globex.people.example.com", other.origin],
    ]),
  });
  provider.clients.set("client-2", "canary-second").set(OWN.clientId, OWN.clientSecret);
  other.clients.set(OWN.clientId, OWN.clientSecret);
});
afterAll(async () => {
  harness.stop();
  await Promise.all([provider.stop(), other.stop()]);
  await database.close();
});
beforeEach(async () => {
  await asOwner(database, (tx) => run(tx, "DELETE FROM vault.credential_grant"));
  for (const { tokenRequests, tokenFaults, revocations, apiRequests } of [provider, other])
    for (const list of [tokenRequests, tokenFaults, revocations, apiRequests]) list.length = 0;
});

const put = (change: Partial<ClientRequest> = {}): Promise<ClientSummary> =>
  vault.putClient({ organizationId: "acme", integration: "tasks", spec: SPEC, ...OWN, ...change });

async function begin(change: Partial<ConsentRequest> = {}) {
  const { url } = await vault.beginConsent(consentRequest(change));
  const asked = new URL(url);
  return { asked, clientId: asked.searchParams.get("client_id"), redirectUri: asked.searchParams.get("redirect_uri") };
}

async function link(contextId: string, change: Partial<ConsentRequest> = {}, at = provider) {
  const { url } = await vault.beginConsent(consentRequest(change));
  const organizationId = change.scope?.organizationId ?? "acme";
  const flow = await vault.takeFlow({ contextId, query: at.consent(url), person: PERSON, organizationId });
  const grant = await vault.redeem(flow, flow.code);
  await vault.accept(flow.scope);
  return grant;
}

describe("a deployment's clients", () => {
  it("are several for one integration, each with its own callback", async () => {
    expect(await begin()).toMatchObject({ clientId: "client-1", redirectUri: expect.stringMatching(/\/tasks$/) });
    expect(await begin({ contextId: "tasks.second" })).toMatchObject({
      clientId: "client-2",
      redirectUri: "https://hub.example.com/api/integrations/oauth/callback/tasks.second",
    });
    await link("tasks.second", { contextId: "tasks.second" });
    provider.expireAccess();
    // The client that linked is the one that renews.
    expect((await vault.open(SCOPE, harness.use()).fetch(ME)).status).toBe(200);
    expect(provider.tokenRequests).toHaveLength(2);
  });

  it("answer to their own context alone", async () => {
    const { url } = await vault.beginConsent(consentRequest({ contextId: "tasks.second" }));
    const callback = { query: provider.consent(url), person: PERSON, organizationId: "acme" };
    await expect(vault.takeFlow({ ...callback, contextId: "tasks" })).rejects.toMatchObject({
      code: "oauth_session_mismatch",
    });
    expect(provider.tokenRequests).toHaveLength(0);
  });

  it.each(["people", "unknown", ""])("are not lent to another integration (%j)", async (contextId) => {
    await expect(begin({ contextId })).rejects.toMatchObject({ code: "oauth_client_invalid" });
  });
});

describe("an organisation's own client", () => {
  it("is what its people link with, renew with and leave with; nobody else does", async () => {
    const { contextId, redirectUri, ...summary } = await put();
    expect(contextId).toMatch(/^tasks\.[\w-]{22}$/);
    expect(redirectUri).toBe(`https://hub.example.com/api/integrations/oauth/callback/${contextId}`);
    expect(summary).toEqual({ integration: "tasks", clientId: OWN.clientId, tokenHost: "provider.example.com" });
    expect(await vault.listClients("acme")).toEqual([{ contextId, redirectUri, ...summary }]);
    expect(await vault.listClients("globex")).toEqual([]);

    expect(await begin()).toMatchObject({ clientId: OWN.clientId, redirectUri });
    expect(await begin({ scope: { ...SCOPE, organizationId: "globex" } })).toMatchObject({ clientId: "client-1" });
    await link(contextId);
    provider.expireAccess();
    expect((await vault.open(SCOPE, harness.use()).fetch(ME)).status).toBe(200);
    expect(await vault.open(SCOPE, harness.use({ purpose: "revoke" })).revoke()).toBe("revoked");
    expect([provider.tokenRequests.length, provider.revocations.length]).toEqual([2, 2]);
  });

  it("cannot be used by another organisation, not even by name", async () => {
    const { contextId } = await put();
    const scope = { ...SCOPE, organizationId: "globex" };
    await expect(begin({ scope, contextId })).rejects.toMatchObject({ code: "oauth_client_invalid" });
    await expect(begin({ scope: { ...SCOPE, integration: "people" }, contextId })).rejects.toMatchObject({
      code: "oauth_client_invalid",
    });
    await expect(put({ organizationId: "globex", contextId })).rejects.toMatchObject({ code: "credential_missing" });
    expect(await vault.removeClient("globex", contextId)).toBe(false);
    expect(await vault.listClients("acme")).toHaveLength(1);
  });

  it("cannot take a name: not a deployment's, not another's, not one of its choice", async () => {
    for (const contextId of ["tasks", "tasks.second", "tasks.aaaaaaaaaaaaaaaaaaaaaa", "../tasks"])
      await expect(put({ contextId })).rejects.toMatchObject({ code: "credential_missing" });
    expect(new Set((await Promise.all([put(), put(), put()])).map(({ contextId }) => contextId)).size).toBe(3);
  });

  it("has its secret nowhere in the clear, and audits every opening", async () => {
    const { contextId } = await put();
    await link(contextId);
    const rows = await asOwner(database, async (tx) =>
      Promise.all(
        ["oauth_client", "credential_grant", "secret", "renewal", "flow"].map((table) =>
          run(tx, `SELECT t::text AS row FROM vault.${table} AS t`),
        ),
      ),
    );
    const text = JSON.stringify(rows);
    for (const form of [OWN.clientSecret, Buffer.from(OWN.clientSecret).toString("hex")])
      expect(text).not.toContain(form);
    expect(text).toContain(OWN.clientId);
  });

  it("can be corrected, and the links that were made with it go on", async () => {
    const { contextId } = await put({ clientSecret: "canary-typo" });
    await expect(link(contextId)).rejects.toMatchObject({ code: "oauth_client_invalid" });
    expect(await put({ contextId })).toMatchObject({ contextId });
    await link(contextId);
    provider.clients.set(OWN.clientId, "canary-changed-at-the-provider");
    provider.expireAccess();
    await expect(vault.open(SCOPE, harness.use()).fetch(ME)).rejects.toMatchObject({ code: "oauth_client_invalid" });
    await put({ contextId, clientSecret: "canary-changed-at-the-provider" });
    expect((await vault.open(SCOPE, harness.use()).fetch(ME)).status).toBe(200);
    provider.clients.set(OWN.clientId, OWN.clientSecret);
  });

  it("that was removed leaves its links unable to renew, and asks nobody to link again", async () => {
    const { contextId } = await put();
    await link(contextId);
    expect([await vault.removeClient("acme", contextId), await vault.removeClient("acme", contextId)]).toEqual([
      true,
      false,
    ]);
    expect((await vault.open(SCOPE, harness.use()).fetch(ME)).status).toBe(200);
    provider.expireAccess();
    await expect(vault.open(SCOPE, harness.use()).fetch(ME)).rejects.toMatchObject({ code: "oauth_client_invalid" });
    expect(await begin()).toMatchObject({ clientId: "client-1" });
  });

  it("is not chosen for anybody when there are several: who names none links with the deployment's", async () => {
    const { contextId } = await put();
    await put({ clientId: "acme-second" });
    expect(await begin()).toMatchObject({ clientId: "client-1" });
    expect(await begin({ contextId })).toMatchObject({ clientId: OWN.clientId });
    const alone = await harness.another({ clients: [] });
    await expect(alone.beginConsent(consentRequest())).rejects.toMatchObject({ code: "oauth_config_incomplete" });
  });

  it("has in the audit who entered it and who removed it", async () => {
    const { contextId } = await put({ actor: "user-ada" });
    await vault.removeClient("acme", contextId, "user-grace");
    const entries = await asOwner(database, (tx) =>
      run<{ action: string; actor: string }>(
        tx,
        "SELECT action, actor FROM vault.audit WHERE credential_id = $1 AND actor <> 'vault' ORDER BY sequence",
        [`client:${contextId}`],
      ),
    );
    expect(entries).toEqual([
      { action: "client.put", actor: "user-ada" },
      { action: "credential.delete", actor: "user-grace" },
    ]);
  });

  it("signs its own webhooks, and no other's", async () => {
    const { contextId } = await put();
    const body = Buffer.from("{}");
    const sign = (secret: string) => new Uint8Array(createHmac("sha256", secret).update(body).digest());
    const verify = (context: string, by: Uint8Array) => vault.verifySignature(context, "hmac-sha256", body, by);
    // It may speak for its own organisation and integration; the deployment's client for every organisation.
    const acme = { integration: "tasks", organizationId: "acme" };
    expect(await verify(contextId, sign(OWN.clientSecret))).toEqual(acme);
    expect(await verify(contextId, sign(CLIENT.clientSecret))).toBeUndefined();
    const everybody = { integration: "tasks", organizationId: undefined };
    expect(await verify("tasks", sign(CLIENT.clientSecret))).toEqual(everybody);
    expect(await verify("tasks.aaaaaaaaaaaaaaaaaaaaaa", sign(OWN.clientSecret))).toBeUndefined();
    expect(await verify("'; DROP TABLE vault.flow", sign(OWN.clientSecret))).toBeUndefined();
  });

  const evil = { ...SPEC, tokenUrl: "https://evil.example.com/oauth/token" };
  const toGlobex = ["oauth_client", "credential_grant", "secret"].map(
    (table) => `UPDATE vault.${table} SET organization_id = 'globex'`,
  );
  it.each([
    ["client id", ["UPDATE vault.oauth_client SET client_id = 'mallory'"], {}, "oauth_client_invalid"],
    ["host", ["UPDATE vault.oauth_client SET token_host = 'evil.example.com'"], { spec: evil }, "oauth_client_invalid"],
    [
      "secret's host",
      [
        "UPDATE vault.secret SET field = replace(field, 'provider', 'evil')",
        "UPDATE vault.credential_grant SET secret_ids = replace(secret_ids::text, 'provider', 'evil')::jsonb",
      ],
      { spec: evil },
      "credential_integrity_error",
    ],
    ["organisation", toGlobex, { scope: { ...SCOPE, organizationId: "globex" } }, "oauth_client_invalid"],
  ] as const)("whose %s was edited in the database sends its secret nowhere", async (_, edits, change, code) => {
    const { contextId } = await put();
    await asOwner(database, async (tx) => {
      await run(tx, "SET LOCAL session_replication_role = replica");
      for (const edit of edits) await run(tx, edit);
    });
    await expect(begin({ contextId, ...change })).rejects.toMatchObject({ code });
  });

  it("has to be entered again when the token endpoint is on another host", async () => {
    const { contextId } = await put();
    const moved = { ...SPEC, tokenUrl: "https://elsewhere.example.com/oauth/token" };
    await expect(begin({ contextId, spec: moved })).rejects.toMatchObject({ code: "oauth_client_invalid" });
    expect(await put({ contextId, spec: moved })).toMatchObject({ tokenHost: "elsewhere.example.com" });
    expect((await begin({ contextId, spec: moved })).clientId).toBe(OWN.clientId);
    await expect(begin({ contextId })).rejects.toMatchObject({ code: "oauth_client_invalid" });
  });
});

describe("a provider with an address for each tenant", () => {
  const scope = { ...SCOPE, integration: "people" };
  const spec = PER_TENANT;
  const use = (change = {}) => harness.use({ spec, hosts: [TENANT_HOST], ...change });

  it("is spoken to at the tenant's own address, from consent to revocation", async () => {
    await link("people", { scope, spec, values: { subdomain: "acme" } });
    provider.expireAccess();
    for (const url of ["https://acme.people.example.com/v1/me", `https://${TENANT_HOST}/v1/me`])
      expect((await vault.open(scope, use()).fetch(url)).status).toBe(200);
    expect(await vault.open(scope, use()).revoke()).toBe("revoked");
    expect([provider.tokenRequests.length, provider.revocations.length, other.tokenRequests.length]).toEqual([2, 2, 0]);
  });

  it.each(["globex.people.example.com", "people.example.com", "x.acme.people.example.com", "evil.example.com"])(
    "is not spoken to at %s with this tenant's credential",
    async (host) => {
      await link("people", { scope, spec, values: { subdomain: "acme" } });
      await expect(vault.open(scope, use()).fetch(`https://${host}/v1/me`)).rejects.toMatchObject({
        code: "url_not_allowed",
      });
      expect(other.apiRequests).toHaveLength(0);
    },
  );

  it("needs the tenant's name before anything is sent", async () => {
    await expect(begin({ scope, spec })).rejects.toMatchObject({ code: "oauth_config_incomplete" });
    await expect(begin({ scope, spec, values: { subdomain: "evil.example.com/#" } })).rejects.toMatchObject({
      code: "url_not_allowed",
    });
  });

  it("gets an organisation's client secret at the tenant that it was entered for, and at no other", async () => {
    const own = { spec, integration: "people", values: { subdomain: "acme" } };
    const { contextId, tokenHost } = await put(own);
    expect(tokenHost).toBe("acme.people.example.com");
    const globex = { scope, spec, values: { subdomain: "globex" } };
    await expect(begin(globex)).rejects.toMatchObject({ code: "oauth_client_invalid" });
    await put({ ...own, contextId, values: { subdomain: "globex" } });
    await link(contextId, globex, other);
    expect([provider.tokenRequests.length, other.tokenRequests.length]).toEqual([0, 1]);
  });
});

describe("a credential whose connector moved its token endpoint", () => {
  const moved = { ...SPEC, tokenUrl: "https://new.example.com/oauth/token" };

  it("is not sent there: the person links again", async () => {
    await link("tasks");
    provider.expireAccess();
    await expect(vault.open(SCOPE, harness.use({ spec: moved })).fetch(ME)).rejects.toMatchObject({
      code: "reauth_required",
      detail: "host_changed",
    });
    expect(provider.tokenRequests).toHaveLength(1);
  });

  it("is, when the connector says which host it was before", async () => {
    await link("tasks");
    provider.expireAccess();
    const origins = new Map([
      ["https://provider.example.com", provider.origin],
      ["https://new.example.com", provider.origin],
    ]);
    const upgraded = await harness.another({ origins });
    const spec = { ...moved, formerTokenHosts: ["provider.example.com"] };
    expect((await upgraded.open(SCOPE, harness.use({ spec })).fetch(ME)).status).toBe(200);
    // From now on it is bound to the new one.
    provider.expireAccess();
    expect((await upgraded.open(SCOPE, harness.use({ spec: moved })).fetch(ME)).status).toBe(200);
  });
});
