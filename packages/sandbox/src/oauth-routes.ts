import type { Context, Hono } from "hono";
import { html } from "hono/html";
import type { OAuthServer, SandboxClient } from "./oauth-server.ts";
import { type Html, page } from "./page.ts";

/** A person is looking at the consent page. */
interface Pending {
  readonly client: SandboxClient;
  readonly redirectUri: string;
  /** Undefined when the request had none and the client has only one. */
  readonly sentRedirectUri: string | undefined;
  readonly state: string | undefined;
  readonly challenge: string | undefined;
  readonly scopes: readonly string[];
}

const PENDING_MAX = 1000;

/**
 * The authorization and token endpoints, and revocation where the quirks name a path. The consent page is a plain form:
 * a program posts `request`, `decision` ("allow" or "deny"), and `account`, to where the page came from.
 */
export function oauthRoutes(app: Hono, server: OAuthServer, random: (bytes: number) => string): void {
  const { quirks } = server;
  const pending = new Map<string, Pending>();
  app.get(quirks.paths.authorize, async (c) => {
    const checked = checkRequest(server, new URL(c.req.url).searchParams);
    if (typeof checked === "string") return refusedPage(quirks.provider, checked);
    if ("error" in checked) return c.redirect(callback(checked, { error: checked.error }));
    const oldest = pending.size >= PENDING_MAX ? pending.keys().next().value : undefined;
    if (oldest !== undefined) pending.delete(oldest);
    const id = random(16);
    pending.set(id, checked);
    return consentPage(server, id, checked);
  });
  app.post(quirks.paths.authorize, async (c) => {
    const form = new URLSearchParams(await c.req.text());
    const id = form.get("request") ?? "";
    const asked = pending.get(id);
    if (asked === undefined) return refusedPage(quirks.provider, "This page has ended.");
    const account = server.accounts.find((one) => one.id === form.get("account"));
    if (form.get("decision") !== "allow") {
      pending.delete(id);
      return c.redirect(callback(asked, { error: "access_denied" }), 303);
    }
    if (account === undefined) return refusedPage(quirks.provider, "There is no such account.");
    pending.delete(id);
    const ticked = new Set(form.getAll("scope"));
    const code = server.issueCode({
      clientId: asked.client.clientId,
      redirectUri: asked.sentRedirectUri,
      challenge: asked.challenge,
      scopes: asked.scopes.filter((scope) => quirks.granularConsent !== true || ticked.has(scope)),
      accountId: account.id,
    });
    return c.redirect(callback(asked, { code }), 303);
  });
  app.post(quirks.paths.token, async (c) => tokenEndpoint(server, c));
  if (quirks.paths.revoke !== undefined) app.post(quirks.paths.revoke, async (c) => revokeEndpoint(server, c));
}

/** @returns a sentence when there is nowhere safe to redirect to (RFC 6749 §4.1.2.1). */
function checkRequest(
  server: OAuthServer,
  query: URLSearchParams,
): string | Pending | (Pending & { readonly error: string }) {
  const { quirks } = server;
  const one = (name: string): string | undefined =>
    query.getAll(name).length === 1 ? (query.get(name) ?? undefined) : undefined;
  const client = server.client(one("client_id") ?? "");
  if (client === undefined) return "The app that sent you here is not known.";
  const sentRedirectUri = one("redirect_uri");
  const redirectUri = sentRedirectUri ?? (client.redirectUris.length === 1 ? client.redirectUris[0] : undefined);
  if (
    query.getAll("redirect_uri").length > 1 ||
    redirectUri === undefined ||
    !client.redirectUris.includes(redirectUri)
  )
    return "The app did not say where to bring you back, or names a place that it did not register.";
  const challenge = one("code_challenge");
  const scopes = (one("scope") ?? "").split(quirks.scopeSeparator).filter((scope) => scope !== "");
  const request = { client, redirectUri, sentRedirectUri, state: one("state"), challenge, scopes };
  const type = one("response_type");
  if (type === undefined ? quirks.responseTypeRequired !== false : type !== "code")
    return { ...request, error: type === undefined ? "invalid_request" : "unsupported_response_type" };
  if (scopes.length === 0 || scopes.some((scope) => !(scope in quirks.scopes)))
    return { ...request, error: "invalid_scope" };
  const badMethod = challenge !== undefined && one("code_challenge_method") !== "S256";
  if (quirks.pkce !== "ignored" && (badMethod || (quirks.pkce === "required" && challenge === undefined)))
    return { ...request, error: "invalid_request" };
  return request;
}

function callback({ redirectUri, state }: Pending, parameters: Readonly<Record<string, string>>): string {
  const url = new URL(redirectUri);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  if (state !== undefined) url.searchParams.set("state", state);
  return url.href;
}

const refusedPage = (provider: string, sentence: string): Promise<Response> =>
  page({ provider, title: "This link does not work", content: html`<p>${sentence}</p>`, status: 400 });

