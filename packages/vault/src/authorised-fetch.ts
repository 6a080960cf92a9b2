import { assertOutsideTransaction } from "@tributary/db";
import type { Attach, RequestOptions } from "@tributary/sdk";
import { recordAccess } from "./access.ts";
import { VaultError } from "./errors.ts";
import { dataKeyOf, plaintextOf, readGrant, readSecret, type StoredGrant } from "./grants.ts";
import { assertHttpsUrl, onOrigin, type OutboundResponse } from "./outbound.ts";
import type { VaultParts } from "./parts.ts";
import { renew } from "./refresh.ts";
import { revokeConsent } from "./revoke.ts";
import { readTerms } from "./terms.ts";
import { fillHost, isTemplate } from "./url-template.ts";
import type { CredentialScope, CredentialSession, CredentialUse } from "./vault.ts";

const REDIRECTS_MAX = 3;
const DEFAULT_ATTACH: Attach = { in: "header", name: "authorization", secret: "access_token", template: "Bearer {}" };

/**
 * A session: requests with the credential attached. Order of things in every request: the URL is judged, the audit row
 * is committed, the credential is opened, the request is sent; on 401 the credential is renewed and the request is sent
 * once more.
 */
export function openSession(parts: VaultParts, scope: CredentialScope, use: CredentialUse): CredentialSession {
  const audit = auditOnce(parts, scope, use);
  const keys = parts.dataKeys.session(scope);
  const attach = use.spec.attach ?? DEFAULT_ATTACH;
  const hosts = hostsOf(parts, scope, use.hosts);

  async function openToken(grant: StoredGrant): Promise<string> {
    const stored = await readSecret(parts, scope, attach.secret, grant.generation, use);
    if (stored === undefined) {
      // Between the two readings somebody else may have renewed it: then there is a newer one.
      const later = await requireGrant(parts, scope);
      if (later.generation !== grant.generation) return openToken(later);
      throw new VaultError("credential_missing", "the credential has no such secret");
    }
    const name = `${stored.id}/${stored.revision}/${stored.keyId}`;
    return keys.use(
      name,
      () => dataKeyOf(parts, scope, attach.secret, stored),
      (dataKey) => plaintextOf(scope, attach.secret, stored, dataKey),
    );
  }

  /** A credential that is past its expiry is renewed first: the request would only be refused. */
  async function currentGrant(): Promise<{ grant: StoredGrant; renewed: boolean }> {
    const grant = await requireGrant(parts, scope);
    const expired = grant.expiresAt !== undefined && grant.expiresAt.getTime() <= parts.now().getTime();
    if (!expired || (await renew(parts, scope, use.spec, grant.generation, use)) === "impossible")
      return { grant, renewed: false };
    return { grant: await requireGrant(parts, scope), renewed: true };
  }

  async function sendAuthorised(url: URL, options: RequestOptions, listed: Hosts, signal: AbortSignal) {
    await audit();
    const { grant, renewed } = await currentGrant();
    const send = async (of: StoredGrant) =>
      follow(parts, url, options, { attach, token: await openToken(of) }, listed, signal);
    const { response: first, authorised } = await send(grant);
    if (first.status !== 401 || !authorised || renewed) return toResponse(first);
    if ((await renew(parts, scope, use.spec, grant.generation, use)) === "impossible") return toResponse(first);
    return toResponse((await send(await requireGrant(parts, scope))).response);
  }

  return {
    fetch: async (url, options = {}) => {
      assertOutsideTransaction("a provider call");
      const listed = await hosts();
      const target = allowedUrl(url, options, listed);
      return within(parts.limits.requestMs, use.signal, (signal) => sendAuthorised(target, options, listed, signal));
    },
    revoke: async () => {
      assertOutsideTransaction("a provider call");
      if (use.spec.revocation === undefined) return "unsupported";
      await within(parts.limits.requestMs, use.signal, async (signal) => {
        await audit();
        await revokeConsent(parts, scope, use.spec, signal, use);
      });
      return "revoked";
    },
  };
}

async function requireGrant(parts: VaultParts, scope: CredentialScope): Promise<StoredGrant> {
  const grant = await readGrant(parts, scope);
  if (grant === undefined) throw new VaultError("credential_missing", "there is no such credential");
  return grant;
}

/** One audit row a session, before its first opening. */
function auditOnce(parts: VaultParts, scope: CredentialScope, use: CredentialUse): () => Promise<void> {
  let written: Promise<void> | undefined;
  const write = (): Promise<void> =>
    recordAccess(parts, scope, use).catch((error: unknown) => {
      written = undefined;
      throw error;
    });
  return () => (written ??= write());
}

/** Hosts as the connector names them, and the hosts that they are. */
type Hosts = ReadonlyMap<string, string>;

/** A placeholder stands for what it stood for when the credential was made. */
function hostsOf(parts: VaultParts, scope: CredentialScope, declared: readonly string[]): () => Promise<Hosts> {
  const plain = new Map(declared.map((host) => [host, host]));
  if (!declared.some(isTemplate)) return async () => plain;
  return async () => {
    const values = (await readTerms(parts, scope))?.values ?? {};
    const filled = declared.map((host) => [host.toLowerCase(), fillHost(host, values)] as const);
    return new Map([...filled, ...filled.map(([, host]) => [host, host] as const)]);
  };
}

