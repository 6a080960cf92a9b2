import { html, raw } from "hono/html";
import type { SamplePerson } from "./identity-provider.ts";

export type Html = ReturnType<typeof html>;

/** The choice, as a form that needs no script; the second form says no. */
export const choice = (uid: string, people: readonly SamplePerson[]) =>
  html`<h1>Who are you today?</h1>
    <p>This stands in for your organisation's sign-in. Nobody here exists, and there is no password.</p>
    <form method="post" action="/interaction/${uid}">
      <fieldset>
        <legend>Sample people</legend>
        ${people.map(
          (person, index) =>
            html`<label
              ><input type="radio" name="person" value="${person.id}" ${index === 0 ? html` checked` : ""} />
              <span>${person.name}<small>${person.email}</small></span></label
            > `,
        )}
      </fieldset>
      <p class="row"><button class="primary">Continue</button></p>
    </form>
    <form method="post" action="/interaction/${uid}">
      <p><button name="person" value="">Not now</button></p>
    </form>`;

export const ended = html`<h1>This page has ended</h1>
  <p>Go back and start again.</p>`;

export const failure = (code: string, description: string) =>
  html`<h1>Sign-in did not work</h1>
    <p>${code}: ${description}</p>`;

/** A whole page, without anything of another origin. */
export const layout = async (nonce: string, content: Html): Promise<string> =>
  (
    await html`<!doctype html>
      <html lang="en">
        <head>
          <meta charset="utf-8" />
          <meta name="viewport" content="width=device-width, initial-scale=1" />
          <title>Sign in · Sandbox</title>
          <style nonce="${nonce}">
            ${raw(STYLE)}
          </style>
        </head>
        <body>
          <header>Sandbox</header>
          <main>${content}</main>
        </body>
      </html>`
  ).toString();

const STYLE = `
:root{color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif;}
body{margin:0;background:light-dark(#f6f4ee,#12171a);color:light-dark(#1b2327,#ece8df);}
header{padding:12px 16px;border-bottom:2px dashed light-dark(#8a5200,#f0b357);font-weight:650;}
main{max-width:32rem;margin:0 auto;padding:24px 16px;}
h1{font-size:1.75rem;line-height:1.2;}
fieldset{border:1px solid light-dark(#857f70,#74828a);border-radius:6px;padding:8px 16px;margin:0;}
label{display:flex;gap:12px;align-items:center;min-height:52px;}
input{width:20px;height:20px;margin:0;accent-color:light-dark(#0b5e6b,#6cc5cf);}
small{display:block;font-size:0.875rem;color:light-dark(#56616a,#a9b3b8);}
button{min-height:44px;padding:0 16px;font:600 1rem/1 system-ui,sans-serif;border:1px solid light-dark(#857f70,#74828a);border-radius:6px;background:none;color:inherit;cursor:pointer;}
.primary{background:light-dark(#0b5e6b,#6cc5cf);border-color:transparent;color:light-dark(#fff,#082024);}
:focus-visible{outline:2px solid light-dark(#0b5e6b,#6cc5cf);outline-offset:2px;}
`;
