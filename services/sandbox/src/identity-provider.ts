import { generateKeyPair, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { promisify } from "node:util";
import { html } from "hono/html";
import Provider, { type Configuration, interactionPolicy } from "oidc-provider";
import { identityMemory } from "./identity-memory.ts";

export interface IdentityProviderOptions {
  /** 0 takes a free one. */
  readonly port: number;
  /** Default 127.0.0.1. It signs anybody in without a password: never bind it where others reach it. */
  readonly host?: string;
  readonly clients: readonly IdentityClient[];
  /** Who can be picked, first one preselected. Default {@link samplePeople}. */
  readonly people?: readonly SamplePerson[];
}

export interface IdentityClient {
  readonly clientId: string;
  readonly clientSecret: string;
  /** Matched exactly. */
  readonly redirectUris: readonly string[];
}

/** Somebody who does not exist. */
export interface SamplePerson {
  /** The `sub` of the ID token. */
  readonly id: string;
  readonly name: string;
  readonly email: string;
}

export const samplePeople: readonly SamplePerson[] = [
  { id: "sample", name: "Sample Person", email: "sample@example.com" },
  { id: "second", name: "Second Person", email: "second@example.com" },
];

export interface IdentityProvider {
  readonly issuer: string;
  readonly people: readonly SamplePerson[];
  close(): Promise<void>;
}

const FORM_BYTES_MAX = 4096;
const HOUR_S = 3600;
type Interaction = InstanceType<Provider["Interaction"]>;

/**
 * The simulated OpenID provider: panva's certified `oidc-provider` with one page of ours, on which a visitor picks who
 * to be. Keys, grants and sessions live in memory and end with it. Plain redirects and one form drive it, so a program
 * can sign in without a browser: follow redirects to `/interaction/…`, post `person=<id>` there, follow redirects.
 */
export async function startIdentityProvider(options: IdentityProviderOptions): Promise<IdentityProvider> {
  const host = options.host ?? "127.0.0.1";
  const people = options.people ?? samplePeople;
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, host, resolve);
  });
  const issuer = `http://${host}:${(server.address() as AddressInfo).port}`;
  const provider = new Provider(issuer, await configuration(options.clients, people));
  const protocol = provider.callback();
  const interaction = interactionPage(provider, people, options.clients);
  server.on("request", (request, response) => {
    const handled = request.url?.startsWith("/interaction/")
      ? interaction(request, response)
      : protocol(request, response);
    handled.catch(() => {
      if (!response.headersSent) response.writeHead(500).end();
    });
  });
  return {
    issuer,
    people,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function configuration(
  clients: readonly IdentityClient[],
  people: readonly SamplePerson[],
): Promise<Configuration> {
  const { privateKey } = await promisify(generateKeyPair)("rsa", { modulusLength: 2048 });
  return {
    adapter: identityMemory(),
    clients: clients.map((client) => ({
      client_id: client.clientId,
      client_secret: client.clientSecret,
      redirect_uris: [...client.redirectUris],
      grant_types: ["authorization_code"],
      response_types: ["code"],
    })),
    jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), use: "sig", alg: "RS256", kid: "sandbox" }] },
    // Cookies ignore ports: names of their own keep every service on this host apart.
    cookies: {
      keys: [randomBytes(32).toString("hex")],
      names: { session: "sandbox_identity", interaction: "sandbox_interaction", resume: "sandbox_resume" },
    },
    features: { devInteractions: { enabled: false } },
    pkce: { required: () => true },
    scopes: ["openid", "profile", "email"],
    claims: { openid: ["sub"], profile: ["name"], email: ["email", "email_verified"] },
    ttl: {
      AccessToken: HOUR_S,
      AuthorizationCode: 60,
      IdToken: HOUR_S,
      Interaction: HOUR_S,
      Session: HOUR_S,
      Grant: HOUR_S,
    },
    interactions: { policy: askEveryTime(), url: (_ctx, details) => `/interaction/${details.uid}` },
    findAccount: (_ctx, id) => {
      const person = people.find((candidate) => candidate.id === id);
      if (person === undefined) return undefined;
      const claims = { sub: person.id, name: person.name, email: person.email, email_verified: true };
      return { accountId: person.id, claims: () => claims };
    },
    renderError: (ctx, out) => {
      const nonce = randomBytes(16).toString("base64");
      ctx.set("content-security-policy", `default-src 'none'; style-src 'nonce-${nonce}'; frame-ancestors 'none'`);
      ctx.type = "html";
      ctx.body = String(
        layout(
          nonce,
          html`<h1>Sign-in did not work</h1>
            <p>${out.error}: ${out.error_description ?? ""}</p>`,
        ),
      );
    },
    // Nobody is asked for consent: the only clients are our own.
    loadExistingGrant: async (ctx) => {
      const { client, session, provider } = ctx.oidc;
      if (client === undefined || session?.accountId === undefined) return undefined;
      const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope("openid profile email");
      await grant.save();
      return grant;
    },
  };
}

