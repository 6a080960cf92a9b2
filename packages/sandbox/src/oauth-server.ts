import { hash, timingSafeEqual } from "node:crypto";
import type { SandboxClock } from "./clock.ts";
import type { Journal } from "./journal.ts";

/** How a provider's OAuth differs from the next one's. Strict where nothing is said. */
export interface OAuthQuirks {
  /** Name of the provider, as the consent page shows it. */
  readonly provider: string;
  readonly paths: { readonly authorize: string; readonly token: string; readonly revoke?: string };
  /** What can be asked for, and what it means to a person. */
  readonly scopes: Readonly<Record<string, string>>;
  readonly scopeSeparator: " " | ",";
  /** The person can untick a permission. Default false. */
  readonly granularConsent?: boolean;
  /** Content types that the token endpoint takes. */
  readonly tokenContentTypes: readonly ("form" | "json")[];
  /** "ignored" never checks a verifier. */
  readonly pkce: "required" | "allowed" | "ignored";
  readonly clientAuth: readonly ("basic" | "post")[];
  /** Default true, as RFC 6749 §4.1.1 has it. */
  readonly responseTypeRequired?: boolean;
  /** The token request must repeat a redirect URI that the authorization request had (RFC 6749 §4.1.3). Default true. */
  readonly redirectUriRepeated?: boolean;
  /** "none" issues no refresh token, "keep" one for good, "rotate" a new one at each use. */
  readonly refresh: "none" | "keep" | "rotate";
  /** A rotated refresh token answers the same again for so long, ms; later its whole family is revoked. Default 0. */
  readonly rotationGraceMs?: number;
  /** Absent: access tokens do not expire. */
  readonly expiresInSeconds?: number;
  /** Error codes. Defaults: RFC 6749 §5.2. */
  readonly errors?: { readonly code?: string; readonly refresh?: string; readonly client?: string };
  readonly clientErrorStatus?: 400 | 401;
}

/** An OAuth client that the simulated provider knows. */
export interface SandboxClient {
  readonly clientId: string;
  readonly clientSecret: string;
  /** Matched exactly. */
  readonly redirectUris: readonly string[];
  /** Shown on the consent page. Default: the client id. */
  readonly name?: string;
}

/** Somebody who does not exist. */
export interface SandboxAccount {
  readonly id: string;
  readonly name: string;
  readonly email: string;
}

/** What a valid access token stands for. */
export interface Access {
  readonly account: SandboxAccount;
  readonly clientId: string;
  readonly scopes: ReadonlySet<string>;
}

export interface CodeRequest {
  readonly clientId: string;
  /** As the authorization request had it. */
  readonly redirectUri: string | undefined;
  readonly challenge: string | undefined;
  readonly scopes: readonly string[];
  readonly accountId: string;
}

export interface TokenAnswer {
  readonly access_token: string;
  readonly token_type: "Bearer";
  readonly scope: string;
  readonly expires_in?: number;
  readonly refresh_token?: string;
}

/** Grants, codes and tokens of one provider; {@link oauthRoutes} puts it on HTTP. */
export interface OAuthServer {
  readonly quirks: OAuthQuirks;
  readonly accounts: readonly SandboxAccount[];
  client(clientId: string): SandboxClient | undefined;
  authenticateClient(clientId: string, clientSecret: string): boolean;
  issueCode(request: CodeRequest): string;
  /** @returns a string: the error code to answer with. */
  redeemCode(exchange: CodeExchange): TokenAnswer | string;
  refresh(clientId: string, refreshToken: string): TokenAnswer | string;
  /** What the bearer of an `authorization` header may do. */
  authenticate(authorization: string | null | undefined): Access | undefined;
  /** Ends the grant that an access or refresh token of this client belongs to; does nothing for an unknown one. */
  revoke(clientId: string, token: string): void;
  hasGrant(clientId: string): boolean;
  readonly tokens: TokenControl;
  clear(): void;
  /** Grants, codes and tokens, for {@link OAuthServer.restore}; shares structure, so write it down at once. */
  snapshot(): unknown;
  restore(snapshot: unknown): void;
}

