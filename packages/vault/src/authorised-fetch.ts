import { assertOutsideTransaction } from "@tributary/db";
import type { Attach, RequestOptions } from "@tributary/sdk";
import { VaultError } from "./errors.ts";
import { dataKeyOf, plaintextOf, readGrant, readSecret, type StoredGrant } from "./grants.ts";
import { assertHttpsUrl, onOrigin, type OutboundResponse } from "./outbound.ts";
import { inOrganization, type VaultParts } from "./parts.ts";
import { renew } from "./refresh.ts";
import { revokeConsent } from "./revoke.ts";
import { accessLog } from "./schema.ts";
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

  async function openToken(grant: StoredGrant): Promise<string> {
    const stored = await readSecret(parts, scope, attach.secret, grant.generation);
    if (stored === undefined) throw new VaultError("credential_missing", "the credential has no such secret");
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
    if (!expired || (await renew(parts, scope, use.spec, grant.generation)) === "impossible")
      return { grant, renewed: false };
    return { grant: await requireGrant(parts, scope), renewed: true };
  }

  async function sendAuthorised(url: URL, options: RequestOptions, signal: AbortSignal): Promise<Response> {
    await audit();
    const { grant, renewed } = await currentGrant();
    const send = async (of: StoredGrant) => follow(parts, url, options, attach, await openToken(of), signal);
    const first = await send(grant);
    if (first.status !== 401 || renewed) return toResponse(first);
    if ((await renew(parts, scope, use.spec, grant.generation)) === "impossible") return toResponse(first);
    return toResponse(await send(await requireGrant(parts, scope)));
  }

  return {
    fetch: async (url, options = {}) => {
      assertOutsideTransaction("a provider call");
      const target = allowedUrl(url, options, use.hosts);
      return within(parts.limits.requestMs, use.signal, (signal) => sendAuthorised(target, options, signal));
    },
    revoke: async () => {
      assertOutsideTransaction("a provider call");
      if (use.spec.revocation === undefined) return "unsupported";
      await within(parts.limits.requestMs, use.signal, async (signal) => {
        await audit();
        await revokeConsent(parts, scope, use.spec, signal);
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

/** Commits one audit row before the first opening. What cannot be audited is not opened. */
function auditOnce(parts: VaultParts, scope: CredentialScope, use: CredentialUse): () => Promise<void> {
  let written: Promise<void> | undefined;
  const write = async (): Promise<void> => {
    try {
      await inOrganization(parts, scope, (tx) =>
        tx.insert(accessLog).values({
          organizationId: scope.organizationId,
          integration: scope.integration,
          ownerKind: scope.owner.kind,
          ownerId: scope.owner.id,
          credentialId: scope.credentialId,
          purpose: use.purpose,
          correlationId: use.correlationId,
        }),
      );
    } catch {
      written = undefined;
      throw new VaultError("audit_unavailable", "the access could not be recorded, so nothing was opened");
    }
  };
  return () => (written ??= write());
}

/** @throws VaultError url_not_allowed. The list is of hosts as the connector names them, before any mapping. */
function allowedUrl(text: string, options: RequestOptions, hosts: readonly string[]): URL {
  const url = URL.parse(text);
  if (url === null) throw new VaultError("url_not_allowed", "not a URL");
  assertHttpsUrl(url);
  if (!hosts.includes(url.host)) throw new VaultError("url_not_allowed", "the connector does not list the host");
  for (const [name, value] of Object.entries(options.query ?? {})) url.searchParams.set(name, value);
  url.hash = "";
  return url;
}

/** Sends, and follows redirects that stay on the origin: the credential goes nowhere else. */
async function follow(
  parts: VaultParts,
  start: URL,
  options: RequestOptions,
  attach: Attach,
  token: string,
  signal: AbortSignal,
): Promise<OutboundResponse> {
  let { url, method, ...content } = { url: start, method: options.method ?? "GET", ...contentOf(options) };
  for (let redirects = 0; ; redirects++) {
    const request = { method, ...content, signal, bodyBytesMax: parts.limits.responseBytesMax };
    const response = await sendWith(parts, url, request, attach, token);
    const location = response.headers.get("location");
    if (![301, 302, 303, 307, 308].includes(response.status) || location === null) return response;
    url = sameOrigin(parts, url, location);
    if (redirects === REDIRECTS_MAX) throw new VaultError("url_not_allowed", "too many redirects");
    const becomesGet = response.status === 303 || (response.status < 303 && method === "POST");
    if (becomesGet) [method, content] = ["GET", { headers: content.headers, body: undefined }];
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
  attach: Attach,
  token: string,
): Promise<OutboundResponse> {
  const { body, ...rest } = request;
  const headers = new Headers(request.headers);
  const target = new URL(url);
  const value = (attach.template ?? "{}").replace("{}", () => token);
  if (attach.in === "query") target.searchParams.set(attach.name, value);
  else setHeader(headers, attach.name, value);
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

/** Compares what a redirect names with the logical origin, and with the origin that stands in for it. */
function sameOrigin(parts: VaultParts, from: URL, location: string): URL {
  const mapped = parts.outbound.mapUrl(from);
  const to = URL.parse(location, mapped.href);
  const stays =
    to !== null && to.username === "" && to.password === "" && [from.origin, mapped.origin].includes(to.origin);
  if (!stays) throw new VaultError("url_not_allowed", "the provider redirects to another origin");
  return onOrigin(to, from.origin);
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
