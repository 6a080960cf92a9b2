import type { IntegrationSecret, IntegrationSecrets } from "./integration-secrets.ts";
import type { OAuth2Spec, RequestOptions } from "@tributary/sdk";
import type { Erased, Erasure, ErasureTarget } from "./erasure.ts";

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
   * Whose client a webhook body was signed with the secret of; undefined for none. Constant time.
   * @param contextId the OAuth client's context.
   */
  verifySignature(
    contextId: string,
    algorithm: "hmac-sha256",
    body: Uint8Array,
    signature: Uint8Array,
  ): Promise<SignedContext | undefined>;

  /**
   * Stores a secret that an organisation configured for an integration, or gives the one of that name a new value under
   * the same id. Safe to repeat. @returns the secret's id. @throws VaultError secret_required.
   */
  storeIntegrationSecret(secret: IntegrationSecret): Promise<string>;

  /**
   * What an organisation has stored for an integration: names and ids, and the scope under which `open` makes an
   * authorised session with it. No value is given out. Undefined when nothing is stored.
   */
  integrationSecrets(organizationId: string, integration: string): Promise<IntegrationSecrets | undefined>;

  /** Deletes everything an organisation stored for an integration. Idempotent. @returns how many secrets went. */
  purgeIntegrationSecrets(organizationId: string, integration: string, actor: string): Promise<number>;

  /** Deletes every secret of a credential. Idempotent. @returns how many were deleted. */
  forget(scope: CredentialScope): Promise<number>;

  /**
   * Renews credentials that expire soon, at most `limit` of them; called every minute or so, by any number of processes.
   * Needs no caller's context: what it takes was written down when the code was redeemed. Never throws for one
   * credential: each has its outcome. Fewer outcomes than `limit` means that nothing more is due.
   */
  renewDue(limit: number): Promise<readonly RenewalOutcome[]>;

  /**
   * Keeps an OAuth client that an organisation brought; from then on its people link with it. With a `contextId`, new
   * particulars of that one. The secret is bound to the host of the token endpoint, and is never given out.
   * @throws VaultError oauth_config_incomplete · url_not_allowed · credential_missing (no such context there).
   */
  putClient(client: ClientRequest): Promise<ClientSummary>;

  /** The clients that an organisation brought, newest first. */
  listClients(organizationId: string): Promise<readonly ClientSummary[]>;

  /**
   * Forgets one. What was linked with it cannot be renewed any more.
   * @param actor for the audit; default "vault".
   * @returns false when there is none.
   */
  removeClient(organizationId: string, contextId: string, actor?: string): Promise<boolean>;

  /** Tells this vault's public keys from anybody else's, base64url. Opens nothing: for `createSealer`. */
  readonly verifyKey: string;

  /** Opens a credential form of 10 minutes for one person: its ticket lets one submission in. */
  openForm(request: FormRequest): Promise<FormTicket>;

  /**
   * Takes what a sealer submitted, and makes it the credential's next generation, not yet accepted for a
   * connection: then `accept`, as after `redeem`. What is not as the form asked for it is quarantined.
   * @throws VaultError submission_refused (`detail` says why) · credential_missing when there is no such submission.
   */
  acceptSubmission(organizationId: string, submissionId: string): Promise<Grant>;

  /** Takes what waits in all organisations' inboxes: for a vault in another process than the forms. */
  acceptWaiting(limit: number): Promise<{ readonly accepted: number; readonly refused: number }>;

  /**
   * Erases a person, or a whole organisation, from the vault: destroys their keys, so that nothing that was sealed to
   * them opens in this database or in a copy, and deletes their credentials. Written down in the erasure ledger first.
   * Withdraw consent at the providers before: afterwards nobody can.
   * @throws VaultError erasure_ledger_invalid, with nothing erased.
   */
  erase(target: ErasureTarget): Promise<Erased>;

  /** The erasure ledger, the oldest first. */
  erasures(): Promise<readonly Erasure[]>;

  /**
   * Deletes flows and forms that expired and secrets that were never accepted, and goes on with what a change of keys
   * left. Called now and then.
   */
  sweep(): Promise<void>;
}

export interface FormRequest {
  readonly scope: CredentialScope;
  readonly person: Person;
  /** The names of its secret fields, 1 to 32; a submission has exactly these. */
  readonly fields: readonly string[];
}

/** For the process that serves the form. */
export interface FormTicket {
  readonly formId: string;
  /** Lets one submission in. Stays on the server. */
  readonly nonce: string;
  readonly scope: CredentialScope;
  readonly expiresAt: Date;
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
  /** Which OAuth client. Default: the organisation's own when it has exactly one, else the deployment's first. */
  readonly contextId?: string;
  /** What the placeholders in the spec's addresses stand for; each a DNS label. */
  readonly values?: Readonly<Record<string, string>>;
}

/** An OAuth client that an organisation brings. */
export interface ClientRequest {
  readonly organizationId: string;
  readonly integration: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** Of the connector: the secret is for its token endpoint. */
  readonly spec: OAuth2Spec;
  readonly values?: Readonly<Record<string, string>>;
  /** Absent: a new one. */
  readonly contextId?: string;
  /** Who enters it, for the audit: a user's id, or the name of a service. Default: "vault". */
  readonly actor?: string;
}

/** Whose secret a signature was made with: it may speak for this integration, and for nobody but this organisation. */
export interface SignedContext {
  readonly integration: string;
  /** Undefined: a client of the deployment, which speaks for every organisation. */
  readonly organizationId: string | undefined;
}

export interface ClientSummary {
  /** Opaque, and chosen by us: part of the callback's path. */
  readonly contextId: string;
  readonly integration: string;
  readonly clientId: string;
  /** Where the secret may go. For another host it has to be entered again. */
  readonly tokenHost: string;
  /** To be registered at the provider. */
  readonly redirectUri: string;
}

/** What a renewal in the background came to. */
export interface RenewalOutcome {
  readonly scope: CredentialScope;
  /**
   * `postponed`: tried again by itself (the provider is away). `reauth_required`: the owner has to link again.
   * `oauth_client_invalid`: the client's id or secret has to be corrected; nothing expires, it is tried again in an hour.
   * `gone`: there is nothing to renew any more.
   */
  readonly outcome:
    | "renewed"
    | "postponed"
    | "reauth_required"
    | "oauth_client_invalid"
    | "credential_integrity_error"
    | "gone";
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

/** Why a credential was opened, as the audit has it. */
export type AccessPurpose = CredentialUse["purpose"] | "consent" | "renew";

export interface CredentialUse {
  readonly spec: OAuth2Spec;
  /** Exact hosts that requests may go to; placeholders stand for what they did when the credential was made. */
  readonly hosts: readonly string[];
  readonly purpose: "sync" | "action" | "check" | "identify" | "revoke" | "webhook";
  /** Run or request that this belongs to; kept in the audit. */
  readonly correlationId: string;
  readonly signal: AbortSignal;
}

export interface CredentialSession {
  /**
   * Sends one request with the credential attached; renews the credential once on 401, in a single flight across
   * processes. 30 s and 16 MiB at most. A redirect to another origin is followed without the credential, and only to a
   * listed host.
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
