import { html, raw } from "hono/html";
import { readFileSync } from "node:fs";
import { type Frame, type Html, plainPage } from "./layout.ts";

/** `docs/ERRORS.md`, which the `docs` link of every refusal leads to: one section a code, its anchor the code. */
export const readErrorsText = (): string => readFileSync(new URL("../../../docs/ERRORS.md", import.meta.url), "utf8");

/** The page in the one language that it is written in. */
export const errorsPage = (known: Frame, text: string): Html =>
  plainPage(known, "Errors", html`<article lang="en">${blocksOf(text).map(render)}</article>`);

/** Paragraphs, headings and fenced examples: all that the file is made of. A test sees that every code came through. */
const blocksOf = (text: string): string[] => text.trim().split(/\n{2,}(?![^`]*\n```\n)/);

function render(block: string): Html | string {
  const [, marks = "", title = ""] = /^(#{1,3}) (.+)$/.exec(block) ?? [];
  if (marks === "#") return "";
  if (marks === "##") return html`<h2>${title}</h2>`;
  if (marks === "###") return html`<h3 id="${title}"><code>${title}</code></h3>`;
  const [, example] = /^```\w*\n([\s\S]*)\n```$/.exec(block) ?? [];
  if (example !== undefined) return html`<pre><code>${example.split("\n").map(indented)}</code></pre>`;
  return html`<p>${block.split("`").map((part, index) => (index % 2 === 1 ? html`<code>${part}</code>` : part))}</p>`;
}

/** Pages are sent without the white space at the beginning of lines; here it has a meaning. */
const indented = (line: string): Html => {
  const [spaces = ""] = /^ */.exec(line) ?? [];
  return html`${raw("&#32;".repeat(spaces.length))}${line.slice(spaces.length)}${raw("\n")}`;
};
