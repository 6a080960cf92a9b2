import { asOwner } from "@tributary/db/testing";
import { hash } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { migrate, openPglite, run } from "@tributary/db";
import Provider from "oidc-provider";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { type Auth, createAuth, migrations } from "./index.ts";

/** The hub listens nowhere: its requests go to the handler in process, and only the provider's go over the wire. */
const ORIGIN = "http://127.0.0.1:65500";
const HOUR_MS = 3_600_000;
const exchanged: string[] = [];

let server: Server;
let issuer: string;
let database: Awaited<ReturnType<typeof openPglite>>;
let now = new Date("2026-11-21T12:00:00Z");
let auth: Auth;

beforeAll(async () => {
  vi.spyOn(console, "warn").mockImplementation(() => {});
  vi.spyOn(console, "info").mockImplementation(() => {});
  server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: "hub", client_secret: "s3cret-of-hub", redirect_uris: [`${ORIGIN}/auth/callback/oidc`] }],
    cookies: { keys: ["test"] },
    claims: { openid: ["sub"], profile: ["name"], email: ["email"] },
    findAccount: (_ctx, id) => ({
      accountId: id,
      claims: () => ({ sub: id, name: `${id} of the test`, email: "shared@example.com" }),
    }),
  });
  server.on("request", provider.callback());
  database = await openPglite();
  await migrate(database, [migrations]);
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await database.close();
});
beforeEach(async () => {
  await asOwner(database, (tx) => run(tx, `TRUNCATE auth.organization, auth."user" CASCADE`));
  now = new Date("2026-11-21T12:00:00Z");
  auth = authWith({});
});

const authWith = (change: Partial<Parameters<typeof createAuth>[0]>): Auth =>
  createAuth({
    database,
    origin: ORIGIN,
    secret: "a secret of the test, long enough",
    provider: { issuer, clientId: "hub", clientSecret: "s3cret-of-hub" },
    organization: { id: "sample", name: "Sample" },
    audit: async () => {},
    now: () => now,
    fetch: async (input, init) => {
      const response = await fetch(input, init);
      if (response.url.endsWith("/token")) {
        const { access_token, id_token } = (await response.clone().json()) as Record<string, string>;
        exchanged.push(...[access_token, id_token].filter((token) => token !== undefined));
      }
      return response;
    },
    ...change,
  });

/** Follows redirects with a cookie jar per host and port, posting forms where the provider shows one. */
class Browser {
  readonly jars = new Map<string, Map<string, string>>();
  readonly trail: string[] = [];

  jar(origin: string): Map<string, string> {
    const jar = this.jars.get(origin) ?? new Map<string, string>();
    this.jars.set(origin, jar);
    return jar;
  }

  async send(url: URL, init: RequestInit = {}, handler = auth.handler): Promise<Response> {
    const jar = this.jar(url.origin);
    const headers = new Headers(init.headers);
    headers.set("cookie", [...jar].map(([name, value]) => `${name}=${value}`).join("; "));
    const request = new Request(url, { ...init, headers, redirect: "manual" });
    this.trail.push(`${request.method} ${url.href}`);
    const response = url.origin === ORIGIN ? await handler(request) : await fetch(request);
    for (const cookie of response.headers.getSetCookie()) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (value === "" || /Max-Age=0/i.test(cookie)) jar.delete(name);
      else jar.set(name, value);
    }
    return response;
  }

  /** Until the address starts with `stop`, which is not requested. */
  async go(address: string, login: string, stop: string): Promise<URL> {
    let url = new URL(address, ORIGIN);
    let form: URLSearchParams | undefined;
    for (let hops = 0; hops < 20; hops++) {
      if (url.href.startsWith(stop)) return url;
      const response = await this.send(url, form === undefined ? {} : { method: "POST", body: form });
      form = undefined;
      const location = response.headers.get("location");
      if (location !== null) {
        url = new URL(location, url);
        if (url.origin === ORIGIN && !url.pathname.startsWith("/auth/")) return url;
      } else {
        const page = await response.text();
        form = new URLSearchParams({
          prompt: /name="prompt" value="(\w+)"/.exec(page)?.[1] ?? "",
          login,
          password: "-",
        });
      }
    }
    throw new Error("never arrived");
  }

  signIn(login: string, returnTo = "/connections"): Promise<URL> {
    return this.go(`/auth/signin?returnTo=${encodeURIComponent(returnTo)}`, login, "never");
  }

  get token(): string | undefined {
    return this.jar(ORIGIN).get("tributary-session");
  }

  whoAmI(token = this.token): ReturnType<Auth["authenticator"]["authenticate"]> {
    return auth.authenticator.authenticate(
      new Request(`${ORIGIN}/api/me`, { headers: { cookie: `tributary-session=${token}` } }),
    );
  }
}

