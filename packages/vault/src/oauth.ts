import type { OAuth2Spec } from "@tributary/sdk";
import * as oauth from "openid-client";
import { VaultError } from "./errors.ts";
import { readAnswer } from "./oauth-answer.ts";
import type { Outbound } from "./outbound.ts";

/**
 * The OAuth 2 client, and the only importer of openid-client. A provider's habits are data (`OAuth2Spec`). The errors of
 * the library hold codes, tokens and whole answers: none of them leaves this file, not even as a cause.
 */

/** An OAuth client of ours at a provider, and the callback that belongs to it alone. */
export interface OAuthClient {
  /** Part of the callback's path: `/api/integrations/oauth/callback/{contextId}`. */
  readonly contextId: string;
  /** Id of the connector. */
  readonly integration: string;
  readonly clientId: string;
  readonly clientSecret: string;
}

/** One conversation with a provider: who we are, what it is like, and how to reach it. */
export interface Party {
  readonly spec: OAuth2Spec;
  readonly client: OAuthClient;
  readonly redirectUri: string;
  readonly outbound: Outbound;
  readonly timeoutMs: number;
}

/** Tokens in the clear; they go straight into sealing. */
export interface Tokens {
  readonly fields: ReadonlyMap<string, string>;
  readonly scopes: readonly string[] | undefined;
  readonly expiresInSeconds: number | undefined;
}

/** What a renewal came to; a definite failure of another kind is thrown. */
export type Renewal =
  | { readonly kind: "tokens"; readonly tokens: Tokens }
  /** `invalid_grant`: the provider no longer knows this refresh token. */
  | { readonly kind: "refused"; readonly detail: string | undefined }
  /** The request may have had its effect, and the answer is lost. */
  | { readonly kind: "unknown" };

const ANSWER_BYTES_MAX = 256 * 1024;
const TOKEN_CHARACTERS_MAX = 16 * 1024;

export interface AuthorizationRequest {
  readonly state: string;
  readonly scopes: readonly string[];
  readonly parameters: Readonly<Record<string, string>>;
}

/** 256 random bits each, base64url (RFC 7636 §4.1 asks a verifier for 43 to 128 characters). */
export const newState = (): string => oauth.randomState();
export const newVerifier = (): string => oauth.randomPKCECodeVerifier();

/** The logical URL that the browser goes to (RFC 6749 §4.1.1, RFC 7636 §4.3). */
export async function authorizationUrl(party: Party, request: AuthorizationRequest, verifier: string): Promise<URL> {
  const { spec, redirectUri } = party;
  const parameters = new URLSearchParams({ ...spec.parameters, ...request.parameters });
  // Set last, so that no parameter of a connector or a caller replaces what protects the flow.
  parameters.set("response_type", "code");
  parameters.set("client_id", party.client.clientId);
  parameters.set("redirect_uri", redirectUri);
  parameters.set("state", request.state);
  if (request.scopes.length > 0) parameters.set("scope", request.scopes.join(spec.scopeSeparator ?? " "));
  parameters.delete("code_challenge");
  parameters.delete("code_challenge_method");
  if (usesPkce(spec)) {
    parameters.set("code_challenge", await oauth.calculatePKCECodeChallenge(verifier));
    parameters.set("code_challenge_method", "S256");
  }
  return oauth.buildAuthorizationUrl(configuration(party, {}), parameters);
}

/** @throws VaultError oauth_exchange_rejected · oauth_client_invalid · provider_unavailable · url_not_allowed. */
export async function exchangeCode(party: Party, code: string, verifier: string): Promise<Tokens> {
  const seen: Seen = {};
  // Only the code: what else the callback carried has been judged when the flow was taken.
  const callback = new URL(party.redirectUri);
  callback.searchParams.set("code", code);
  if (party.spec.issuer !== undefined) callback.searchParams.set("iss", party.spec.issuer);
  const checks = usesPkce(party.spec) ? { pkceCodeVerifier: verifier } : {};
  try {
    return tokensOf(await oauth.authorizationCodeGrant(configuration(party, seen), callback, checks));
  } catch (error) {
    const failure = judge(error, seen);
    if (failure.kind === "unavailable" || failure.kind === "unknown") throw unavailable(failure.detail);
    throw new VaultError("oauth_exchange_rejected", "the provider refused the authorization code", failure.detail);
  }
}

/** @throws VaultError oauth_client_invalid · provider_unavailable · url_not_allowed. */
export async function refreshTokens(party: Party, refreshToken: string): Promise<Renewal> {
  const seen: Seen = {};
  try {
    return {
      kind: "tokens",
      tokens: tokensOf(await oauth.refreshTokenGrant(configuration(party, seen), refreshToken)),
    };
  } catch (error) {
    const failure = judge(error, seen);
    if (failure.kind === "refused") return { kind: "refused", detail: failure.detail };
    if (failure.kind === "unknown") return { kind: "unknown" };
    throw unavailable(failure.detail);
  }
}

/**
 * RFC 7009. A token that the provider does not know (any more) counts as revoked, whichever way it says so.
 * @throws VaultError provider_unavailable · oauth_client_invalid · url_not_allowed.
 */
export async function revokeToken(party: Party, token: string, hint: string): Promise<void> {
  const seen: Seen = {};
  try {
    await oauth.tokenRevocation(configuration(party, seen), token, { token_type_hint: hint });
  } catch (error) {
    const failure = judge(error, seen);
    if (failure.kind === "refused" || failure.detail === "invalid_token") return;
    throw unavailable(failure.detail);
  }
}

