import { Hono } from "hono";
import { hash, randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { createClock } from "./clock.ts";
import { createJournal } from "./journal.ts";
import { oauthRoutes } from "./oauth-routes.ts";
import { createOAuthServer, type OAuthQuirks } from "./oauth-server.ts";

const redirectUri = "https://app.example.com/callback";
const client = { clientId: "app", clientSecret: "s3cret", redirectUris: [redirectUri], name: "The <App>" };
const account = { id: "1", name: "Sample Person", email: "sample@example.com" };
const verifier = "v".repeat(50);
const standard: OAuthQuirks = {
  provider: "Provider",
  paths: { authorize: "/authorize", token: "/token", revoke: "/revoke" },
  scopes: { read: "Read", write: "Write" },
  scopeSeparator: " ",
  tokenContentTypes: ["form"],
  pkce: "required",
  clientAuth: ["basic"],
  refresh: "rotate",
  expiresInSeconds: 3600,
};

interface Answer {
  readonly status: number;
  readonly body: Record<string, string>;
}

/** An authorization server without a socket, and what a client and a browser do to it. */
function start(quirks: Partial<OAuthQuirks> = {}) {
  const app = new Hono();
  const clock = createClock();
  const journal = createJournal();
  const random = (bytes: number): string => randomBytes(bytes).toString("hex");
  const all = { ...standard, ...quirks };
  const second = { ...account, id: "2", name: "Second Person" };
  const other = { ...client, clientId: "other", redirectUris: [redirectUri, `${redirectUri}/2`] };
  const server = createOAuthServer({
    quirks: all,
    clients: [client, other],
    accounts: [account, second],
    clock,
    journal,
    random,
    tokenPrefix: "canary-",
  });
  oauthRoutes(app, server, random);
  const authorize = (change: Record<string, string | undefined> = {}): Promise<Response> => {
    const parameters = {
      response_type: "code",
      client_id: "app",
      redirect_uri: redirectUri,
      scope: ["read", "write"].join(all.scopeSeparator),
      state: "the state",
      code_challenge: hash("sha256", verifier, "base64url"),
      code_challenge_method: "S256",
      ...change,
    };
    const given = Object.entries(parameters).filter((pair): pair is [string, string] => pair[1] !== undefined);
    return Promise.resolve(app.request(`/authorize?${new URLSearchParams(given)}`));
  };
  const decide = async (
    page: Response,
    decision: string,
    more: readonly (readonly [string, string])[] = [["account", "1"]],
  ) => {
    const request = /name="request" value="([^"]+)"/.exec(await page.clone().text())?.[1] ?? "";
    const body = new URLSearchParams([["request", request], ["decision", decision], ...more] as [string, string][]);
    return app.request("/authorize", { method: "POST", body });
  };
  const backTo = (answer: Response): Record<string, string> =>
    Object.fromEntries(new URL(answer.headers.get("location") ?? "").searchParams);
  const codeFor = async (change: Record<string, string | undefined> = {}): Promise<string> =>
    backTo(await decide(await authorize(change), "allow"))["code"] ?? "";
  const post = async (
    path: string,
    fields: Record<string, string>,
    headers: Record<string, string> = {},
  ): Promise<Answer> => {
    const authorization = `Basic ${btoa("app:s3cret")}`;
    const answer = await app.request(path, {
      method: "POST",
      body: new URLSearchParams(fields),
      headers: { authorization, ...headers },
    });
    return { status: answer.status, body: (await answer.json().catch(() => ({}))) as Record<string, string> };
  };
  const exchange = (code: string, change: Record<string, string> = {}): Promise<Answer> =>
    post("/token", {
      grant_type: "authorization_code",
      code,
      redirect_uri: redirectUri,
      code_verifier: verifier,
      ...change,
    });
  const refresh = (refresh_token = ""): Promise<Answer> =>
    post("/token", { grant_type: "refresh_token", refresh_token });
  const works = (token = ""): boolean => server.authenticate(`Bearer ${token}`) !== undefined;
  return { app, server, clock, journal, authorize, decide, backTo, codeFor, post, exchange, refresh, works };
}

