import { IntegrationError } from "@tributary/integrations";
import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";

/** The closed set of codes that the API answers with, each with its status. `docs/ERRORS.md` has a section for each. */
const STATUS = {
  missing_authorization: 401,
  invalid_token: 401,
  insufficient_permissions: 403,
  csrf_rejected: 403,
  not_found: 404,
  method_not_allowed: 405,
  conflict: 409,
  already_connected: 409,
  other_account: 409,
  payload_too_large: 413,
  unsupported_media_type: 415,
  malformed_body: 400,
  validation_failed: 422,
  unknown_action: 422,
  scope_insufficient: 403,
  action_rejected: 422,
  action_outcome_unknown: 503,
  reauth_required: 409,
  invalid_signature: 401,
  provider_unavailable: 503,
  temporarily_unavailable: 503,
  oauth_state_invalid: 400,
  oauth_session_mismatch: 403,
  oauth_issuer_mismatch: 400,
  oauth_denied: 400,
  oauth_provider_error: 502,
  oauth_exchange_rejected: 502,
  oauth_client_invalid: 502,
  url_not_allowed: 422,
  response_too_large: 502,
  credential_missing: 409,
  credential_integrity_error: 500,
  audit_unavailable: 503,
  key_missing: 500,
  key_invalid: 500,
  public_key_untrusted: 500,
  internal_error: 500,
} as const satisfies Record<string, ContentfulStatusCode>;
export type ErrorCode = keyof typeof STATUS;

/** A refusal of the API's own. */
export class ApiError extends Error {
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

export interface ErrorBody {
  readonly error: ErrorCode;
  readonly message: string;
  readonly correlationId: string;
  readonly docs: string;
  readonly issues?: IntegrationError["issues"];
}

/** The code of whatever was thrown: only codes of the closed set leave the house, anything else is `internal_error`. */
export function codeOf(error: unknown): ErrorCode {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" && Object.hasOwn(STATUS, code) ? (code as ErrorCode) : "internal_error";
}

export const statusOf = (code: ErrorCode): ContentfulStatusCode => STATUS[code];

/** Answers with an error, by allow-list: code, sentence, correlation id. A bug's own message stays inside. */
export function answerError(c: Context, error: unknown, correlationId: string): Response {
  const code = codeOf(error);
  const sentence =
    code === "internal_error" ? "Something went wrong on our side." : (error as Error).message.replace(`${code}: `, "");
  const body: ErrorBody = {
    error: code,
    message: sentence,
    correlationId,
    docs: `/docs/errors#${code}`,
    ...(error instanceof IntegrationError && error.issues !== undefined ? { issues: error.issues } : {}),
  };
  return c.json(body, STATUS[code]);
}