export interface CodeExchange {
  readonly clientId: string;
  readonly code: string;
  readonly redirectUri: string | undefined;
  readonly verifier: string | undefined;
}

/** What a test or a demo does to tokens behind everybody's back. */
export interface TokenControl {
  /** Every access token expires now; refresh tokens stay. */
  expire(): void;
  /** Every grant ends, as when the person withdraws consent at the provider. */
  revoke(): void;
  /** Access tokens that work right now. */
  readonly live: number;
}

export interface OAuthServerOptions {
  readonly quirks: OAuthQuirks;
  readonly clients: readonly SandboxClient[];
  readonly accounts: readonly [SandboxAccount, ...SandboxAccount[]];
  readonly clock: SandboxClock;
  readonly journal: Journal;
  /** Hexadecimal, of so many bytes. */
  readonly random: (bytes: number) => string;
  /** Every code and token starts with it, so that a test can search for them where they must not be. Default "". */
  readonly tokenPrefix?: string;
}

interface Grant {
  readonly clientId: string;
  readonly accountId: string;
  readonly scopes: readonly string[];
  revoked: boolean;
}
interface Code extends CodeRequest {
  readonly expiresAt: number;
  grant?: Grant;
}
interface RefreshToken {
  readonly grant: Grant;
  rotated?: { readonly at: number; readonly answer: TokenAnswer };
}

/** RFC 6749 §4.1.2 recommends ten minutes at most. */
const CODE_MS = 10 * 60_000;
const KEPT_MAX = 10_000;