describe("the authorization endpoint", () => {
  it("shows who asks for what, escaped, without a script", async () => {
    const page = await start().authorize();
    const text = await page.text();
    expect(text).toContain("The &lt;App&gt;");
    for (const word of ["Sample Person", "sample@example.com", "Read", "Write", "Sandbox: not the real Provider"])
      expect(text).toContain(word);
    expect(text).not.toMatch(/<script|onclick/);
    expect(page.headers.get("content-security-policy")).toContain(`form-action 'self' ${new URL(redirectUri).origin}`);
  });

  it("brings the person back with a code and the state, or with their refusal", async () => {
    const { authorize, decide, backTo } = start();
    expect(backTo(await decide(await authorize(), "allow"))).toEqual({
      code: expect.stringMatching(/^canary-/),
      state: "the state",
    });
    expect(backTo(await decide(await authorize(), "deny"))).toEqual({ error: "access_denied", state: "the state" });
  });

  it.each([
    ["an unknown client", { client_id: "stranger" }],
    ["a redirect URI that is not registered", { redirect_uri: `${redirectUri}/` }],
    ["no redirect URI, of a client that has two", { client_id: "other", redirect_uri: undefined }],
  ])("never redirects for %s", async (_what, change) => {
    const answer = await start().authorize(change);
    expect([answer.status, answer.headers.get("location")]).toEqual([400, null]);
  });

  it.each([
    ["invalid_scope", { scope: "read everything" }],
    ["invalid_scope", { scope: undefined }],
    ["invalid_request", { response_type: undefined }],
    ["unsupported_response_type", { response_type: "token" }],
    ["invalid_request", { code_challenge: undefined, code_challenge_method: undefined }],
    ["invalid_request", { code_challenge_method: "plain" }],
  ])("answers %s to %j", async (error, change) => {
    const { authorize, backTo } = start();
    expect(backTo(await authorize(change))).toEqual({ error, state: "the state" });
  });

  it("takes a decision once, and only for a page that it showed", async () => {
    const { authorize, decide } = start();
    const page = await authorize();
    expect((await decide(page, "allow")).status).toBe(303);
    expect((await decide(page, "allow")).status).toBe(400);
    expect((await decide(new Response(""), "allow")).status).toBe(400);
    expect((await decide(await authorize(), "allow", [["account", "9"]])).status).toBe(400);
  });

  it("grants what was ticked, where the person can untick", async () => {
    const { authorize, decide, backTo, exchange } = start({ granularConsent: true });
    const answer = await decide(await authorize(), "allow", [
      ["account", "2"],
      ["scope", "read"],
      ["scope", "more"],
    ]);
    expect((await exchange(backTo(answer)["code"] ?? "")).body["scope"]).toBe("read");
  });
});

describe("a code", () => {
  it("becomes a token that stands for the person, the client and the scopes", async () => {
    const { codeFor, exchange, server, journal } = start();
    const { status, body } = await exchange(await codeFor());
    expect([status, body]).toEqual([
      200,
      {
        access_token: expect.stringMatching(/^canary-/),
        refresh_token: expect.stringMatching(/^canary-/),
        token_type: "Bearer",
        expires_in: 3600,
        scope: "read write",
      },
    ]);
    const access = server.authenticate(`Bearer ${body["access_token"]}`);
    expect(access).toEqual({ account, clientId: "app", scopes: new Set(["read", "write"]) });
    expect([server.hasGrant("app"), server.hasGrant("other"), journal.counted("tokens.issued")]).toEqual([
      true,
      false,
      1,
    ]);
  });

  it.each([
    ["a wrong code", { code: "wrong" }],
    ["another verifier", { code_verifier: "w".repeat(50) }],
    ["another redirect URI", { redirect_uri: `${redirectUri}/2` }],
    ["an empty verifier", { code_verifier: "" }],
  ])("is refused with %s", async (_what, change) => {
    const { codeFor, exchange } = start();
    expect(await exchange(await codeFor(), change)).toEqual({ status: 400, body: { error: "invalid_grant" } });
  });

  it("is good for ten minutes", async () => {
    const { codeFor, exchange, clock } = start();
    const [early, late] = [await codeFor(), await codeFor()];
    clock.freeze();
    clock.advance(10 * 60_000 - 5000);
    expect((await exchange(early)).status).toBe(200);
    clock.advance(5000);
    expect((await exchange(late)).status).toBe(400);
  });

  it("is good once; the second time ends what the first time gave", async () => {
    const { codeFor, exchange, works } = start();
    const code = await codeFor();
    const { body } = await exchange(code);
    expect(works(body["access_token"])).toBe(true);
    expect((await exchange(code)).status).toBe(400);
    expect(works(body["access_token"])).toBe(false);
  });

  it("of a request without a challenge takes no verifier, where PKCE is only allowed", async () => {
    const { codeFor, post } = start({ pkce: "allowed" });
    const plain = { code_challenge: undefined, code_challenge_method: undefined };
    const grant = { grant_type: "authorization_code", redirect_uri: redirectUri };
    expect((await post("/token", { ...grant, code: await codeFor(plain), code_verifier: verifier })).status).toBe(400);
    expect((await post("/token", { ...grant, code: await codeFor(plain) })).status).toBe(200);
    expect((await post("/token", { ...grant, code: await codeFor() })).status).toBe(400);
  });

  it("asks for the redirect URI again, unless the provider does not", async () => {
    const bare = { grant_type: "authorization_code", code_verifier: verifier };
    const strict = start();
    expect((await strict.post("/token", { ...bare, code: await strict.codeFor() })).status).toBe(400);
    const lax = start({ redirectUriRepeated: false });
    expect((await lax.post("/token", { ...bare, code: await lax.codeFor() })).status).toBe(200);
    expect((await lax.exchange(await lax.codeFor(), { redirect_uri: "https://elsewhere.example" })).status).toBe(400);
  });
});