/** A provider's error code, cut to what is safe to keep (RFC 6749 §5.2 allows any printable ASCII). */
export function safeCode(code: unknown): string | undefined {
  return typeof code === "string" && /^[a-z]+(?:_[a-z]+){0,5}$/.test(code) && code.length <= 48 ? code : undefined;
}

const usesPkce = (spec: OAuth2Spec): boolean => spec.pkce === undefined || spec.pkce === "S256";

/** What the network saw, beside what the library made of it. */
interface Seen {
  status?: number;
  failure?: unknown;
}

function configuration({ spec, client, outbound, timeoutMs }: Party, seen: Seen): oauth.Configuration {
  const config = new oauth.Configuration(
    {
      issuer: spec.issuer ?? new URL(spec.tokenUrl).origin,
      authorization_endpoint: spec.authorizationUrl,
      token_endpoint: spec.tokenUrl,
      authorization_response_iss_parameter_supported: spec.issuer !== undefined,
      ...(typeof spec.revocation === "string" ? { revocation_endpoint: spec.revocation } : {}),
    },
    client.clientId,
    {},
    spec.clientAuth === "post"
      ? oauth.ClientSecretPost(client.clientSecret)
      : oauth.ClientSecretBasic(client.clientSecret),
  );
  config.timeout = timeoutMs / 1000;
  config[oauth.customFetch] = async (url, init) => {
    try {
      const answer = await outbound.fetch(new URL(url), {
        method: init.method,
        headers: new Headers(init.headers),
        // openid-client sends forms, as URLSearchParams or text.
        body:
          init.body instanceof URLSearchParams ? init.body.toString() : typeof init.body === "string" ? init.body : "",
        signal: init.signal ?? AbortSignal.timeout(timeoutMs),
        bodyBytesMax: ANSWER_BYTES_MAX,
      });
      seen.status = answer.status;
      return conform(answer.status, answer.headers, answer.body);
    } catch (error) {
      seen.failure = error;
      throw error;
    }
  };
  return config;
}

/**
 * Brings answers that providers give into the shape that the RFCs ask for: 204 for a revocation; an error with status
 * 200; an error behind a WWW-Authenticate header, which would hide its code. What is no answer goes on without its body.
 */
function conform(status: number, headers: Headers, body: Uint8Array<ArrayBuffer>): Response {
  const kept = new Headers({ "content-type": headers.get("content-type") ?? "" });
  if (status === 204) return new Response(null, { status: 200, headers: kept });
  if (status === 205 || status === 304) return new Response(null, { status, headers: kept });
  const answer = readAnswer(body);
  if (answer === undefined) return new Response("", { status, headers: kept });
  const failed = status < 300 && typeof answer["error"] === "string" && !("access_token" in answer);
  return Response.json(answer, { status: failed ? 400 : status, headers: kept });
}

interface Failure {
  readonly kind: "refused" | "rejected" | "unavailable" | "unknown";
  readonly detail: string | undefined;
}

/** Names that mean `invalid_grant` and `invalid_client`; the second of each is Todoist's (its OAuth documentation). */
const REFUSED = new Set(["invalid_grant", "bad_authorization_code"]);
const CLIENT_INVALID = new Set(["invalid_client", "incorrect_application_credentials", "unauthorized_client"]);
const BUSY = new Set(["temporarily_unavailable", "server_error", "slow_down"]);

/** @throws VaultError oauth_client_invalid · url_not_allowed · response_too_large, which mean the same wherever they occur. */
function judge(error: unknown, seen: Seen): Failure {
  if (error instanceof VaultError) throw error;
  if (seen.failure instanceof VaultError && seen.failure.code !== "provider_unavailable") throw seen.failure;
  const { status } = seen;
  if (seen.failure !== undefined || status === undefined) return { kind: "unknown", detail: undefined };
  const detail = error instanceof oauth.ResponseBodyError ? safeCode(error.error) : undefined;
  if (status >= 500 || status === 429 || (detail !== undefined && BUSY.has(detail)))
    return { kind: "unavailable", detail };
  if ((detail !== undefined && CLIENT_INVALID.has(detail)) || (status === 401 && detail === undefined))
    throw new VaultError("oauth_client_invalid", "the provider refused the OAuth client's id or secret", detail);
  if (detail !== undefined && REFUSED.has(detail)) return { kind: "refused", detail };
  // Half an answer with a good status: the tokens may have been made, and are lost.
  if (status < 300) return { kind: "unknown", detail };
  return { kind: "rejected", detail };
}

const unavailable = (detail: string | undefined): VaultError =>
  new VaultError("provider_unavailable", "the provider's OAuth endpoint is not answering as it should", detail);

function tokensOf(answer: oauth.TokenEndpointResponse): Tokens {
  // The library takes "dpop" as well, and such a token is of no use without its key.
  if (answer.token_type.toLowerCase() !== "bearer")
    throw new VaultError("provider_unavailable", "the provider's tokens are not of a kind that can be sent");
  const fields = new Map<string, string>();
  for (const name of ["access_token", "refresh_token"] as const) {
    const token = answer[name];
    if (token === undefined || token === "") continue;
    // RFC 6749 appendix A.12: visible ASCII. Anything else could not be sent in a header, and its error would quote it.
    if (token.length > TOKEN_CHARACTERS_MAX || !/^[\x20-\x7e]+$/.test(token))
      throw new VaultError("provider_unavailable", "the provider's tokens are not of a form that can be sent");
    fields.set(name, token);
  }
  return {
    fields,
    scopes: answer.scope === undefined ? undefined : answer.scope.split(/[\s,]+/).filter((scope) => scope !== ""),
    expiresInSeconds: answer.expires_in,
  };
}