const dump = async (): Promise<string> => {
  const tables = ["organization", `"user"`, "identity", "membership", "session"];
  const rows = await Promise.all(
    tables.map((table) => asOwner(database, (tx) => run(tx, `SELECT * FROM auth.${table}`))),
  );
  return JSON.stringify(rows);
};

describe("signing in", () => {
  it("opens a session by redirects, and goes where the person wanted to go", async () => {
    const browser = new Browser();
    expect((await browser.signIn("ada", "/connect/todoist?x=1")).href).toBe(`${ORIGIN}/connect/todoist?x=1`);
    expect(await browser.whoAmI()).toEqual({
      kind: "user",
      userId: expect.stringMatching(/^[0-9a-f-]{36}$/),
      name: "ada of the test",
      email: "shared@example.com",
      organizationId: "sample",
      organizationName: "Sample",
      expiresAtMs: now.getTime() + 30 * 24 * HOUR_MS,
      permissions: ["integrations.view", "integrations.manage", "integrations.credentials"],
      sessionHash: hash("sha256", browser.token ?? "", "hex"),
    });
    expect([...browser.jar(ORIGIN).keys()]).toEqual(["tributary-session"]);
  });

  it("makes the first person an administrator and the next a member, and never joins two by their address", async () => {
    const [first, second] = [new Browser(), new Browser()];
    await first.signIn("ada");
    await second.signIn("grace");
    const [one, two] = [await first.whoAmI(), await second.whoAmI()];
    expect(two?.permissions).toEqual(["integrations.view"]);
    expect(two?.email).toBe(one?.email);
    expect(two?.userId).not.toBe(one?.userId);
  });

  it("knows a person again, on two devices at once", async () => {
    const [desk, phone] = [new Browser(), new Browser()];
    await Promise.all([desk.signIn("ada"), phone.signIn("ada")]);
    expect((await desk.whoAmI())?.userId).toBe((await phone.whoAmI())?.userId);
    await auth.signOutEverywhere("sample", (await desk.whoAmI())?.userId ?? "");
    expect([await desk.whoAmI(), await phone.whoAmI()]).toEqual([undefined, undefined]);
  });

  it("stores neither the cookie nor anything that the provider issued", async () => {
    const browser = new Browser();
    exchanged.length = 0;
    await browser.signIn("ada");
    const stored = await dump();
    expect(exchanged.length).toBeGreaterThanOrEqual(2);
    expect(browser.token).toMatch(/^[\w-]{43}$/);
    for (const secret of [browser.token ?? "-", ...exchanged]) expect(stored).not.toContain(secret);
    expect(stored).toContain(hash("sha256", browser.token ?? "", "hex"));
    expect(await browser.whoAmI(hash("sha256", browser.token ?? "", "hex"))).toBeUndefined();
  });

  it("ends whatever session the browser came with", async () => {
    const browser = new Browser();
    await browser.signIn("ada");
    const before = browser.token;
    await browser.signIn("ada");
    expect(browser.token).not.toBe(before);
    expect(await browser.whoAmI(before)).toBeUndefined();
    expect(await browser.whoAmI()).toBeDefined();
  });

  it("gives a session that was planted before signing in no meaning", async () => {
    const browser = new Browser();
    browser.jar(ORIGIN).set("tributary-session", "planted");
    await browser.signIn("ada");
    expect(browser.token).not.toBe("planted");
    expect(await browser.whoAmI("planted")).toBeUndefined();
  });

  it("links nothing to a session that appears while a sign-in is under way", async () => {
    const [victim, attacker] = [new Browser(), new Browser()];
    await victim.signIn("ada");
    const callback = await attacker.go("/auth/signin", "mallory", `${ORIGIN}/auth/callback`);
    attacker.jar(ORIGIN).set("tributary-session", victim.token ?? "");
    await attacker.send(callback);
    expect((await attacker.whoAmI())?.name).toBe("mallory of the test");
    const links = await asOwner(database, (tx) =>
      run(tx, "SELECT subject, count(*) OVER (PARTITION BY user_id) AS n FROM auth.identity ORDER BY 1"),
    );
    expect(links).toEqual([
      { subject: "ada", n: 1n },
      { subject: "mallory", n: 1n },
    ]);
  });
});

