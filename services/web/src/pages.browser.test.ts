import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { apiOver, connectionStates } from "./api.ts";
import { createPages } from "./pages.ts";
import { axe, launchBrowser, sidewaysScroll } from "./testing/browser.ts";
import { FakeApi, NOW, sampleConnection } from "./testing/fake-api.ts";
import { type Served, serve } from "./testing/serve.ts";

let browser: Browser;
let served: Served;
let fake: FakeApi;
let foreign: Served;

beforeAll(async () => {
  browser = await launchBrowser();
  const pages = createPages({
    api: apiOver((request) => fake.fetch(request)),
    signInPath: "/auth/signin",
    now: () => NOW,
  });
  served = await serve((request) => pages.fetch(request));
  foreign = await serve(
    () => new Response("<title>The provider</title>", { headers: { "content-type": "text/html" } }),
  );
});
afterAll(async () => {
  await browser.close();
  await Promise.all([served.close(), foreign.close()]);
});
beforeEach(() => {
  fake = new FakeApi(12);
  fake.connections = connectionStates.map(sampleConnection);
});

async function withPage(options: BrowserContextOptions, work: (page: Page) => Promise<void>): Promise<void> {
  const context = await browser.newContext(options);
  const complaints: string[] = [];
  try {
    const page = await context.newPage();
    // A refused stylesheet, font or form shows nowhere but in the console.
    page.on("console", (message) => {
      if (message.type() === "error" && !message.text().startsWith("Failed to load resource"))
        complaints.push(message.text());
    });
    await work(page);
    expect(complaints).toEqual([]);
  } finally {
    await context.close();
  }
}

/** What can be pressed and is less than 44 px high or wide. */
const smallTargets = (page: Page): Promise<string[]> =>
  page.evaluate<string[]>(`[...document.querySelectorAll("button, .button, summary, footer a, label.tick")]
    .map((one) => [one.getBoundingClientRect(), one.textContent.trim()])
    .filter(([box]) => box.height < 44 || box.width < 44)
    .map(([box, text]) => text + " " + box.width + "x" + box.height)`);

/** What a page can look like, and what the API must say for it to. */
const PAGES: readonly (readonly [name: string, path: string, prepare?: () => void])[] = [
  ["all eight states", "/connections"],
  ["nothing connected", "/connections", () => (fake.connections = [])],
  ["a fresh connection", "/connections?outcome=linked&connection=c-limited#connection-c-limited"],
  ["our own error", "/connections", () => (fake.failure = { status: 503, error: "unavailable" })],
  ["connecting", "/connect/todoist"],
  ["reconnecting", "/connect/calendar?connection=c-expired"],
  ["history", "/connections/c-connected"],
  ["history with titles", "/connections/c-error?titles=1"],
  ["disconnecting", "/connections/c-paused/disconnect"],
  ["a receipt", "/receipts/r-1"],
  ["a receipt still pending", "/receipts/r-1", () => (fake.receipt = { ...fake.receipt, revocation: "pending" })],
  ["signing in", "/signin?outcome=refused"],
  ["organisations", "/organizations?outcome=joined"],
  ["people", "/people"],
  ["removing somebody", "/people/u-2/remove"],
  ["an invitation", `/invitation?token=${"t".repeat(43)}`],
  ["not found", "/elsewhere"],
  ["broken", "/receipts/r-1", () => (fake.failure = { status: 502, error: "bad", correlationId: "c0ffee" })],
];
/** Alike but for their words, so that half of the appearances are enough. */
const OUTCOMES: typeof PAGES = [
  "denied",
  "ended",
  "other-account",
  "already",
  "partial",
  "error&code=x&correlation=y",
].map((outcome) => [`outcome ${outcome}`, `/connect/todoist?connection=c-expired&outcome=${outcome}`] as const);

