import type { Account, Connector, FlowState, User } from "./connector.ts";

/** What the pages show next. */
export type Challenge =
  | { readonly kind: "redirect"; readonly url: string }
  | { readonly kind: "form"; readonly fields: readonly Field[] };

export interface Field {
  readonly name: string;
  readonly label: string;
  readonly secret: boolean;
}

/** A placeholder that the vault fills in at the moment of sending. Nothing a connector can read. */
export interface SecretRef {
  readonly secret: string;
}
export const secret = (name: string): SecretRef => ({ secret: name });

/** A request that the vault sends on the connector's behalf, with secrets in place. */
export interface SecretRequest {
  readonly method: "GET" | "POST" | "DELETE";
  readonly url: string;
  readonly query?: Readonly<Record<string, string | SecretRef>>;
  readonly form?: Readonly<Record<string, string | SecretRef>>;
  readonly json?: Readonly<Record<string, string | SecretRef>>;
  /** HTTP Basic with the OAuth client's id and secret. */
  readonly basic?: "client";
}

/**
 * The authorization-code grant (RFC 6749 §4.1) with PKCE (RFC 7636), as a provider does it. Addresses may have
 * placeholders, "https://{subdomain}.example.com/token", that an organisation fills: each is one DNS label, and two
 * labels at least stand after the last one in a host.
 */
export interface OAuth2Spec {
  readonly authorizationUrl: string;
  readonly tokenUrl: string;
  /** RFC 9207: the provider's issuer identifier, when its answers name it. Then an answer without it is refused. */
  readonly issuer?: string;
  /** Default: " ", as RFC 6749 §3.3 has it. */
  readonly scopeSeparator?: " " | ",";
  /** Default: "S256". "none" needs the reason why the provider cannot. */
  readonly pkce?: "S256" | { readonly none: string };
  /** How the client shows who it is at the token endpoint. Default: "basic". */
  readonly clientAuth?: "basic" | "post";
  /** More parameters of the authorization request. */
  readonly parameters?: Readonly<Record<string, string>>;
  /** Standard RFC 7009 endpoint, or a request of the provider's own. Absent: consent can only be withdrawn by hand. */
  readonly revocation?: string | SecretRequest;
  /** Default: `authorization: Bearer {access_token}`. */
  readonly attach?: Attach;
  /** Renew before expiry in the background, or when a request needs it. Default: "background". */
  readonly refresh?: "background" | "on-demand";
  /**
   * Hosts that the token endpoint was on before. A credential is bound to the host that it was made at: when the provider
   * moves its endpoint, people have to link again, unless the old host stands here.
   */
  readonly formerTokenHosts?: readonly string[];
}

/** Where the credential goes in a request. `template` has one "{}", replaced by the secret: "Bearer {}". */
export interface Attach {
  readonly in: "header" | "query";
  readonly name: string;
  readonly secret: string;
  readonly template?: string;
}

export type Auth = { readonly kind: "oauth2" } & OAuth2Spec;

type Consent = Pick<Connector, "auth" | "beginOAuth" | "finishOAuth" | "revoke">;
type Identify = (user: User) => Promise<Account>;

/**
 * OAuth 2 consent. Spread into a connector: gives `auth`, `beginOAuth`, `finishOAuth` and `revoke`.
 * `identify` asks the provider whose account was linked, with the fresh credential.
 */
export function oauth2(spec: OAuth2Spec, identify: Identify): Consent {
  return {
    auth: { kind: "oauth2", ...spec },
    beginOAuth: (user: User) => user.begin(),
    finishOAuth: async (code: string, state: FlowState) => identify(await state.redeem(code)),
    revoke: (user: User) => user.forget(),
  };
}