function consentPage(
  { quirks, accounts }: OAuthServer,
  id: string,
  { client, scopes, redirectUri }: Pending,
): Promise<Response> {
  const name = client.name ?? client.clientId;
  const scope = (each: string): Html =>
    quirks.granularConsent === true
      ? html`<li>
          <label><input type="checkbox" name="scope" value="${each}" checked /> ${quirks.scopes[each]}</label>
        </li>`
      : html`<li>${quirks.scopes[each]} <small>${each}</small></li>`;
  return page({
    provider: quirks.provider,
    title: `Allow ${name} to use your ${quirks.provider} account?`,
    formTargets: [new URL(redirectUri).origin],
    content: html`<form method="post" action="${quirks.paths.authorize}">
      <input type="hidden" name="request" value="${id}" />
      <fieldset>
        <legend>Account</legend>
        ${accounts.map(
          (account, index) =>
            html`<label
              ><input type="radio" name="account" value="${account.id}" ${index === 0 ? html`checked` : ""} />
              ${account.name} <small>${account.email}</small></label
            >`,
        )}
      </fieldset>
      <h2>${name} will be able to</h2>
      <ul>
        ${scopes.map(scope)}
      </ul>
      <p>
        <button class="primary" name="decision" value="allow">Allow</button>
        <button name="decision" value="deny">Deny</button>
      </p>
    </form>`,
  });
}

async function tokenEndpoint(server: OAuthServer, c: Context): Promise<Response> {
  const { quirks } = server;
  const refuse = (error: string, status: 400 | 401 = 400): Response =>
    c.json({ error }, status, { "cache-control": "no-store" });
  const body = await readBody(c, quirks.tokenContentTypes);
  if (body === undefined) return refuse("invalid_request");
  const client = clientOf(server, c, body);
  if (client === undefined) return refuse(quirks.errors?.client ?? "invalid_client", quirks.clientErrorStatus ?? 401);
  // Todoist's own client leaves it out when it redeems a code; the others must not.
  const grantType = body["grant_type"] ?? (quirks.responseTypeRequired === false ? "authorization_code" : undefined);
  let answer;
  if (grantType === "authorization_code")
    answer = server.redeemCode({
      clientId: client,
      code: body["code"] ?? "",
      redirectUri: body["redirect_uri"],
      verifier: body["code_verifier"],
    });
  else if (grantType === "refresh_token" && quirks.refresh !== "none")
    answer = server.refresh(client, body["refresh_token"] ?? "");
  else return refuse("unsupported_grant_type");
  return typeof answer === "string" ? refuse(answer) : c.json(answer, 200, { "cache-control": "no-store" });
}

/** RFC 7009 §2.2: 200 for an unknown token too. */
async function revokeEndpoint(server: OAuthServer, c: Context): Promise<Response> {
  const body = await readBody(c, ["form", "json"]);
  const client = body === undefined ? undefined : clientOf(server, c, body, ["basic"]);
  if (body === undefined || client === undefined) return c.json({ error: "invalid_client" }, 401);
  if (body["token"] === undefined) return c.json({ error: "invalid_request" }, 400);
  server.revoke(client, body["token"]);
  return c.body(null, 200);
}

function clientOf(
  server: OAuthServer,
  c: Context,
  body: Readonly<Record<string, string>>,
  allowed = server.quirks.clientAuth,
): string | undefined {
  const basic = /^Basic (.+)$/i.exec(c.req.header("authorization") ?? "")?.[1];
  if (basic !== undefined && body["client_secret"] !== undefined) return undefined;
  const [id, secret, way] =
    basic === undefined
      ? [body["client_id"] ?? "", body["client_secret"] ?? "", "post" as const]
      : [...credentials(basic), "basic" as const];
  return allowed.includes(way) && server.authenticateClient(id, secret) ? id : undefined;
}

/** RFC 6749 §2.3.1: both halves are form-encoded before they are joined. */
function credentials(basic: string): readonly [string, string] {
  const text = Buffer.from(basic, "base64").toString();
  const colon = text.indexOf(":");
  const decode = (part: string): string => {
    try {
      return decodeURIComponent(part.replaceAll("+", " "));
    } catch {
      return "";
    }
  };
  return colon < 0 ? ["", ""] : [decode(text.slice(0, colon)), decode(text.slice(colon + 1))];
}

/** @returns undefined for a type that is not taken, and for what is not a flat record of strings. */
async function readBody(c: Context, types: readonly ("form" | "json")[]): Promise<Record<string, string> | undefined> {
  const type = c.req.header("content-type") ?? "";
  try {
    let fields: [string, unknown][];
    if (type.startsWith("application/json") && types.includes("json"))
      fields = Object.entries(await c.req.json<object>());
    else if (type.startsWith("application/x-www-form-urlencoded") && types.includes("form"))
      fields = [...new URLSearchParams(await c.req.text())];
    else return undefined;
    const names = new Set(fields.map(([name]) => name));
    const flat = names.size === fields.length && fields.every(([, value]) => typeof value === "string");
    return flat ? (Object.fromEntries(fields) as Record<string, string>) : undefined;
  } catch {
    return undefined;
  }
}
