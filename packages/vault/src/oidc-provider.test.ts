import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Database, migrate, openPglite } from "@tributary/db";
import type { OAuth2Spec } from "@tributary/sdk";
import Provider from "oidc-provider";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { migrations, openVault, type Vault } from "./index.ts";
import type { CredentialScope, CredentialUse } from "./vault.ts";

/** A certified authorization server that is not ours, so that our own idea of OAuth is not the only one that we meet. */
const ISSUER = "https://as.example.com";
const CLIENT = { clientId: "hub", clientSecret: "canary-hub-secret-at-the-honest-one" };
const CALLBACK = "https://hub.example.com/api/integrations/oauth/callback/honest";
const SPEC: OAuth2Spec = {
  authorizationUrl: `${ISSUER}/auth`,
  tokenUrl: `${ISSUER}/token`,
  revocation: `${ISSUER}/token/revocation`,
  issuer: ISSUER,
};
const SCOPE: CredentialScope = {
  organizationId: "acme",
  integration: "honest",
  owner: { kind: "user", id: "user-1" },
  credentialId: "credential-1",
};
const PERSON = { userId: "user-1", sessionHash: "5e55" };
const ME = `${ISSUER}/me`;

let database: Database;
let server: Server;
let origin = "";
let folder = "";
let vault: Vault;
const clock = { now: new Date() };
const tokenAnswers: number[] = [];

beforeAll(async () => {
  server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  serveHonestly(server);
  database = await openPglite();
  await migrate(database, [migrations]);
  folder = mkdtempSync(join(tmpdir(), "tributary-honest-"));
  vault = await openVault({
    database,
    keys: { file: join(folder, "keys.json") },
    clients: [{ contextId: "honest", integration: "honest", ...CLIENT }],
    publicOrigin: "https://hub.example.com",
    origins: new Map([[ISSUER, origin]]),
    now: () => clock.now,
  });
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await database.close();
  rmSync(folder, { recursive: true, force: true });
});

function serveHonestly(on: Server): void {
  const provider = new Provider(ISSUER, {
    clients: [
      {
        client_id: CLIENT.clientId,
        client_secret: CLIENT.clientSecret,
        redirect_uris: [CALLBACK],
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
      },
    ],
    cookies: { keys: [randomBytes(32).toString("hex")] },
    features: { devInteractions: { enabled: false }, revocation: { enabled: true, allowedPolicy: () => true } },
    pkce: { required: () => true },
    scopes: ["openid", "offline_access"],
    issueRefreshToken: async () => true,
    rotateRefreshToken: () => true,
    ttl: {
      AccessToken: 3600,
      AuthorizationCode: 60,
      Grant: 86_400,
      IdToken: 3600,
      Interaction: 600,
      RefreshToken: 86_400,
      Session: 600,
    },
    interactions: { url: (_, { uid }) => `/interaction/${uid}` },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    loadExistingGrant: async ({ oidc }) => {
      const grant = new oidc.provider.Grant({
        clientId: CLIENT.clientId,
        ...(oidc.session?.accountId === undefined ? {} : { accountId: oidc.session.accountId }),
      });
      grant.addOIDCScope("openid offline_access");
      await grant.save();
      return grant;
    },
  });
  const protocol = provider.callback();
  on.on("request", (request, response) => {
    if (request.url === "/token") response.on("finish", () => tokenAnswers.push(response.statusCode));
    if (request.url?.startsWith("/interaction/") === true)
      void provider.interactionFinished(request, response, { login: { accountId: "person-1" }, consent: {} });
    else void protocol(request, response);
  });
}

/** What a browser does: follows redirects with its cookies until it is sent to the hub. */
async function consentInBrowser(start: string): Promise<URLSearchParams> {
  const cookies = new Map<string, string>();
  let url = new URL(start);
  for (let steps = 0; steps < 10; steps++) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const response = await fetch(url, { redirect: "manual", headers: { cookie } });
    for (const set of response.headers.getSetCookie()) {
      const [name = "", value = ""] = (set.split(";")[0] ?? "").split("=");
      cookies.set(name, value);
    }
    url = new URL(response.headers.get("location") ?? "", url);
    if (url.origin === "https://hub.example.com") return url.searchParams;
  }
  throw new Error("the browser was sent around too often");
}

async function link(): Promise<void> {
  const { url } = await vault.beginConsent({
    scope: SCOPE,
    person: PERSON,
    spec: SPEC,
    scopes: ["openid", "offline_access"],
    parameters: { prompt: "consent" },
    connectionId: "connection-1",
  });
  const query = await consentInBrowser(url);
  expect(query.get("iss")).toBe(ISSUER);
  const flow = await vault.takeFlow({ contextId: "honest", query, person: PERSON, organizationId: "acme" });
  const grant = await vault.redeem(flow, flow.code);
  expect(grant).toMatchObject({ scopes: ["openid", "offline_access"], expiresAt: expect.any(Date) });
  await vault.accept(SCOPE);
}

const use = (purpose: CredentialUse["purpose"] = "sync"): CredentialUse => ({
  spec: SPEC,
  hosts: ["as.example.com"],
  purpose,
  correlationId: "run-1",
  signal: AbortSignal.timeout(30_000),
});
const me = async () => (await vault.open(SCOPE, use()).fetch(ME)).status;

describe("with an authorization server of somebody else's", () => {
  it("a credential goes the whole way: consent with PKCE, use, rotation in the background, revocation", async () => {
    await link();
    expect(await me()).toBe(200);
    const began = clock.now;
    for (let round = 1; round <= 3; round++) {
      clock.now = new Date(clock.now.getTime() + 3_400_000);
      // Its refresh tokens are rotated, and a used one that came again would end them all.
      expect((await vault.renewDue(10)).map(({ outcome }) => outcome)).toEqual(["renewed"]);
      expect(await me()).toBe(200);
    }
    expect(tokenAnswers).toEqual([200, 200, 200, 200]);

    expect(await vault.open(SCOPE, use("revoke")).revoke()).toBe("revoked");
    await expect(me()).rejects.toMatchObject({ code: "reauth_required", detail: "invalid_grant" });
    expect(tokenAnswers.slice(4)).not.toContain(200);
    clock.now = began;
  });

  it("a code works once, and with its own verifier alone", async () => {
    const begin = async () => {
      const request = { scope: SCOPE, person: PERSON, spec: SPEC, scopes: ["openid"], connectionId: "connection-1" };
      const { url } = await vault.beginConsent(request);
      const query = await consentInBrowser(url);
      return vault.takeFlow({ contextId: "honest", query, person: PERSON, organizationId: "acme" });
    };
    const [mine, theirs] = [await begin(), await begin()];
    await expect(vault.redeem(mine, theirs.code)).rejects.toMatchObject({
      code: "oauth_exchange_rejected",
      detail: "invalid_grant",
    });
    const third = await begin();
    await vault.redeem(third, third.code);
    const fourth = await begin();
    await expect(vault.redeem(fourth, third.code)).rejects.toMatchObject({ code: "oauth_exchange_rejected" });
  });

  it("a request without a challenge is refused there, and comes back as the provider's own error", async () => {
    const { url } = await vault.beginConsent({
      scope: SCOPE,
      person: PERSON,
      spec: { ...SPEC, pkce: { none: "to see that the server insists" } },
      scopes: ["openid"],
      connectionId: "connection-1",
    });
    const query = await consentInBrowser(url);
    const callback = { contextId: "honest", query, person: PERSON, organizationId: "acme" };
    await expect(vault.takeFlow(callback)).rejects.toMatchObject({
      code: "oauth_provider_error",
      detail: "invalid_request",
    });
  });
});
