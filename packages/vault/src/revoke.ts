import type { OAuth2Spec, SecretRef, SecretRequest } from "@tributary/sdk";
import type { Access } from "./access.ts";
import { partyOfGrant } from "./clients.ts";
import { VaultError } from "./errors.ts";
import { openOnce, readGrant } from "./grants.ts";
import { type Party, revokeToken, safeCode } from "./oauth.ts";
import type { VaultParts } from "./parts.ts";
import { readTerms } from "./terms.ts";
import type { CredentialScope } from "./vault.ts";

const ANSWER_BYTES_MAX = 64 * 1024;

/**
 * Withdraws consent as the provider wants it asked. Done means: the provider said yes, or that it does not know the
 * token.
 * @throws VaultError provider_unavailable · oauth_client_invalid · credential_missing · credential_integrity_error.
 */
export async function revokeConsent(
  parts: VaultParts,
  scope: CredentialScope,
  spec: OAuth2Spec,
  signal: AbortSignal,
  access: Access,
): Promise<void> {
  const grant = await readGrant(parts, scope);
  if (grant === undefined) throw new VaultError("credential_missing", "there is no such credential");
  const party = await partyOfGrant(parts, scope, await readTerms(parts, scope), spec, access);
  const secrets = new Map<string, string>();
  // The refresh token first: with it gone no new access token can be made meanwhile.
  for (const field of Object.keys(grant.secretIds).toSorted().toReversed()) {
    const value = await openOnce(parts, scope, field, grant.generation, access);
    if (value !== undefined) secrets.set(field, value);
  }
  const { revocation } = party.spec;
  if (typeof revocation === "object") return sendSecretRequest(parts, party, revocation, secrets, signal);
  for (const [field, token] of secrets) await revokeToken(party, token, field);
}

async function sendSecretRequest(
  parts: VaultParts,
  { client }: Party,
  request: SecretRequest,
  secrets: ReadonlyMap<string, string>,
  signal: AbortSignal,
): Promise<void> {
  const known = new Map([...secrets, ["client_id", client.clientId], ["client_secret", client.clientSecret]]);
  const url = new URL(request.url);
  const headers = new Headers({ accept: "application/json" });
  for (const [name, value] of Object.entries(fill(request.query ?? {}, known))) url.searchParams.set(name, value);
  let body: string | undefined;
  if (request.form !== undefined) {
    headers.set("content-type", "application/x-www-form-urlencoded");
    body = new URLSearchParams(fill(request.form, known)).toString();
  } else if (request.json !== undefined) {
    headers.set("content-type", "application/json");
    body = JSON.stringify(fill(request.json, known));
  }
  if (request.basic === "client") headers.set("authorization", basic(client.clientId, client.clientSecret));
  const answer = await parts.outbound.fetch(url, {
    method: request.method,
    headers,
    signal: AbortSignal.any([signal, AbortSignal.timeout(parts.limits.tokenRequestMs)]),
    bodyBytesMax: ANSWER_BYTES_MAX,
    ...(body === undefined ? {} : { body }),
  });
  assertRevoked(answer.status, errorIn(answer.body), request.basic === "client");
}

function assertRevoked(status: number, error: string | undefined, asClient: boolean): void {
  if (status >= 200 && status < 300) return;
  if (error === "invalid_token" || error === "invalid_grant" || status === 404 || status === 410) return;
  if (error === "invalid_client" || (status === 401 && asClient))
    throw new VaultError("oauth_client_invalid", "the provider refused the OAuth client's id or secret", error);
  // Sent with the token alone, 401 says that the token is unknown.
  if (status === 401) return;
  throw new VaultError("provider_unavailable", "the provider did not confirm the revocation", error);
}

function fill(
  fields: Readonly<Record<string, string | SecretRef>>,
  secrets: ReadonlyMap<string, string>,
): Record<string, string> {
  const filled = Object.entries(fields).map(([name, value]): [string, string] => {
    if (typeof value === "string") return [name, value];
    const secret = secrets.get(value.secret);
    if (secret === undefined) throw new VaultError("credential_missing", "the credential has no such secret");
    return [name, secret];
  });
  return Object.fromEntries(filled);
}

/** RFC 7617, of UTF-8. */
const basic = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`, "utf8").toString("base64")}`;

function errorIn(body: Uint8Array): string | undefined {
  try {
    const json = JSON.parse(new TextDecoder().decode(body)) as { readonly error?: unknown } | null;
    return safeCode(json?.error);
  } catch {
    return undefined;
  }
}