export function createOAuthServer(options: OAuthServerOptions): OAuthServer {
  const { quirks, clock, journal } = options;
  const codes = new Map<string, Code>();
  const accessTokens = new Map<string, { readonly grant: Grant; expiresAt: number }>();
  const refreshTokens = new Map<string, RefreshToken>();
  const now = (): number => clock.now().getTime();
  const token = (): string => `${options.tokenPrefix ?? ""}${options.random(20)}`;
  const invalidCode = quirks.errors?.code ?? "invalid_grant";
  const invalidRefresh = quirks.errors?.refresh ?? "invalid_grant";

  const issue = (grant: Grant, kept?: string): TokenAnswer => {
    journal.count("tokens.issued");
    const lifeSeconds = quirks.expiresInSeconds;
    const access = token();
    remember(accessTokens, access, {
      grant,
      expiresAt: lifeSeconds === undefined ? Infinity : now() + lifeSeconds * 1000,
    });
    const refresh = quirks.refresh === "none" ? undefined : (kept ?? token());
    if (refresh !== undefined && kept === undefined) remember(refreshTokens, refresh, { grant });
    return {
      access_token: access,
      token_type: "Bearer",
      scope: grant.scopes.join(" "),
      ...(lifeSeconds === undefined ? {} : { expires_in: lifeSeconds }),
      ...(refresh === undefined ? {} : { refresh_token: refresh }),
    };
  };
  const working = (access: string): { readonly grant: Grant } | undefined => {
    const found = accessTokens.get(access);
    return found === undefined || found.grant.revoked || found.expiresAt <= now() ? undefined : found;
  };
  const grants = (): Grant[] => [...accessTokens.values(), ...refreshTokens.values()].map(({ grant }) => grant);

  return {
    quirks,
    accounts: options.accounts,
    client: (clientId) => options.clients.find((client) => client.clientId === clientId),
    authenticateClient: (clientId, clientSecret) =>
      options.clients.some((client) => client.clientId === clientId && same(client.clientSecret, clientSecret)),
    issueCode: (request) => {
      const code = token();
      remember(codes, code, { ...request, expiresAt: now() + CODE_MS });
      return code;
    },
    redeemCode: (exchange) => {
      const code = codes.get(exchange.code);
      if (code === undefined || code.clientId !== exchange.clientId) return invalidCode;
      if (code.grant !== undefined) {
        // RFC 6749 §4.1.2: a code that comes twice may have been stolen, so what it gave is taken back.
        code.grant.revoked = true;
        return invalidCode;
      }
      if (code.expiresAt <= now() || !sameRedirect(quirks, code, exchange) || !proven(quirks, code, exchange))
        return invalidCode;
      const { clientId, accountId, scopes } = code;
      code.grant = { clientId, accountId, scopes, revoked: false };
      return issue(code.grant);
    },
    refresh: (clientId, refreshToken) => {
      const found = refreshTokens.get(refreshToken);
      if (found === undefined || found.grant.clientId !== clientId || found.grant.revoked) return invalidRefresh;
      journal.count("tokens.refreshed");
      if (quirks.refresh === "keep") return issue(found.grant, refreshToken);
      if (found.rotated === undefined) {
        const answer = issue(found.grant);
        found.rotated = { at: now(), answer };
        return answer;
      }
      if (now() - found.rotated.at < (quirks.rotationGraceMs ?? 0)) return found.rotated.answer;
      // RFC 9700 §4.14.2: one of the two who hold it is not who it was given to.
      found.grant.revoked = true;
      return invalidRefresh;
    },
    authenticate: (authorization) => {
      const found = working(/^Bearer (.+)$/i.exec(authorization ?? "")?.[1] ?? "");
      const account = options.accounts.find(({ id }) => id === found?.grant.accountId);
      if (found === undefined || account === undefined) return undefined;
      return { account, clientId: found.grant.clientId, scopes: new Set(found.grant.scopes) };
    },
    revoke: (clientId, revoked) => {
      const grant = (accessTokens.get(revoked) ?? refreshTokens.get(revoked))?.grant;
      if (grant?.clientId === clientId) grant.revoked = true;
      journal.count("tokens.revoked");
    },
    hasGrant: (clientId) => grants().some((grant) => grant.clientId === clientId && !grant.revoked),
    tokens: {
      expire: () => {
        for (const access of accessTokens.values()) access.expiresAt = now();
      },
      revoke: () => {
        for (const grant of grants()) grant.revoked = true;
      },
      get live() {
        return [...accessTokens.keys()].filter((access) => working(access) !== undefined).length;
      },
    },
    clear: () => {
      for (const map of [codes, accessTokens, refreshTokens]) map.clear();
    },
    snapshot: () => ({ codes, accessTokens, refreshTokens }),
    restore: (snapshot) => {
      const kept = snapshot as {
        codes: typeof codes;
        accessTokens: typeof accessTokens;
        refreshTokens: typeof refreshTokens;
      };
      for (const [code, value] of kept.codes) codes.set(code, value);
      for (const [access, value] of kept.accessTokens) accessTokens.set(access, value);
      for (const [refresh, value] of kept.refreshTokens) refreshTokens.set(refresh, value);
    },
  };
}

function sameRedirect({ redirectUriRepeated = true }: OAuthQuirks, code: Code, { redirectUri }: CodeExchange): boolean {
  if (redirectUri === undefined) return code.redirectUri === undefined || !redirectUriRepeated;
  return redirectUri === code.redirectUri;
}

/** RFC 7636 §4.6. A verifier without a challenge is refused too: it means that the challenge was taken out (RFC 9700 §2.1.1). */
function proven({ pkce }: OAuthQuirks, { challenge }: Code, { verifier }: CodeExchange): boolean {
  if (pkce === "ignored") return true;
  if (challenge === undefined || verifier === undefined) return challenge === verifier;
  return same(challenge, hash("sha256", verifier, "base64url"));
}

/** The oldest goes first: nothing here is worth more memory. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  const oldest = map.size >= KEPT_MAX ? map.keys().next().value : undefined;
  if (oldest !== undefined) map.delete(oldest);
  map.set(key, value);
}

function same(one: string, other: string): boolean {
  const [left, right] = [hash("sha256", one, "buffer"), hash("sha256", other, "buffer")];
  return timingSafeEqual(left, right);
}