/** @throws VaultError url_not_allowed. The list is of hosts as the connector names them, before any mapping. */
function allowedUrl(text: string, options: RequestOptions, hosts: Hosts): URL {
  const url = URL.parse(text);
  if (url === null) throw new VaultError("url_not_allowed", "not a URL");
  assertHttpsUrl(url);
  const host = hosts.get(url.host);
  if (host === undefined) throw new VaultError("url_not_allowed", "the connector does not list the host");
  if (host !== url.host) url.host = host;
  for (const [name, value] of Object.entries(options.query ?? {})) url.searchParams.set(name, value);
  url.hash = "";
  return url;
}

interface Credential {
  readonly attach: Attach;
  readonly token: string;
}

/**
 * Sends, and follows redirects: with the credential as long as they stay on the origin. To another origin, which the
 * connector must list, goes a bare request; and the credential does not come back, because whoever sent us there could
 * choose where it then goes.
 */
async function follow(
  parts: VaultParts,
  start: URL,
  options: RequestOptions,
  credential: Credential,
  hosts: Hosts,
  signal: AbortSignal,
): Promise<{ readonly response: OutboundResponse; readonly authorised: boolean }> {
  let { url, method, ...content } = { url: start, method: options.method ?? "GET", ...contentOf(options) };
  let attached: Credential | undefined = credential;
  for (let redirects = 0; ; redirects++) {
    const request = { method, ...content, signal, bodyBytesMax: parts.limits.responseBytesMax };
    const response = await sendWith(parts, url, request, attached);
    const location = response.headers.get("location");
    if (![301, 302, 303, 307, 308].includes(response.status) || location === null)
      return { response, authorised: attached !== undefined };
    const next = redirectTarget(parts, url, location, hosts);
    if (redirects === REDIRECTS_MAX) throw new VaultError("url_not_allowed", "too many redirects");
    const becomesGet = response.status === 303 || (response.status < 303 && method === "POST");
    if (becomesGet) [method, content] = ["GET", { headers: content.headers, body: undefined }];
    if (next.origin !== url.origin) {
      if (method !== "GET") throw new VaultError("url_not_allowed", "only a GET is redirected to another origin");
      attached = undefined;
      content = { headers: new Headers(), body: undefined };
    }
    url = next;
  }
}

interface Content {
  readonly headers: Headers;
  readonly body: string | undefined;
}

function contentOf(options: RequestOptions): Content {
  let headers: Headers;
  try {
    headers = new Headers(options.headers);
  } catch {
    throw new TypeError("a header's name or value is malformed");
  }
  // Set by us, or by the connection, or a second place for a credential.
  for (const name of ["host", "cookie", "connection", "content-length", "transfer-encoding", "proxy-authorization"])
    headers.delete(name);
  if (options.form !== undefined) {
    headers.set("content-type", "application/x-www-form-urlencoded");
    return { headers, body: new URLSearchParams(options.form).toString() };
  }
  if (options.json === undefined) return { headers, body: undefined };
  headers.set("content-type", "application/json");
  return { headers, body: JSON.stringify(options.json) };
}

function sendWith(
  parts: VaultParts,
  url: URL,
  request: Content & { readonly method: string; readonly signal: AbortSignal; readonly bodyBytesMax: number },
  credential: Credential | undefined,
): Promise<OutboundResponse> {
  const { body, ...rest } = request;
  const headers = new Headers(request.headers);
  const target = new URL(url);
  if (credential !== undefined) {
    const { attach, token } = credential;
    const value = (attach.template ?? "{}").replace("{}", () => token);
    if (attach.in === "query") target.searchParams.set(attach.name, value);
    else setHeader(headers, attach.name, value);
  }
  return parts.outbound.fetch(target, { ...rest, headers, ...(body === undefined ? {} : { body }) });
}

/** What Headers throws quotes the value. */
function setHeader(headers: Headers, name: string, value: string): void {
  try {
    headers.set(name, value);
  } catch {
    throw new VaultError("credential_integrity_error", "the credential cannot be sent in a header");
  }
}

/**
 * Where a redirect leads, in the provider's own terms: on the origin, or on the origin that stands in for it; or on
 * another host of the connector's list.
 */
function redirectTarget(parts: VaultParts, from: URL, location: string, hosts: Hosts): URL {
  const mapped = parts.outbound.mapUrl(from);
  const to = URL.parse(location, mapped.href);
  if (to === null || to.username !== "" || to.password !== "")
    throw new VaultError("url_not_allowed", "the provider redirects to no proper address");
  if ([from.origin, mapped.origin].includes(to.origin)) return onOrigin(to, from.origin);
  if (to.protocol !== "https:" || hosts.get(to.host) !== to.host)
    throw new VaultError("url_not_allowed", "the provider redirects to a host that the connector does not list");
  return onOrigin(to, to.origin);
}

/** The body is here already and decompressed: headers that describe it on the wire would be wrong. */
function toResponse({ status, headers, body }: OutboundResponse): Response {
  const kept = new Headers(headers);
  for (const name of ["content-encoding", "content-length", "transfer-encoding", "set-cookie"]) kept.delete(name);
  const empty = [204, 205, 304].includes(status);
  return new Response(empty ? null : body, { status, headers: kept });
}

/**
 * Gives `work` so long and no longer, also where it does not listen to its signal: a renewal goes on without us, because
 * giving it up would lose a rotated token.
 */
async function within<T>(ms: number, caller: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  caller.throwIfAborted();
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(), ms);
  const signal = AbortSignal.any([caller, deadline.signal]);
  const ended = Promise.withResolvers<never>();
  const end = (): void =>
    ended.reject(
      caller.aborted ? caller.reason : new VaultError("provider_unavailable", `no complete answer within ${ms} ms`),
    );
  signal.addEventListener("abort", end, { once: true });
  try {
    const working = work(signal);
    working.catch(() => {});
    return await Promise.race([working, ended.promise]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
  }
}