describe("the token endpoint", () => {
  it.each([
    ["a wrong secret", { authorization: `Basic ${btoa("app:wrong")}` }, {}, [401, "invalid_client"]],
    ["another client's name", { authorization: `Basic ${btoa("other:s3cret!")}` }, {}, [401, "invalid_client"]],
    ["credentials twice", {}, { client_id: "app", client_secret: "s3cret" }, [401, "invalid_client"]],
    ["JSON where it takes forms", { "content-type": "application/json" }, {}, [400, "invalid_request"]],
    ["an unknown grant type", {}, { grant_type: "password" }, [400, "unsupported_grant_type"]],
  ])("refuses %s", async (_what, headers, fields, [status, error]) => {
    const { post } = start();
    const answer = await post("/token", { grant_type: "refresh_token", refresh_token: "x", ...fields }, headers);
    expect([answer.status, answer.body["error"]]).toEqual([status, error]);
  });

  it("takes another client's code from nobody", async () => {
    const { codeFor, post } = start();
    const fields = {
      grant_type: "authorization_code",
      code: await codeFor(),
      redirect_uri: redirectUri,
      code_verifier: verifier,
    };
    expect((await post("/token", fields, { authorization: `Basic ${btoa("other:s3cret")}` })).status).toBe(400);
  });

  it("speaks as the provider does, where that is not the standard", async () => {
    const { app } = start({
      tokenContentTypes: ["json", "form"],
      clientAuth: ["post"],
      errors: { client: "bad_client" },
      clientErrorStatus: 400,
    });
    const send = (client_secret: string) =>
      app.request("/token", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ client_id: "app", client_secret, grant_type: "refresh_token", refresh_token: "x" }),
      });
    expect([(await send("wrong")).status, await (await send("wrong")).json()]).toEqual([400, { error: "bad_client" }]);
    expect(await (await send("s3cret")).json()).toEqual({ error: "invalid_grant" });
  });
});

describe("refreshing", () => {
  const linked = async (quirks: Partial<OAuthQuirks> = {}) => {
    const one = start(quirks);
    return { ...one, first: (await one.exchange(await one.codeFor())).body };
  };

  it("rotates, and a reused token ends the whole family", async () => {
    const { first, refresh, works } = await linked();
    const second = (await refresh(first["refresh_token"])).body;
    expect(second["refresh_token"]).not.toBe(first["refresh_token"]);
    expect((await refresh(first["refresh_token"])).status).toBe(400);
    expect([works(first["access_token"]), works(second["access_token"])]).toEqual([false, false]);
    expect((await refresh(second["refresh_token"])).status).toBe(400);
  });

  it("answers the same again within its grace, and then no more", async () => {
    const { first, refresh, clock } = await linked({ rotationGraceMs: 30_000 });
    clock.freeze();
    const second = await refresh(first["refresh_token"]);
    clock.advance(29_999);
    expect(await refresh(first["refresh_token"])).toEqual(second);
    clock.advance(1);
    expect((await refresh(first["refresh_token"])).status).toBe(400);
  });

  it("keeps the token, where the provider does", async () => {
    const { first, refresh } = await linked({ refresh: "keep" });
    for (let times = 0; times < 2; times++)
      expect((await refresh(first["refresh_token"])).body["refresh_token"]).toBe(first["refresh_token"]);
  });

  it("is not there, where the provider has none", async () => {
    const { first, refresh } = await linked({ refresh: "none" });
    expect(first).not.toHaveProperty("refresh_token");
    expect((await refresh("x")).body["error"]).toBe("unsupported_grant_type");
  });

  it("outlives an access token that expires, by time or by hand", async () => {
    const { first, refresh, works, clock, server } = await linked();
    clock.advance(3600_000);
    expect(works(first["access_token"])).toBe(false);
    const second = (await refresh(first["refresh_token"])).body;
    server.tokens.expire();
    expect([works(second["access_token"]), server.tokens.live]).toEqual([false, 0]);
    expect((await refresh(second["refresh_token"])).status).toBe(200);
  });
});

describe("revoking", () => {
  it.each(["access_token", "refresh_token"])("by %s ends the grant; an unknown token is no error", async (name) => {
    const { exchange, codeFor, post, works, server } = start();
    const { body } = await exchange(await codeFor());
    expect((await post("/revoke", { token: "unknown" })).status).toBe(200);
    expect(works(body["access_token"])).toBe(true);
    expect((await post("/revoke", { token: body[name] ?? "" })).status).toBe(200);
    expect([works(body["access_token"]), server.hasGrant("app")]).toEqual([false, false]);
  });

  it("needs the client that the token was given to", async () => {
    const { exchange, codeFor, post, works } = start();
    const { body } = await exchange(await codeFor());
    const token = body["access_token"] ?? "";
    expect((await post("/revoke", { token }, { authorization: "" })).status).toBe(401);
    await post("/revoke", { token }, { authorization: `Basic ${btoa("other:s3cret")}` });
    expect(works(token)).toBe(true);
  });
});