describe("a sign-in that proves nothing", () => {
  const callback = async (browser: Browser) => browser.go("/auth/signin", "ada", `${ORIGIN}/auth/callback`);
  it.each<[string, (url: URL, browser: Browser) => void]>([
    ["another state", (url) => url.searchParams.set("state", "x".repeat(40))],
    ["no state", (url) => url.searchParams.delete("state")],
    ["the same state twice", (url) => url.searchParams.append("state", url.searchParams.get("state") ?? "")],
    ["the same code twice", (url) => url.searchParams.append("code", url.searchParams.get("code") ?? "")],
    ["another code", (url) => url.searchParams.set("code", "x")],
    ["another issuer", (url) => url.searchParams.set("iss", "https://evil.example")],
    ["a browser that began nothing", (_url, browser) => browser.jar(ORIGIN).clear()],
    ["no PKCE cookie", (_url, browser) => browser.jar(ORIGIN).delete("tributary-pkceCodeVerifier")],
    ["no nonce cookie", (_url, browser) => browser.jar(ORIGIN).delete("tributary-nonce")],
    ["a tampered state cookie", (_url, browser) => browser.jar(ORIGIN).set("tributary-state", "eyJ.x.y")],
  ])("is refused: %s", async (_what, spoil) => {
    const browser = new Browser();
    const url = await callback(browser);
    spoil(url, browser);
    const response = await browser.send(url);
    expect(response.headers.get("location")).toBe("/signin?outcome=refused");
    expect(browser.token).toBeUndefined();
    expect(await dump()).toBe("[[],[],[],[],[]]");
  });

  it("is refused the second time, in the browser that finished it and in another's", async () => {
    const browser = new Browser();
    const url = await callback(browser);
    const cookies = new Map(browser.jar(ORIGIN));
    expect((await browser.send(url)).headers.get("location")).toBe("/");
    for (const [name, value] of cookies) browser.jar(ORIGIN).set(name, value);
    expect((await browser.send(url)).headers.get("location")).toBe("/signin?outcome=refused");
    expect((await new Browser().send(url)).headers.get("location")).toBe("/signin?outcome=refused");
  });

  it("says so when the person said no, when the provider is away, and when nobody invited them", async () => {
    const denied = await new Browser().send(new URL(`${ORIGIN}/auth/callback/oidc?error=access_denied&state=x`));
    expect(denied.headers.get("location")).toBe("/signin?outcome=denied");
    const away = authWith({ fetch: () => Promise.reject(new TypeError("fetch failed")) });
    const answer = await away.handler(new Request(`${ORIGIN}/auth/signin`));
    expect(answer.headers.get("location")).toBe("/signin?outcome=unavailable");
    auth = authWith({ admits: () => false });
    const browser = new Browser();
    expect((await browser.signIn("stranger")).search).toBe("?outcome=not-invited");
    expect(await dump()).not.toContain("stranger");
  });

  it("is not started by another site", async () => {
    const headers = { "sec-fetch-site": "cross-site" };
    const response = await auth.handler(new Request(`${ORIGIN}/auth/signin?returnTo=/connections`, { headers }));
    expect([response.headers.get("location"), response.headers.getSetCookie()]).toEqual(["/connections", []]);
  });
});

