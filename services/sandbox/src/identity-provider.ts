import { generateKeyPair, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { promisify } from "node:util";
import Provider, { type Configuration, interactionPolicy } from "oidc-provider";
import { identityMemory } from "./identity-memory.ts";
import { choice, ended, failure, type Html, layout } from "./identity-page.ts";

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
    renderError: async (ctx, out) => {
      const nonce = randomBytes(16).toString("base64");
      ctx.set("content-security-policy", `default-src 'none'; style-src 'nonce-${nonce}'; frame-ancestors 'none'`);
      ctx.type = "html";
      ctx.body = await layout(nonce, failure(out.error, out.error_description ?? ""));
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
    const page = async (status: number, content: Html): Promise<void> => {
      const body = await layout(nonce, content);
      response
        .writeHead(status, {
          "content-type": "text/html; charset=utf-8",
          "cache-control": "no-store",
          "content-security-policy": `default-src 'none'; style-src 'nonce-${nonce}'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' ${targets.join(" ")}`,
        })
        .end(body);
    };
    if (known === undefined) return page(400, ended);
    if (request.method !== "POST") return page(200, choice(known.uid, people));
    const picked = (await readForm(request)).get("person");
    if (picked === "") {
      const refusal = { error: "access_denied", error_description: "The person said no." };
      return provider.interactionFinished(request, response, refusal, { mergeWithLastSubmission: false });
    }
    const person = people.find((candidate) => candidate.id === picked);
    if (person === undefined) return page(400, choice(known.uid, people));
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