describe.each([
  ["light", 1280, "en"],
  ["dark", 390, "en"],
  ["dark", 1280, "pl"],
  ["light", 390, "pl"],
] as const)("in %s, %i px wide, in %s", (colorScheme, width, locale) => {
  it("every page and state passes axe, needs no sideways scroll, and can be pressed by a thumb", async () => {
    const options = { colorScheme, locale, viewport: { width, height: 800 }, reducedMotion: "reduce" } as const;
    await withPage(options, async (page) => {
      const found: Record<string, unknown> = {};
      for (const [name, path, prepare] of colorScheme === "light" ? [...PAGES, ...OUTCOMES] : PAGES) {
        fake.failure = undefined;
        fake.connections = connectionStates.map(sampleConnection);
        prepare?.();
        await page.goto(`${served.origin}${path}`);
        await page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true");
        const violations = await axe(page);
        if (violations.length > 0) found[name] = violations;
        if ((await sidewaysScroll(page)) > 0) found[`${name}, sideways`] = await sidewaysScroll(page);
        const small = width === 390 ? await smallTargets(page) : [];
        if (small.length > 0) found[`${name}, small`] = small;
        expect(await page.evaluate("document.documentElement.lang")).toBe(locale);
      }
      expect(found).toEqual({});
    });
  });
});

it("a manager invites somebody, sees the link once, and removes a member", async () => {
  await withPage({ locale: "en", viewport: { width: 390, height: 800 } }, async (page) => {
    await page.goto(`${served.origin}/people`);
    await page.getByLabel("E-mail address").fill("grace@example.com");
    await page.getByRole("button", { name: "Invite" }).click();
    expect(await page.getByLabel("Link of the invitation").inputValue()).toMatch(/\/invitation\?token=/);
    expect([await axe(page), await sidewaysScroll(page), await smallTargets(page)]).toEqual([[], 0, []]);
    await page.getByRole("link", { name: "Back to the people" }).click();
    await page.locator("details").nth(1).locator("summary").click();
    await page.getByRole("link", { name: /^Remove Somebody/ }).click();
    await page.getByRole("button", { name: "Remove" }).click();
    await page.getByText("They no longer belong here").waitFor();
    expect(fake.asked).toContain("DELETE /api/members/u-2");
  });
});

it("axe would say so if a page were not accessible", async () => {
  await withPage({}, async (page) => {
    await page.goto(`${served.origin}/connections`);
    await page.evaluate(
      "document.querySelector('h1').style.color = '#ddd'; document.querySelector('button').innerHTML = '<i></i>'; document.querySelector('button').removeAttribute('aria-label')",
    );
    expect((await axe(page)).map((line) => line.split(":")[0])).toEqual(["button-name", "color-contrast"]);
  });
});

it.each([
  [320, ["100%"]],
  [640, ["100%", "200%"]],
] as const)("no page scrolls sideways at %i px, with its text at %j", async (width, zooms) => {
  await withPage({ viewport: { width, height: 800 }, locale: "pl" }, async (page) => {
    for (const [name, path] of [...PAGES, ...OUTCOMES]) {
      await page.goto(`${served.origin}${path}`);
      for (const zoom of zooms) {
        await page.evaluate(`document.documentElement.style.fontSize = ${JSON.stringify(zoom)}`);
        expect(await sidewaysScroll(page), `${name} at ${zoom}`).toBe(0);
      }
    }
  });
});

it("the first load weighs at most 90 kB, fonts included, in either language", async () => {
  for (const locale of ["en", "pl"]) {
    await withPage({ locale }, async (page) => {
      const session = await page.context().newCDPSession(page);
      await session.send("Network.enable");
      let bytes = 0;
      const hosts = new Set<string>();
      session.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
      session.on("Network.requestWillBeSent", ({ request }) => hosts.add(new URL(request.url).origin));
      await page.goto(`${served.origin}/connections`, { waitUntil: "networkidle" });
      // Whatever they open, and whichever letters it has: every font there is.
      const fonts = "Promise.all(['16px Hyper', '16px HyperMono'].map((font) => document.fonts.load(font, 'aą')))";
      expect(await page.evaluate(`${fonts}.then((loaded) => loaded.flat().length)`)).toBe(3);
      await page.waitForLoadState("networkidle");
      expect(bytes).toBeGreaterThan(50_000);
      expect(bytes).toBeLessThanOrEqual(90_000);
      expect([...hosts]).toEqual([served.origin]);
    });
  }
});

