import { databaseUnavailableIn } from "@tributary/db";

/** The closed set of codes; the code also begins the message, because many tools show only that. */
export type VaultErrorCode =
  | "oauth_state_invalid"
  | "oauth_session_mismatch"
  | "oauth_issuer_mismatch"
  | "oauth_denied"
  | "oauth_provider_error"
  | "oauth_exchange_rejected"
  | "oauth_client_invalid"
  | "oauth_config_incomplete"
  | "provider_unavailable"
  | "reauth_required"
  | "url_not_allowed"
  | "response_too_large"
  | "credential_missing"
  | "credential_integrity_error"
  | "audit_unavailable"
  | "secret_required"
  | "key_missing"
  | "key_invalid"
  | "public_key_untrusted"
  | "submission_refused"
  | "erasure_ledger_invalid";

/**
 * What the vault says when it refuses. Carries a code, a sentence and, where the provider named one, its own error
 * code; never a secret, a body, a URL with a query, or the error of a library that might hold one.
 */
export class VaultError extends Error {
  readonly code: VaultErrorCode;
  /** The provider's error code (RFC 6749 §4.1.2.1, §5.2), when it is words of a-z joined by `_`: every code there is, and no token that a provider might echo. */
  readonly detail: string | undefined;
  constructor(code: VaultErrorCode, message: string, detail?: string) {
    super(`${code}: ${message}`);
    this.code = code;
    this.detail = detail;
  }
  override get name(): string {
    return "VaultError";
  }
}

/**
 * What is said when an access could not be recorded. A database that was unavailable is named as the cause, which tells the
 * runtime that neither the connector nor the provider had a part in it; anything else that failed there may hold what was read.
 */
export function unrecorded(error: unknown): VaultError {
  const made = new VaultError("audit_unavailable", "the access could not be recorded, so nothing was opened");
  if (databaseUnavailableIn(error) !== undefined) made.cause = error;
  return made;
}
