import { connectors } from "@tributary/connectors";
import { freePorts } from "@tributary/db/testing";
import { axe, launchBrowser } from "@tributary/web-service/testing";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readConfig } from "../src/config.ts";
import { type Hub, startHub } from "../src/hub.ts";

type Browser = Awaited<ReturnType<typeof launchBrowser>>;
type Page = Awaited<ReturnType<Browser["newPage"]>>;

const dataDir = mkdtempSync(join(tmpdir(), "tributary-browser-"));
let hub: Hub;
let browser: Browser;

beforeAll(async () => {
  const port = await freePorts(3);
  const env = {
    TRIBUTARY_DATA_DIR: dataDir,
    TRIBUTARY_PORT: String(port),
    TRIBUTARY_SANDBOX_PORT: String(port + 1),
    LOG_LEVEL: "silent",
  };
  hub = await startHub(
    readConfig(
      env,
      connectors.map(({ id }) => id),
    ),
  );
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await hub?.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

/** What has the keyboard: its label, or its text. */
const focused = (page: Page): Promise<string> =>
  page.evaluate<string>(
    "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent).trim().slice(0, 60)",
  );

const TABS_MAX = 60;

/** Goes forward with Tab until something is reached, and presses Enter on it. */
async function press(page: Page, name: string): Promise<void> {
  const passed: string[] = [];
  for (let tab = 0; tab < TABS_MAX; tab++) {
    await page.keyboard.press("Tab");
    passed.push(await focused(page));
    if (passed.at(-1) !== name) continue;
    await page.keyboard.press("Enter");
    return;
  }
  throw new Error(`the keyboard does not reach "${name}" on ${new URL(page.url()).pathname}: ${passed.join(" · ")}`);
}

/** Nothing that axe finds on the page as it stands. */
async function clean(page: Page): Promise<void> {
  expect(await axe(page), new URL(page.url()).pathname).toEqual([]);
}

const heading = (page: Page, name: string): Promise<void> =>
  page.getByRole("heading", { level: 1, name, exact: true }).waitFor();

/** Loads the page again until something is on it. */
async function untilShown(page: Page, what: ReturnType<Page["getByText"]>): Promise<void> {
  for (let look = 0; look < 300; look++) {
    if ((await what.count()) > 0) return;
    await sleep(100);
    await page.reload();
  }
  throw new Error(`${new URL(page.url()).pathname} never showed what it should`);
}

/** Opens a page signed out and comes back to it signed in, by keyboard. */
async function signIn(page: Page, path: string, person: "Sample Person" | "Second Person"): Promise<void> {
  await page.goto(hub.origin + path);
  await heading(page, "Sign in");
  await clean(page);
  await press(page, "Sign in");
  await heading(page, "Who are you today?");
  await clean(page);
  await page.keyboard.press("Tab");
  // The skip of a radio group: one Tab for the group, arrows inside it.
  if (person === "Second Person") await page.keyboard.press("ArrowDown");
  await press(page, "Continue");
  await page.waitForURL(hub.origin + path);
}

it("a person links an account, follows a change, pauses, resumes and leaves, by keyboard alone", async () => {
  const todoist = hub.sandbox?.running.todoist;
  const tokens = todoist?.control.oauth?.tokens;
  const context = await browser.newContext({ locale: "en" });
  const page = await context.newPage();

  await signIn(page, "/connections", "Sample Person");
  await page.getByText("Nothing is connected.").waitFor();
  await clean(page);

  await press(page, "Connect Todoist");
  await heading(page, "Connect Todoist");
  await page.getByText("Read and change your tasks").first().waitFor();
  await clean(page);
  await press(page, "Continue to Todoist");
  await heading(page, "Allow Tributary to use your Todoist account?");
  await clean(page);
  await press(page, "Allow");
  await page.waitForURL(/\/connections\?outcome=linked/);
  await page.getByText("Todoist is connected.").waitFor();
  const card = await page.evaluate<string>("document.activeElement.id");
  expect(card).toMatch(/^connection-/);
  await clean(page);
  expect(tokens?.live).toBe(1);

  await page.goto(`${hub.origin}/connections`);
  await untilShown(page, page.getByText("Last event"));
  await press(page, "History: Todoist");
  await heading(page, "Todoist: history");
  await untilShown(page, page.getByText("A task was completed"));
  const history = page.url();
  expect(history).toBe(`${hub.origin}/connections/${card.replace("connection-", "")}`);
  expect(await page.getByText("Plant garlic").count()).toBe(0);
  await clean(page);
  await press(page, "Show titles");
  await page.getByText("Plant garlic").first().waitFor();
  await clean(page);

  const provider = await context.newPage();
  await provider.goto(todoist?.origin ?? "");
  await clean(provider);
  const before = todoist?.control.journal.counted("webhooks.sent") ?? 0;
  await press(provider, "Complete: Plant garlic");
  await provider.getByRole("button", { name: "Reopen: Plant garlic" }).waitFor();
  await provider.close();
  const done = page.getByRole("row").filter({ hasText: "A task was completed" }).filter({ hasText: "Plant garlic" });
  await untilShown(page, done);
  expect(await done.count()).toBe(1);
  // Polling would have taken minutes: the provider said so.
  expect(todoist?.control.journal.counted("webhooks.sent")).toBeGreaterThan(before);

  await otherPerson(new URL(history).pathname);

  await page.goto(`${hub.origin}/connections`);
  await press(page, "Pause: Todoist");
  await page.getByText("Paused by you").waitFor();
  await clean(page);
  await page.goto(`${hub.origin}/connections?lang=pl`);
  await heading(page, "Połączone konta");
  expect(await page.evaluate("document.documentElement.lang")).toBe("pl");
  await clean(page);
  await page.goto(`${hub.origin}/connections?lang=en`);
  await press(page, "Resume: Todoist");
  await page.getByRole("button", { name: "Pause: Todoist" }).waitFor();

  await press(page, "Disconnect…: Todoist");
  await heading(page, "Disconnect Todoist?");
  await clean(page);
  expect(tokens?.live).toBe(1);
  await press(page, "Disconnect");
  await heading(page, "Receipt");
  await page.getByText("Confirmed: our permission is withdrawn.").waitFor();
  await clean(page);
  expect(tokens?.live).toBe(0);
  await press(page, "All accounts");
  await page.getByRole("heading", { name: "Disconnected" }).first().waitFor();
  await clean(page);
  await context.close();
});

/** Somebody else sees of a connection what they would see of one that never was. */
async function otherPerson(path: string): Promise<void> {
  const context = await browser.newContext({ locale: "en" });
  const page = await context.newPage();
  await signIn(page, "/connections", "Second Person");
  await page.getByText("Second Person").first().waitFor();
  await page.getByText("Nothing is connected.").waitFor();
  const never = path.replace(/[^/]+$/, "00000000-0000-4000-8000-000000000000");
  for (const end of ["", "/disconnect", "?titles=1", "/events.json"]) {
    const answers = [];
    for (const start of [path, never]) {
      const answer = await page.goto(`${hub.origin}${start}${end}`);
      answers.push([answer?.status(), (await answer?.text())?.replaceAll(start, "")]);
    }
    expect(answers[0]?.[0]).toBe(404);
    expect(answers[0]).toEqual(answers[1]);
  }
  await clean(page);
  await context.close();
}
