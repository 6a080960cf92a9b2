import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { AxeResults } from "axe-core";
import { type Browser, chromium, type Page } from "playwright-core";

const CHROMIUM = "/usr/bin/chromium";

/** A real Chromium with a profile of its own, which speaks to nobody but the pages it is sent to. */
export const launchBrowser = (): Promise<Browser> =>
  chromium.launch({
    executablePath: process.env["TRIBUTARY_CHROMIUM"] ?? CHROMIUM,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });

const WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
let source: string | undefined;

/**
 * What axe finds against WCAG 2.2 A and AA, one line a violation; empty is what a page must have. Evaluated through the
 * debugger rather than added as a script, because the pages' own policy forbids scripts and stays in force.
 */
export async function axe(page: Page): Promise<readonly string[]> {
  source ??= readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  await page.evaluate(`window.axe === undefined && (() => { ${source} })()`);
  const { violations } = await page.evaluate<AxeResults>(
    `axe.run(document, { runOnly: ${JSON.stringify(WCAG)}, resultTypes: ["violations"] })`,
  );
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`);
}

/** How far a page scrolls sideways, in CSS pixels; 0 is what it should be. */
export const sidewaysScroll = (page: Page): Promise<number> =>
  page.evaluate<number>("document.documentElement.scrollWidth - document.documentElement.clientWidth");
