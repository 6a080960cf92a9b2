/**
 * What has to happen before the same wish can succeed. Decides what a program does next: wait and repeat (`again`),
 * change the request (`caller`), ask the account's owner (`person`), ask whoever runs the organisation or the hub
 * (`admin`), report it (`defect`), or look closer, because an honest request does not look like that (`attack`).
 */
export type Remedy = "again" | "caller" | "person" | "admin" | "defect" | "attack";

/** Names of Connect's status codes, as they stand in its JSON. */
export type ConnectCodeName =
  | "invalid_argument"
  | "not_found"
  | "already_exists"
  | "permission_denied"
  | "resource_exhausted"
  | "failed_precondition"
  | "aborted"
  | "unimplemented"
  | "internal"
  | "unavailable"
  | "data_loss"
  | "unauthenticated";

export interface ErrorMeaning {
  /** Status of an HTTP answer. */
  readonly http: number;
  /** Status of a Connect answer. */
  readonly connect: ConnectCodeName;
  readonly remedy: Remedy;
}

const meaning = (http: number, connect: ConnectCodeName, remedy: Remedy): ErrorMeaning => ({ http, connect, remedy });

/**
 * The closed set of codes with which Tributary refuses, over HTTP, over Connect and on its pages; one that is not here
 * leaves the house as `internal_error`. `docs/ERRORS.md` has a section for each, {@link errorSentences} a sentence.
 */
export const errors = {
  // Who is asking
  missing_authorization: meaning(401, "unauthenticated", "caller"),
  invalid_token: meaning(401, "unauthenticated", "caller"),
  insufficient_permissions: meaning(403, "permission_denied", "admin"),
  org_scope_violation: meaning(403, "permission_denied", "attack"),
  auth_unavailable: meaning(503, "unavailable", "again"),
  csrf_rejected: meaning(403, "permission_denied", "attack"),
  // The request
  not_found: meaning(404, "not_found", "caller"),
  method_not_allowed: meaning(405, "unimplemented", "caller"),
  conflict: meaning(409, "aborted", "caller"),
  payload_too_large: meaning(413, "resource_exhausted", "caller"),
  unsupported_media_type: meaning(415, "invalid_argument", "caller"),
  malformed_body: meaning(400, "invalid_argument", "caller"),
  validation_failed: meaning(422, "invalid_argument", "caller"),
  internal_error: meaning(500, "internal", "defect"),
  // People
  invitation_ended: meaning(409, "failed_precondition", "admin"),
  invitation_other_address: meaning(403, "permission_denied", "person"),
  last_administrator: meaning(409, "failed_precondition", "admin"),
  permission_not_held: meaning(403, "permission_denied", "admin"),
  limit_reached: meaning(409, "failed_precondition", "admin"),
  // Linking an account
  other_account: meaning(409, "failed_precondition", "person"),
  scope_insufficient: meaning(403, "permission_denied", "person"),
  oauth_state_invalid: meaning(400, "failed_precondition", "person"),
  oauth_session_mismatch: meaning(403, "permission_denied", "attack"),
  oauth_issuer_mismatch: meaning(400, "permission_denied", "attack"),
  oauth_denied: meaning(400, "aborted", "person"),
  oauth_provider_error: meaning(502, "unavailable", "admin"),
  oauth_exchange_rejected: meaning(502, "unavailable", "person"),
  oauth_client_invalid: meaning(502, "failed_precondition", "admin"),
  oauth_config_incomplete: meaning(422, "failed_precondition", "admin"),
  // Working with an account
  reauth_required: meaning(409, "failed_precondition", "person"),
  credential_missing: meaning(409, "failed_precondition", "person"),
  provider_unavailable: meaning(503, "unavailable", "again"),
  temporarily_unavailable: meaning(503, "unavailable", "again"),
  unknown_action: meaning(422, "invalid_argument", "caller"),
  action_rejected: meaning(422, "failed_precondition", "caller"),
  url_not_allowed: meaning(422, "invalid_argument", "attack"),
  response_too_large: meaning(502, "resource_exhausted", "admin"),
  // Webhooks
  invalid_signature: meaning(401, "unauthenticated", "attack"),
  // Events
  consumer_differs: meaning(409, "failed_precondition", "caller"),
  consumer_taken: meaning(409, "aborted", "caller"),
  consumer_unsupported: meaning(422, "failed_precondition", "caller"),
  no_consumers: meaning(409, "failed_precondition", "caller"),
  too_many_replays: meaning(429, "resource_exhausted", "again"),
  too_many_streams: meaning(429, "resource_exhausted", "again"),
  // The vault
  credential_integrity_error: meaning(500, "data_loss", "attack"),
  audit_unavailable: meaning(503, "unavailable", "again"),
  secret_required: meaning(422, "invalid_argument", "caller"),
  submission_refused: meaning(403, "permission_denied", "attack"),
  erasure_ledger_invalid: meaning(500, "failed_precondition", "admin"),
  key_missing: meaning(500, "failed_precondition", "admin"),
  key_invalid: meaning(500, "failed_precondition", "admin"),
  public_key_untrusted: meaning(500, "data_loss", "attack"),
} as const satisfies Record<string, ErrorMeaning>;

export type ErrorCode = keyof typeof errors;

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(errors, code);

/** The code of whatever was thrown, when it is one of the closed set; `internal_error` for anything else. */
export function codeOf(error: unknown): ErrorCode {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" && isErrorCode(code) ? code : "internal_error";
}

/** Whether asking the same again, later, may succeed. */
export function isRetryable(code: ErrorCode): boolean {
  const { remedy }: ErrorMeaning = errors[code];
  switch (remedy) {
    case "again":
      return true;
    case "caller":
    case "person":
    case "admin":
    case "defect":
    case "attack":
      return false;
  }
}
