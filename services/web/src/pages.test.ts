import { beforeEach, describe, expect, it } from "vitest";
import { apiOver, connectionStates } from "./api.ts";
import { createPages } from "./pages.ts";
import { FakeApi, NOW, receipt, sampleConnection, TITLE } from "./testing/fake-api.ts";

const ORIGIN = "http://127.0.0.1:8080";
let fake: FakeApi;
let pages: ReturnType<typeof createPages>;
beforeEach(() => {
  fake = new FakeApi();
  fake.connections = connectionStates.map(sampleConnection);
  pages = createPages({ api: apiOver(fake.fetch), signInPath: "/auth/signin", now: () => NOW });
});

const get = (path: string, headers: Record<string, string> = {}) =>
  pages.fetch(new Request(`${ORIGIN}${path}`, { headers }));
const post = (path: string, form: Record<string, string> = {}) =>
  pages.fetch(
    new Request(`${ORIGIN}${path}`, {
      method: "POST",
      body: new URLSearchParams(form),
      headers: { cookie: "tributary-session=x", origin: ORIGIN, "sec-fetch-site": "same-origin" },
    }),
  );
const text = async (path: string, headers: Record<string, string> = {}) => (await get(path, headers)).text();

const HEADERS = {
  "content-security-policy":
    "default-src 'none'; style-src 'self'; font-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
  "cache-control": "no-store",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};
const headersOf = (response: Response) =>
  Object.fromEntries(Object.keys(HEADERS).map((name) => [name, response.headers.get(name)]));

describe("every answer", () => {
  it.each([
    ["/", 303],
    ["/connections", 200],
    ["/connections?lang=pl", 303],
    ["/connections/c-connected", 200],
    ["/connections/c-connected/events.json", 200],
    ["/connections/c-connected/disconnect", 200],
    ["/connections/c-disconnected/disconnect", 303],
    ["/connections/c-none", 404],
    ["/receipts/r-1", 200],
    ["/receipts/r-1?format=json", 200],
    ["/receipts/r-2", 404],
    ["/connect/none", 404],
    ["/signin", 200],
    ["/elsewhere", 404],
    ["/connections/..%2f..%2fapi%2fme", 404],
  ])("keeps to itself: GET %s is %i", async (path, status) => {
    const response = await get(path);
    expect(response.status).toBe(status);
    expect(headersOf(response)).toEqual(HEADERS);
  });

  it.each([
    ["/connect/todoist", "form-action 'self' http://127.0.0.1:* http://localhost:*"],
    ["/connect/calendar", "form-action 'self' https:"],
  ])("lets a form of %s lead to its provider, and nothing else more", async (path, formAction) => {
    const expected = HEADERS["content-security-policy"].replace("form-action 'self'", formAction);
    expect((await get(path)).headers.get("content-security-policy")).toBe(expected);
  });

  it("brings no script, no inline style and nothing from elsewhere", async () => {
    for (const path of ["/connections", "/connect/todoist", "/connections/c-connected?titles=1", "/receipts/r-1"]) {
      const page = await text(path);
      expect(page).not.toMatch(/<script|<style|\sstyle=|\son\w+=|javascript:/i);
      for (const [, source] of page.matchAll(/<(?:link|img|iframe|object|embed)[^>]*(?:href|src)="([^"]+)"/g))
        expect(source).toMatch(/^\/assets\//);
    }
  });

  it("serves fonts and stylesheet for ever, and nothing else from there", async () => {
    const page = await text("/connections");
    const stylesheet = /rel="stylesheet" href="([^"]+)"/.exec(page)?.[1] ?? "";
    const css = await get(stylesheet);
    const body = await css.text();
    expect(css.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
    const fonts = [...body.matchAll(/url\(([^)]+)\)/g)].map(([, url]) => url ?? "");
    expect(fonts).toHaveLength(3);
    for (const font of fonts) expect((await get(font)).headers.get("content-type")).toBe("font/woff2");
    for (const path of ["/assets/", "/assets/../pages.ts", "/assets/pages.css"])
      expect((await get(path)).status).toBe(404);
  });
});