describe("with the keyboard alone", () => {
  it("a person skips to the content, reads what is shared, pauses and resumes", async () => {
    fake.connections = [sampleConnection("connected")];
    await withPage({ locale: "en" }, async (page) => {
      const focused = () =>
        page.evaluate<string>(
          "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()",
        );
      const outline = () => page.evaluate<string>("getComputedStyle(document.activeElement).outline");
      await page.goto(`${served.origin}/connections`);
      await page.keyboard.press("Tab");
      expect(await focused()).toBe("Skip to content");
      await page.keyboard.press("Enter");
      await page.keyboard.press("Tab");
      expect(await focused()).toBe("What it shares");
      expect(await outline()).toMatch(/solid 2px|2px solid/);
      await page.keyboard.press("Enter");
      expect(await page.getByText("Read your tasks and projects").isVisible()).toBe(true);
      await page.keyboard.press("Tab");
      expect(await focused()).toBe("Pause: Todoist");
      await page.keyboard.press("Enter");
      await page.waitForURL(/#connection-c-connected$/);
      // The address leads to the card, so that is where the keyboard is.
      expect(await page.evaluate("document.activeElement.id")).toBe("connection-c-connected");
      await page.keyboard.press("Tab");
      await page.keyboard.press("Tab");
      expect(await focused()).toBe("Resume: Todoist");
      await page.keyboard.press("Enter");
      await page.getByText("Connected", { exact: true }).waitFor();
    });
  });

  it("a person leaves with a receipt, and going back repeats nothing", async () => {
    await withPage({ locale: "en" }, async (page) => {
      await page.goto(`${served.origin}/connections/c-connected/disconnect`);
      await page.getByRole("checkbox").press("Space");
      await page.getByRole("button", { name: "Disconnect" }).press("Enter");
      await page.waitForURL(/\/receipts\/r-1$/);
      expect(await page.getByRole("heading", { level: 1 }).textContent()).toBe("Receipt");
      await page.reload();
      await page.goBack();
      await page.waitForURL(/\/receipts\/r-1$|\/disconnect$/);
      expect(fake.asked.filter((one) => one.startsWith("DELETE"))).toHaveLength(1);
      expect(fake.bodies).toEqual([{ deleteEvents: true }]);
    });
  });
});

it("a form leads to the provider, with the word of the browser that the page was ours", async () => {
  fake.redirectUrl = `${foreign.origin}/oauth/authorize`;
  const seen: (string | null)[][] = [];
  const spied = fake.fetch;
  fake = Object.assign(fake, {
    fetch: (request: Request) => {
      if (request.method === "POST") seen.push([request.headers.get("origin"), request.headers.get("sec-fetch-site")]);
      return spied(request);
    },
  });
  await withPage({ locale: "en" }, async (page) => {
    await page.goto(`${served.origin}/connect/todoist`);
    await page.getByRole("button", { name: "Continue to Todoist" }).click();
    await page.waitForURL(`${foreign.origin}/**`);
    expect(await page.title()).toBe("The provider");
    // A page without referrer hides its origin too, even from itself.
    expect(seen).toEqual([["null", "same-origin"]]);
  });
});

describe("what a person has set in their system", () => {
  it("is kept: no motion when they want none, their colours when they force them", async () => {
    const moving = "document.getAnimations().length";
    await withPage({ reducedMotion: "reduce" }, async (page) => {
      await page.goto(`${served.origin}/connections`);
      expect(await page.evaluate(moving)).toBe(0);
    });
    await withPage({ reducedMotion: "no-preference" }, async (page) => {
      await page.goto(`${served.origin}/connections`);
      expect(await page.evaluate(moving)).toBe(1);
    });
    await withPage({ forcedColors: "active" }, async (page) => {
      await page.goto(`${served.origin}/connections`);
      const stroke = "getComputedStyle(document.querySelector('.wire[data-state=expired] line')).stroke";
      const ink = "getComputedStyle(document.body).color";
      expect(await page.evaluate(stroke)).toBe(await page.evaluate(ink));
    });
  });

  it("gives way to what they choose here", async () => {
    await withPage({ colorScheme: "light", locale: "en" }, async (page) => {
      const ground = () => page.evaluate("getComputedStyle(document.body).backgroundColor");
      await page.goto(`${served.origin}/connections`);
      const light = await ground();
      await page.getByRole("link", { name: "Dark" }).click();
      expect(await ground()).not.toBe(light);
      await page.getByRole("link", { name: "Polski" }).click();
      expect(await page.getByRole("heading", { level: 1 }).textContent()).toBe("Połączone konta");
      expect(page.url()).toBe(`${served.origin}/connections`);
    });
  });
});