/** Signing out of the hub and in again is how one becomes somebody else, so no session here answers silently… */
function askEveryTime(): interactionPolicy.DefaultPolicy {
  const policy = interactionPolicy.base();
  const { Check } = interactionPolicy;
  const always = new Check("always", "the person is asked every time", "login_required", (ctx) =>
    ctx.oidc.result?.login === undefined ? Check.REQUEST_PROMPT : Check.NO_NEED_TO_PROMPT,
  );
  policy.get("login")?.checks.add(always);
  return policy;
}

/** GET shows the choice, POST makes it: `person=<id>`, or `person=` for "Not now". */
function interactionPage(provider: Provider, people: readonly SamplePerson[], clients: readonly IdentityClient[]) {
  // Chromium holds the redirects that follow a form against `form-action`, the client's callback included.
  const targets = clients.flatMap((client) => client.redirectUris.map((uri) => new URL(uri).origin));
  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const known = await provider.interactionDetails(request, response).catch(() => undefined);
    const nonce = randomBytes(16).toString("base64");
    const page = (status: number, content: ReturnType<typeof choice>) =>
      response
        .writeHead(status, {
          "content-type": "text/html; charset=utf-8",
          "cache-control": "no-store",
          "content-security-policy": `default-src 'none'; style-src 'nonce-${nonce}'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' ${targets.join(" ")}`,
        })
        .end(String(layout(nonce, content)));
    if (known === undefined)
      return void page(
        400,
        html`<h1>This page has ended</h1>
          <p>Go back and start again.</p>`,
      );
    if (request.method !== "POST") return void page(200, choice(known.uid, people));
    const picked = (await readForm(request)).get("person");
    if (picked === "") {
      const refusal = { error: "access_denied", error_description: "The person said no." };
      return provider.interactionFinished(request, response, refusal, { mergeWithLastSubmission: false });
    }
    const person = people.find((candidate) => candidate.id === picked);
    if (person === undefined) return void page(400, choice(known.uid, people));
    await forgetSession(provider, known);
    return provider.interactionFinished(request, response, { login: { accountId: person.id } });
  };
}

/** …and none is left in the way: oidc-provider would sign the old one out first, on a page that needs a script. */
async function forgetSession(provider: Provider, interaction: Interaction): Promise<void> {
  if (interaction.session === undefined) return;
  const session = await provider.Session.findByUid(interaction.session.uid);
  await session?.destroy();
  delete interaction.session;
  await interaction.save(HOUR_S);
}

/** @throws RangeError past {@link FORM_BYTES_MAX}. */
async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  let body = "";
  for await (const chunk of request.setEncoding("utf8")) {
    body += chunk;
    if (body.length > FORM_BYTES_MAX) throw new RangeError("form too large");
  }
  return new URLSearchParams(body);
}

const choice = (uid: string, people: readonly SamplePerson[]) =>
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

const layout = (nonce: string, content: ReturnType<typeof choice>) =>
  html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>Sign in · Sandbox</title>
        <style nonce="${nonce}">
          :root {
            color-scheme: light dark;
            font:
              1rem/1.5 system-ui,
              sans-serif;
          }
          body {
            margin: 0;
            background: light-dark(#f6f4ee, #12171a);
            color: light-dark(#1b2327, #ece8df);
          }
          header {
            padding: 12px 16px;
            border-bottom: 2px dashed light-dark(#8a5200, #f0b357);
            font-weight: 650;
          }
          main {
            max-width: 32rem;
            margin: 0 auto;
            padding: 24px 16px;
          }
          h1 {
            font-size: 1.75rem;
            line-height: 1.2;
          }
          fieldset {
            border: 1px solid light-dark(#857f70, #74828a);
            border-radius: 6px;
            padding: 8px 16px;
            margin: 0;
          }
          label {
            display: flex;
            gap: 12px;
            align-items: center;
            min-height: 52px;
          }
          input {
            width: 20px;
            height: 20px;
            margin: 0;
            accent-color: light-dark(#0b5e6b, #6cc5cf);
          }
          small {
            display: block;
            font-size: 0.875rem;
            color: light-dark(#56616a, #a9b3b8);
          }
          button {
            min-height: 44px;
            padding: 0 16px;
            font:
              600 1rem/1 system-ui,
              sans-serif;
            border: 1px solid light-dark(#857f70, #74828a);
            border-radius: 6px;
            background: none;
            color: inherit;
            cursor: pointer;
          }
          .primary {
            background: light-dark(#0b5e6b, #6cc5cf);
            border-color: transparent;
            color: light-dark(#fff, #082024);
          }
          :focus-visible {
            outline: 2px solid light-dark(#0b5e6b, #6cc5cf);
            outline-offset: 2px;
          }
        </style>
      </head>
      <body>
        <header>Sandbox</header>
        <main>${content}</main>
      </body>
    </html>`;
