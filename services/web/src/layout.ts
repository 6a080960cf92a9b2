import { html } from "hono/html";
import type { Me } from "./api.ts";
import type { Assets } from "./assets.ts";
import type { Speech } from "./words/language.ts";

export type Html = ReturnType<typeof html>;
export const themes = ["system", "light", "dark"] as const;
export type Theme = (typeof themes)[number];

/** What every page knows besides its content. */
export interface Frame {
  readonly speech: Speech;
  readonly theme: Theme;
  readonly assets: Assets;
  readonly now: Date;
  /** Path and query of the page, to come back to. */
  readonly here: string;
  readonly signInPath: string;
  readonly signOutPath: string;
  /** Absent when nobody is signed in, or when we cannot tell. */
  readonly me?: Me;
}

/** A whole page. The content brings its own heading. */
export function layout(frame: Frame, title: string, content: Html): Html {
  const { speech, theme, assets, me } = frame;
  const { words, language } = speech;
  const other = language === "en" ? "pl" : "en";
  return html`<!doctype html>
    <html lang="${language}" ${theme === "system" ? "" : html` data-theme="${theme}"`}>
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="${theme === "system" ? "light dark" : theme}" />
        <title>${title} · Tributary</title>
        <link rel="preload" href="${assets.preload}" as="font" type="font/woff2" crossorigin />
        <link rel="icon" href="${assets.icon}" type="image/svg+xml" />
        <link rel="stylesheet" href="${assets.stylesheet}" />
      </head>
      <body>
        <a class="skip" href="#main">${words.skip}</a>
        <header class="bar">
          <a class="mark" href="/connections">${mark}Tributary</a>
          <div class="row">
            ${
              me === undefined
                ? ""
                : html`<span class="who">${me.user.name}</span>
                    <a class="button quiet" href="/organizations">${me.organization.name}</a>
                    <form method="post" action="${frame.signOutPath}">
                      <button class="quiet">${words.signOut}</button>
                    </form>`
            }
          </div>
        </header>
        <main id="main" tabindex="-1">${content}</main>
        <footer>
          <nav aria-label="${words.settings}" class="row">
            <a href="${withQuery(frame.here, "lang", other)}" lang="${other}" hreflang="${other}"
              >${words.otherLanguage}</a
            >
            <span class="row choice"
              ><span class="muted">${words.theme.legend}:</span>${themes.map((one) =>
                one === theme
                  ? html`<span class="on" aria-current="true">${words.theme[one]}</span>`
                  : html`<a href="${withQuery(frame.here, "theme", one)}">${words.theme[one]}</a>`,
              )}</span
            >
          </nav>
        </footer>
      </body>
    </html>`;
}

const mark = html`<svg width="28" height="20" viewBox="0 0 28 20" aria-hidden="true">
  <path d="M1 3c9 0 9 7 14 7M1 17c9 0 9-7 14-7M15 10h8" />
  <circle cx="24" cy="10" r="3" />
</svg>`;

const withQuery = (path: string, name: string, value: string): string =>
  `${path}${path.includes("?") ? "&" : "?"}${name}=${value}`;

/** A message above the content. An alert is announced by screen readers as soon as the page is there. */
export const notice = (kind: "good" | "bad" | "plain", title: string, ...more: readonly (Html | string)[]): Html =>
  html`<div class="notice ${kind}" role="${kind === "bad" ? "alert" : "status"}">
    <p><strong>${title}</strong></p>
    ${more.map((one) => html`<p>${one}</p>`)}
  </div>`;

/** A form of one button, which works without JavaScript. */
export const button = (action: string, label: string, name: string, kind = ""): Html =>
  html`<form method="post" action="${action}"><button class="${kind}" aria-label="${name}">${label}</button></form>`;

/** A heading and a sentence: signing in, not found, broken. */
export const plainPage = (frame: Frame, title: string, ...content: readonly Html[]): Html =>
  layout(
    frame,
    title,
    html`<h1>${title}</h1>
      ${content}`,
  );