describe("somebody not signed in", () => {
  beforeEach(() => {
    fake.signedIn = false;
  });

  it.each(["/connections", "/connect/todoist", "/connections/c-connected", "/receipts/r-1"])(
    "is asked to sign in at %s, and comes back there",
    async (path) => {
      const response = await get(path);
      expect(response.status).toBe(401);
      expect(await response.text()).toContain(`href="/auth/signin?returnTo=${encodeURIComponent(path)}"`);
    },
  );

  it("is led to signing in when a form arrives", async () => {
    const response = await post("/connections/c-connected/pause");
    expect([response.status, response.headers.get("location")]).toEqual([303, "/signin"]);
  });

  it.each(["denied", "refused", "unavailable", "not-invited", "signed-out"])("hears of %s", async (outcome) => {
    expect(await text(`/signin?outcome=${outcome}`)).toMatch(/<div class="notice/);
  });

  it("hears nothing of an outcome that somebody made up", async () => {
    expect(await text("/signin?outcome=constructor")).not.toMatch(/<div class="notice/);
  });
});

describe("connections", () => {
  it("shows what needs the person first, whatever the order it came in", async () => {
    for (const connections of [fake.connections, fake.connections.toReversed()]) {
      fake.connections = [...connections];
      const order = [...(await text("/connections")).matchAll(/id="connection-c-(\w+)"/g)].map(([, state]) => state);
      expect(order).toEqual(["expired", "error", "limited", "stale", "syncing", "connected", "paused", "disconnected"]);
    }
  });

  it.each([
    ["connected", "Connected", "Working. Last event 3 minutes ago. Verified 1 minute ago."],
    ["syncing", "Syncing", "Reading 1200 of 4310."],
    ["error", "Error", "Trying again in 4 minutes. Nothing to do yet. The provider answered 503."],
    ["expired", "Credentials Expired", "Credentials expired. Your data is safe."],
    ["limited", "Limited", "You gave 1 of 2 permissions. Off: Complete a task."],
    ["stale", "Stale", "The last sync was 4 days ago."],
    ["paused", "Paused", "Paused by you on 19 November 2026. Nothing is read."],
    ["disconnected", "Disconnected", "Disconnected on 19 November 2026."],
  ] as const)("says what %s means", async (state, badge, sentence) => {
    fake.connections = [sampleConnection(state)];
    const page = (await text("/connections")).replaceAll(/\s+/g, " ");
    expect(page).toContain(`data-state="${state}">${badge}</strong> ${sentence}`);
    expect(page).toMatch(new RegExp(`<title>You and [^<]+: ${badge}</title>`));
  });

  it("offers the state's own action, and a way out of every state", async () => {
    const actionsOf = async (state: (typeof connectionStates)[number]) => {
      fake.connections = [sampleConnection(state)];
      const card = /<article id="connection[^]*?<\/article>/.exec(await text("/connections"))?.[0] ?? "";
      return [...card.matchAll(/(?:action|href)="([^"]+)"/g)].map(([, path]) => path?.replace(`c-${state}`, "ID"));
    };
    const [pause, history, leave] = ["/connections/ID/pause", "/connections/ID", "/connections/ID/disconnect"];
    expect(await actionsOf("connected")).toEqual([pause, history, leave]);
    expect(await actionsOf("syncing")).toEqual([pause, history, leave]);
    expect(await actionsOf("error")).toEqual(["/connections/ID/sync", pause, history, leave]);
    expect(await actionsOf("expired")).toEqual(["/connect/calendar?connection=ID", history, leave]);
    expect(await actionsOf("limited")).toEqual(["/connect/todoist?connection=ID", pause, history, leave]);
    expect(await actionsOf("stale")).toEqual(["/connections/ID/sync", pause, history, leave]);
    expect(await actionsOf("paused")).toEqual(["/connections/ID/resume", history, leave]);
    expect(await actionsOf("disconnected")).toEqual(["/connect/todoist", "/receipts/r-1", history]);
  });

  it("says so when nothing is connected", async () => {
    fake.connections = [];
    expect(await text("/connections")).toContain("Nothing is connected. You choose what each one shares");
  });

  it("greets a fresh connection, and only one of the person's own", async () => {
    const say = async (id: string) => text(`/connections?outcome=linked&connection=${id}`);
    expect(await say("c-connected")).toContain("Todoist is connected. First results in about a minute.");
    expect(await say("c-limited")).toContain("Todoist is connected with fewer permissions");
    expect(await say("somebody-elses")).not.toContain("First results");
  });

  it.each([
    ["refuses", { status: 503, error: "unavailable" }],
    ["breaks", { status: 500, error: "internal" }],
  ])("keeps the names, and claims no state, when the API %s", async (_how, failure) => {
    const cookie = { cookie: "tributary-session=mine" };
    await get("/connections", cookie);
    fake.failure = failure;
    const response = await get("/connections", cookie);
    const page = await response.text();
    expect(response.status).toBe(503);
    expect(page).toContain("We can&#39;t check right now. Nothing has changed.");
    expect(page).toContain("<li>Todoist</li>");
    expect(page).not.toContain("badge");
    expect(await text("/connections", { cookie: "tributary-session=another" })).not.toContain("Todoist");
  });

  it("shows other people's words as words", async () => {
    const label = `<img src=x onerror=alert(1)>"'&`;
    fake.connections = [{ ...sampleConnection("connected"), account: { id: "1", label }, name: label }];
    const page = await text("/connections");
    expect(page).not.toContain("<img");
    expect(page).toContain("&lt;img src=x onerror=alert(1)&gt;");
  });
});

describe("a form", () => {
  it.each([
    [
      "/connections/c-connected/pause",
      "POST /api/connections/c-connected/pause",
      "/connections#connection-c-connected",
    ],
    ["/connections/c-paused/resume", "POST /api/connections/c-paused/resume", "/connections#connection-c-paused"],
    ["/connections/c-stale/sync", "POST /api/connections/c-stale/sync", "/connections#connection-c-stale"],
  ])("%s asks the API and leads to a page", async (path, asked, location) => {
    for (const _click of [1, 2]) {
      const response = await post(path);
      expect([response.status, response.headers.get("location")]).toEqual([303, location]);
    }
    expect(fake.asked).toContain(asked);
  });

  it("begins linking, anew or again, and goes where the API says", async () => {
    expect((await post("/connect/todoist")).headers.get("location")).toBe(fake.redirectUrl);
    await post("/connect/todoist", { connection: "c-expired" });
    expect(fake.bodies).toEqual([{}, { connectionId: "c-expired" }]);
  });

  it.each(["javascript:alert(1)", "//evil.example", "data:text/html,x"])("never goes to %s", async (redirectUrl) => {
    fake.redirectUrl = redirectUrl;
    const response = await post("/connect/todoist");
    expect([response.status, response.headers.get("location")]).toEqual([503, null]);
  });

  it("disconnects once however often it is sent, and keeps what was read unless told otherwise", async () => {
    for (const _click of [1, 2]) {
      const response = await post("/connections/c-connected/disconnect");
      expect(response.headers.get("location")).toBe("/receipts/r-1");
    }
    expect(fake.asked.filter((one) => one.startsWith("DELETE"))).toHaveLength(1);
    await post("/connections/c-stale/disconnect", { deleteEvents: "1" });
    expect(fake.bodies).toEqual([{ deleteEvents: false }, { deleteEvents: true }]);
  });

  it("hands the API what it needs to tell who asks and from where, and nothing else", async () => {
    const seen: Record<string, string>[] = [];
    const api = apiOver(async (request) => {
      seen.push(Object.fromEntries(request.headers));
      return fake.fetch(request);
    });
    const headers = {
      cookie: "a=b",
      origin: "https://evil.example",
      "sec-fetch-site": "cross-site",
      authorization: "Bearer x",
    };
    const request = new Request(`${ORIGIN}/connections/c-connected/pause`, { method: "POST", headers });
    await createPages({ api, signInPath: "/auth/signin" }).fetch(request);
    const { authorization: _dropped, ...kept } = headers;
    expect(seen).toEqual([{ ...kept, "content-type": "application/json" }]);
  });

  it("shows the API's refusals as pages", async () => {
    fake.failure = { status: 403, error: "cross_site_request" };
    expect((await post("/connections/c-connected/pause")).status).toBe(403);
    fake.failure = { status: 503, error: "unavailable", correlationId: "corr-1" };
    const response = await post("/connections/c-connected/pause");
    expect([response.status, await response.text()]).toEqual([503, expect.stringContaining("corr-1")]);
  });
});

describe("linking an account", () => {
  it.each([
    ["denied", "You said no. Nothing was stored."],
    ["ended", "This link has ended. Start again."],
    ["other-account", "That was another account. Nothing was changed."],
    ["already", "This account is already connected."],
    ["partial", "A required permission was left out. Nothing was stored."],
    ["error&code=invalid_client&correlation=c0ffee-1", "The provider could not complete this. Nothing was stored."],
  ])("tells how it went: %s", async (outcome, sentence) => {
    expect(await text(`/connect/todoist?outcome=${outcome}`)).toContain(sentence);
  });

  it("shows the provider's code and a reference, unless they are messages in disguise", async () => {
    expect(await text("/connect/todoist?outcome=error&code=invalid_client&correlation=c0ffee-1")).toMatch(
      /invalid_client[^]*c0ffee-1/,
    );
    const page = await text("/connect/todoist?outcome=error&code=call%20this%20number&correlation=%3Cb%3E");
    expect(page).not.toContain("call this number");
  });
});

describe("history", () => {
  it("hides titles until they are asked for", async () => {
    const hidden = await text("/connections/c-connected");
    expect(hidden).toContain("A task was completed");
    expect(hidden).not.toContain("Water the");
    expect(await text("/connections/c-connected?titles=1")).toContain("Water the &lt;plants&gt; &amp; call home");
  });

  it("can be taken away as JSON", async () => {
    const response = await get("/connections/c-connected/events.json");
    expect(response.headers.get("content-disposition")).toBe('attachment; filename="events-c-connected.json"');
    const { items } = (await response.json()) as { items: { data: { task?: { title: string } } }[] };
    expect([items.length, items[0]?.data.task?.title]).toEqual([50, TITLE]);
  });
});

describe("a receipt", () => {
  it.each(["/receipts/r-1?format=json", "/receipts/r-1"])("is JSON for those who ask: %s", async (path) => {
    const response = await get(path, path.includes("?") ? {} : { accept: "application/json" });
    expect(await response.json()).toEqual(receipt);
  });

  it("says where to withdraw by hand, unless the provider confirmed", async () => {
    expect(await text("/receipts/r-1")).not.toContain("app.todoist.com");
    fake.receipt = { ...receipt, revocation: "pending" };
    expect(await text("/receipts/r-1")).toContain('href="https://app.todoist.com/app/settings/integrations"');
  });
});

describe("language and colours", () => {
  it.each([
    [{}, "en"],
    [{ "accept-language": "pl-PL,pl;q=0.9,en;q=0.8" }, "pl"],
    [{ "accept-language": "de,en;q=0.5,pl;q=0.7" }, "pl"],
    [{ "accept-language": "pl;q=0,en;q=0.1" }, "en"],
    [{ "accept-language": "pl", cookie: "tributary-lang=en" }, "en"],
    [{ "accept-language": "pl", cookie: "tributary-lang=<script>" }, "pl"],
  ])("with %j it speaks %s", async (headers, language) => {
    expect(await text("/connections", headers as Record<string, string>)).toContain(`<html lang="${language}"`);
  });

  it("keeps a choice in a cookie, and returns to the same page", async () => {
    const response = await get("/connect/todoist?outcome=denied&lang=pl");
    expect(response.headers.get("location")).toBe("/connect/todoist?outcome=denied");
    expect(response.headers.get("set-cookie")).toMatch(/^tributary-lang=pl;.*HttpOnly/);
    expect(await text("/connections", { cookie: "tributary-theme=dark" })).toContain('data-theme="dark"');
  });
});