describe("a session", () => {
  it("ends on signing out, for a page of ours alone", async () => {
    const browser = new Browser();
    await browser.signIn("ada");
    const token = browser.token;
    const signOut = new URL(`${ORIGIN}/auth/signout`);
    const foreign = await browser.send(signOut, { method: "POST", headers: { origin: "https://evil.example" } });
    expect([foreign.status, await browser.whoAmI(token)]).toEqual([403, expect.anything()]);
    const response = await browser.send(signOut, { method: "POST", headers: { origin: ORIGIN } });
    expect(response.headers.get("location")).toBe("/signin?outcome=signed-out");
    expect([browser.token, await browser.whoAmI(token)]).toEqual([undefined, undefined]);
  });

  it("ends with the membership", async () => {
    const browser = new Browser();
    await browser.signIn("ada");
    await asOwner(database, (tx) => run(tx, "DELETE FROM auth.membership WHERE organization_id = $1", ["sample"]));
    expect(await browser.whoAmI()).toBeUndefined();
  });

  it("ends 7 days after it was last used, 30 days after it began, and is then swept", async () => {
    const browser = new Browser();
    await browser.signIn("ada");
    const began = now.getTime();
    for (let day = 6; day < 30; day += 6) {
      now = new Date(began + day * 24 * HOUR_MS);
      expect(await browser.whoAmI(), `day ${day}`).toBeDefined();
    }
    now = new Date(began + 30 * 24 * HOUR_MS);
    expect(await browser.whoAmI()).toBeUndefined();
    await browser.signIn("ada");
    now = new Date(now.getTime() + 7 * 24 * HOUR_MS + 1);
    expect(await browser.whoAmI()).toBeUndefined();
    expect(await auth.sweep()).toBe(1);
  });

  it("is found by its own cookie alone", async () => {
    const cookies = [
      "",
      "tributary-session=",
      "other=1",
      "tributary-session=x;;=",
      `x-tributary-session=${"a".repeat(43)}`,
    ];
    for (const cookie of cookies) {
      const request = new Request(ORIGIN, { headers: { cookie } });
      expect(await auth.authenticator.authenticate(request)).toBeUndefined();
    }
  });
});

describe("the handler", () => {
  it("sets cookies for this host, out of reach of scripts, and answers nothing that may be kept", async () => {
    const response = await auth.handler(new Request(`${ORIGIN}/auth/signin`));
    const cookies = response.headers.getSetCookie();
    expect(cookies.length).toBe(4);
    for (const cookie of cookies) expect(cookie).toMatch(/^tributary-\w+=[^;]+;.*Path=\/;.*HttpOnly;.*SameSite=Lax/i);
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(response.headers.get("referrer-policy")).toBe("no-referrer");
  });

  it.each([
    "GET /auth/signin",
    "GET /auth/callback/oidc?code=x&state=y",
    "POST /auth/organization",
    "POST /auth/signout",
    "GET /auth/x",
  ])("keeps %s to itself: no cache, no referrer, no frame", async (route) => {
    const [method = "", path = ""] = route.split(" ");
    const { headers } = await auth.handler(new Request(`${ORIGIN}${path}`, { method }));
    expect(Object.fromEntries(headers)).toMatchObject({
      "cache-control": "no-store",
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
    });
  });

  it("takes the callback's address from the settings, whatever host the request names", async () => {
    const headers = { host: "evil.example", "x-forwarded-host": "evil.example", "x-forwarded-proto": "https" };
    const response = await auth.handler(new Request("http://evil.example/auth/signin", { headers }));
    const redirectUri = new URL(response.headers.get("location") ?? "").searchParams.get("redirect_uri");
    expect(redirectUri).toBe(`${ORIGIN}/auth/callback/oidc`);
  });

  it("marks cookies Secure and __Host- on https", async () => {
    const { handler } = authWith({ origin: "https://hub.example.com" });
    const response = await handler(new Request("https://hub.example.com/auth/signin"));
    const cookies = response.headers.getSetCookie();
    expect(cookies.length).toBe(4);
    for (const cookie of cookies) expect(cookie).toMatch(/^__Host-tributary-\w+=[^;]+; .*Secure/);
  });

  it.each([
    "GET /auth/session",
    "GET /auth/csrf",
    "GET /auth/providers",
    "GET /auth/signout",
    "POST /auth/signin/oidc",
  ])("does not serve Auth.js' own %s", async (route) => {
    const [method = "", path = ""] = route.split(" ");
    expect((await auth.handler(new Request(`${ORIGIN}${path}`, { method }))).status).toBe(404);
  });

  it.each([
    ["a short secret", { secret: "short" }],
    ["plain http beyond loopback", { origin: "http://hub.example.com" }],
    ["an origin with a path", { origin: "https://hub.example.com/x" }],
    ["a provider on plain http", { provider: { issuer: "http://id.example.com", clientId: "c", clientSecret: "s" } }],
  ])("refuses to be made with %s", (_what, change) => {
    expect(() => authWith(change)).toThrow(TypeError);
  });
});
