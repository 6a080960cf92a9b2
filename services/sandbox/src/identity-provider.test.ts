import { hash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type IdentityProvider, startIdentityProvider } from "./identity-provider.ts";

const redirectUri = "http://127.0.0.1:1/auth/callback/oidc";
const client = { clientId: "hub", clientSecret: "sandbox-only", redirectUris: [redirectUri] };
const verifier = "v".repeat(43);
let idp: IdentityProvider;
beforeAll(async () => {
  idp = await startIdentityProvider({ port: 0, clients: [client] });
});
afterAll(() => idp.close());

/** What a browser does with redirects and cookies, and no more. Stops at the client's callback. */
function visitor() {
  const jar = new Map<string, string>();
  return async (address: string, form?: Record<string, string>): Promise<{ url: URL; response?: Response }> => {
    let url = new URL(address);
    let body = form === undefined ? undefined : new URLSearchParams(form);
    for (let hops = 0; hops < 10; hops++) {
      if (url.href.startsWith(redirectUri)) return { url };
      const response = await fetch(url, {
        redirect: "manual",
        headers: { cookie: [...jar].map(([name, value]) => `${name}=${value}`).join("; ") },
        ...(body === undefined ? {} : { method: "POST", body }),
      });
      body = undefined;
      for (const cookie of response.headers.getSetCookie()) {
        const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
        jar.set(name, value);
      }
      const location = response.headers.get("location");
      if (location === null) return { url, response };
      url = new URL(location, url);
    }
    throw new Error("too many redirects");
  };
}

const authorize = () =>
  `${idp.issuer}/auth?${new URLSearchParams({
    client_id: "hub",
    redirect_uri: redirectUri,
    response_type: "code",
    scope: "openid profile email",
    state: "s",
    code_challenge: hash("sha256", verifier, "base64url"),
    code_challenge_method: "S256",
  })}`;

const exchange = (callback: URL) =>
  fetch(`${idp.issuer}/token`, {
    method: "POST",
    headers: { authorization: `Basic ${btoa("hub:sandbox-only")}` },
    body: new URLSearchParams({
      grant_type: "authorization_code",
      code: callback.searchParams.get("code") ?? "",
      redirect_uri: redirectUri,
      code_verifier: verifier,
    }),
  });

describe("the simulated identity provider", () => {
  it.each([
    ["sample", "Sample Person", "sample@example.com"],
    ["second", "Second Person", "second@example.com"],
  ])("signs %s in by redirects and one form", async (person, name, email) => {
    const visit = visitor();
    const page = await visit(authorize());
    const text = await page.response?.text();
    expect(text).toContain("Sandbox");
    expect(text).not.toMatch(/<script|https:\/\//);
    const { url } = await visit(page.url.href, { person });
    expect(url.searchParams.get("state")).toBe("s");
    const { access_token } = (await (await exchange(url)).json()) as { access_token: string };
    const claims = await fetch(`${idp.issuer}/me`, { headers: { authorization: `Bearer ${access_token}` } });
    expect(await claims.json()).toEqual({ sub: person, name, email, email_verified: true });
    expect((await exchange(url)).status).toBe(400);
  });

  it("tells the client when the person says no", async () => {
    const visit = visitor();
    const page = await visit(authorize());
    const { url } = await visit(page.url.href, { person: "" });
    expect(url.searchParams.get("error")).toBe("access_denied");
  });

  it("asks again who it is, so that one browser can become somebody else", async () => {
    const visit = visitor();
    for (const person of ["sample", "second"]) {
      const page = await visit(authorize());
      expect(page.response?.status).toBe(200);
      expect((await visit(page.url.href, { person })).url.searchParams.has("code")).toBe(true);
    }
  });

  it("refuses somebody it does not know, and a page that has ended", async () => {
    const visit = visitor();
    const page = await visit(authorize());
    expect((await visit(page.url.href, { person: "nobody" })).response?.status).toBe(400);
    expect((await fetch(`${idp.issuer}/interaction/ended`)).status).toBe(400);
  });

  it.each([
    ["another redirect URI", { redirect_uri: "http://127.0.0.1:2/elsewhere" }],
    ["an unknown client", { client_id: "stranger" }],
  ])("never redirects for %s", async (_what, change) => {
    const url = new URL(authorize());
    for (const [name, value] of Object.entries(change)) url.searchParams.set(name, value);
    const response = await fetch(url, { redirect: "manual" });
    expect([response.status, response.headers.get("location")]).toEqual([400, null]);
  });
});
