import type { OAuth2Spec, RequestOptions } from "@tributary/sdk";

/**
 * The boundary behind which plaintext lives. Nothing here returns a secret: callers get requests sent with the
 * credential attached, and opaque ids.
 *
 * A credential's life: `beginConsent` → the browser goes to the provider → `takeFlow` (verifies who came back) →
 * `redeem` (exchanges the code, seals) → `accept` (the connection exists) → `open` … `fetch` … → `revoke` → `forget`.
 */
export interface Vault {
  /** Makes a single-use flow of 10 minutes, bound to the person, the session, the integration and the organisation. */
  beginConsent(
    request: ConsentRequest,
  ): Promise<{ readonly url: string; readonly flowId: string; readonly expiresAt: Date }>;

  /**
   * Consumes the flow that an OAuth callback belongs to. Sends nothing to the provider.
   * @throws VaultError oauth_state_invalid (unknown, used or expired) · oauth_session_mismatch (another person,
   * session, organisation or context) · oauth_issuer_mismatch · oauth_denied and oauth_provider_error (the provider's
   * own refusal; `detail` is its error code).
   */
  takeFlow(callback: ConsentCallback): Promise<ConsentFlow>;

  /**
   * Exchanges the code and seals what comes back under `flow.scope`, not yet accepted: an abandoned one is swept.
   * @throws VaultError oauth_exchange_rejected · oauth_client_invalid · provider_unavailable.
   */
  redeem(flow: ConsentFlow, code: string): Promise<Grant>;

  /** The credential belongs to a connection now. Idempotent. */
  accept(scope: CredentialScope): Promise<void>;

  /**
   * A session with one credential for one purpose. The first use commits an audit row before anything is decrypted; a
   * data key lives at most 60 s in memory.
   */
  open(scope: CredentialScope, use: CredentialUse): CredentialSession;

  /** What is known of a credential without opening it; undefined when there is none. */
  describe(scope: CredentialScope): Promise<Grant | undefined>;

  /**
   * Whether a webhook body was signed with a client's secret. Constant time.
   * @param contextId the OAuth client's context.
   */
  verifySignature(
    contextId: string,
    algorithm: "hmac-sha256",
    body: Uint8Array,
    signature: Uint8Array,
  ): Promise<boolean>;

  /** Deletes every secret of a credential. Idempotent. @returns how many were deleted. */
  forget(scope: CredentialScope): Promise<number>;

  /** Deletes flows that expired and secrets that were never accepted. Called now and then. */
  sweep(): Promise<void>;
}

/** Whose credential, for what: part of the authenticated data of every ciphertext, always taken from the caller's own context. */
export interface CredentialScope {
  readonly organizationId: string;
  readonly integration: string;
  readonly owner: { readonly kind: "user" | "organization"; readonly id: string };
  readonly credentialId: string;
}

/** Who is at the browser. */
export interface Person {
  readonly userId: string;
  /** SHA-256 of the session token, hex. */
  readonly sessionHash: string;
}

export interface ConsentRequest {
  readonly scope: CredentialScope;
  readonly person: Person;
  readonly spec: OAuth2Spec;
  /** Scope ids, in the connector's order. */
  readonly scopes: readonly string[];
  /** The connection that is being made, or made again. */
  readonly connectionId: string;
  readonly parameters?: Readonly<Record<string, string>>;
}

export interface ConsentCallback {
  /** From the path of the callback: one per integration and OAuth client. */
  readonly contextId: string;
  /** The callback's query as it came; a repeated parameter is refused. */
  readonly query: URLSearchParams;
  readonly person: Person;
  readonly organizationId: string;
}

export interface ConsentFlow {
  readonly flowId: string;
  readonly scope: CredentialScope;
  readonly connectionId: string;
  readonly contextId: string;
  readonly code: string;
}

export interface Grant {
  /** Opaque ids of the secrets, by name ("access_token", "refresh_token"). */
  readonly secretIds: Readonly<Record<string, string>>;
  /** What the provider says it granted; what was asked for when it does not say. */
  readonly scopes: readonly string[];
  readonly expiresAt: Date | undefined;
}

export interface CredentialUse {
  readonly spec: OAuth2Spec;
  /** Exact hosts that requests may go to. */
  readonly hosts: readonly string[];
  readonly purpose: "sync" | "action" | "check" | "identify" | "revoke" | "webhook";
  /** Run or request that this belongs to; kept in the audit. */
  readonly correlationId: string;
  readonly signal: AbortSignal;
}

export interface CredentialSession {
  /**
   * Sends one request with the credential attached; renews the credential once on 401, in a single flight across
   * processes. 30 s and 16 MiB at most; no redirect is followed to another origin.
   * @throws VaultError reauth_required · url_not_allowed · response_too_large · provider_unavailable · oauth_client_invalid ·
   * credential_missing · credential_integrity_error · audit_unavailable.
   */
  fetch(url: string, options?: RequestOptions): Promise<Response>;
  /**
   * Withdraws consent at the provider as `spec.revocation` says; refresh token first. An answer that the token is
   * unknown counts as done.
   * @returns "unsupported" when the spec declares no revocation. @throws VaultError provider_unavailable.
   */
  revoke(): Promise<"revoked" | "unsupported">;
}
