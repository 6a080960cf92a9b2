/** The closed set of codes with which this package refuses; each has an HTTP status in packages/api. */
export type IntegrationErrorCode =
  | "not_found"
  | "validation_failed"
  | "conflict"
  | "unknown_action"
  | "scope_insufficient"
  | "action_rejected"
  | "reauth_required"
  | "other_account"
  | "oauth_client_invalid"
  | "oauth_config_incomplete"
  | "url_not_allowed"
  | "limit_reached"
  | "invalid_signature"
  | "malformed_body"
  | "provider_unavailable"
  | "temporarily_unavailable";

/** A refusal that the caller can act on. The message is for people and quotes no input. */
export class IntegrationError extends Error {
  readonly code: IntegrationErrorCode;
  /** Where, and why, when it is something in what was sent. Never the value. */
  readonly issues: readonly { readonly path: string; readonly reason: string }[] | undefined;
  constructor(code: IntegrationErrorCode, message: string, issues?: IntegrationError["issues"]) {
    super(`${code}: ${message}`);
    this.code = code;
    this.issues = issues;
  }
  override get name(): string {
    return "IntegrationError";
  }
}

/** Foreign and unknown ids get the same answer. */
export const notFound = (): IntegrationError => new IntegrationError("not_found", "There is nothing here by that id.");
