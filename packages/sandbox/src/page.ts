import { html, raw } from "hono/html";
import { randomBytes } from "node:crypto";

export type Html = ReturnType<typeof html>;

export interface Page {
  /** Of the provider that is simulated. */
  readonly provider: string;
  readonly title: string;
  readonly content: Html;
  /** Origins, besides this one, that a form may end at by redirect. */
  readonly formTargets?: readonly string[];
  readonly status?: number;
}

/**
 * A page that needs no script and says on top what it is not. Everything put into `content` with hono's `html` is
 * escaped; the policy allows this page's own style and forms, and nothing else.
 */
export async function page({ provider, title, content, formTargets = [], status = 200 }: Page): Promise<Response> {
  const nonce = randomBytes(16).toString("base64");
  const body = await html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title} · Sandbox</title>
        <style nonce="${nonce}">
          ${raw(STYLE)}
        </style>
      </head>
      <body>
        <header>Sandbox: not the real ${provider}. Nothing here leaves this computer.</header>
        <main>
          <h1>${title}</h1>
          ${content}
        </main>
      </body>
    </html>`;
  return new Response(String(body), {
    status,
    headers: {
      "content-type": "text/html; charset=utf-8",
      "cache-control": "no-store",
      "referrer-policy": "same-origin",
      "x-content-type-options": "nosniff",
      "content-security-policy": [
        "default-src 'none'",
        `style-src 'nonce-${nonce}'`,
        "base-uri 'none'",
        "frame-ancestors 'none'",
        `form-action ${["'self'", ...formTargets].join(" ")}`,
      ].join("; "),
    },
  });
}

const STYLE = `
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 0; background: light-dark(#f6f4ee, #12171a); color: light-dark(#1b2327, #ece8df); }
header { padding: 12px 16px; border-bottom: 2px dashed light-dark(#8a5200, #f0b357); font-weight: 650; }
main { max-width: 44rem; margin: 0 auto; padding: 24px 16px; }
h1 { font-size: 1.75rem; line-height: 1.2; }
h2 { font-size: 1.25rem; }
ul.tasks { list-style: none; margin: 0; padding: 0; }
ul.tasks li { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; justify-content: space-between;
  border-bottom: 1px solid light-dark(#d8d2c4, #333d43); padding: 8px 0; }
li > span { overflow-wrap: anywhere; flex: 1 1 16rem; }
form.inline { display: inline-flex; gap: 8px; }
label { display: block; margin: 12px 0; }
input:not([type="checkbox"]):not([type="radio"]), select { font: inherit; min-height: 44px; padding: 0 8px;
  box-sizing: border-box; width: 100%; border: 1px solid light-dark(#857f70, #74828a); border-radius: 6px;
  background: transparent; color: inherit; }
small { display: block; font-size: 0.875rem; color: light-dark(#56616a, #a9b3b8); }
button { min-height: 44px; padding: 0 16px; font: 600 1rem/1 system-ui, sans-serif; cursor: pointer; color: inherit;
  border: 1px solid light-dark(#857f70, #74828a); border-radius: 6px; background: none; }
button.primary { background: light-dark(#0b5e6b, #6cc5cf); border-color: transparent; color: light-dark(#fff, #082024); }
:focus-visible { outline: 2px solid light-dark(#0b5e6b, #6cc5cf); outline-offset: 2px; }
`;
