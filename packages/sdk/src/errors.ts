/**
 * Errors are instructions: the class decides what the runtime does next. Act on `code`, not on the message. A message
 * is written by the connector and may be shown to people; it never quotes a response, a header or an input.
 */
export abstract class ConnectorError extends Error {
  abstract readonly code: ConnectorErrorCode;
  override get name(): string {
    return this.constructor.name;
  }
}

/** The closed set of codes. */
export type ConnectorErrorCode =
  | "retryable"
  | "rate_limited"
  | "oauth_client_invalid"
  | "reauth_required"
  | "cursor_expired"
  | "rejected"
  | "contract_violation";

/** Run again, no earlier than `retryAfterMs` when given, else with exponential backoff and jitter, at most an hour apart. */
export class Retryable extends ConnectorError {
  readonly code: ConnectorErrorCode = "retryable";
  /** Milliseconds. */
  readonly retryAfterMs: number | undefined;
  constructor(message: string, options?: ErrorOptions & { readonly retryAfterMs?: number | undefined }) {
    super(message, options);
    this.retryAfterMs = options?.retryAfterMs;
  }
}

/** The provider asked us to slow down. */
export class RateLimited extends Retryable {
  override readonly code = "rate_limited";
}

/**
 * The provider refuses our OAuth client, not the person's credential: whoever runs the hub, or the organisation whose
 * client it is, corrects its id or secret. Nobody has to link again, and it heals by itself once that is done.
 */
export class ClientInvalid extends Retryable {
  override readonly code = "oauth_client_invalid";
}

/** The credential no longer works: the connection becomes `expired`, its owner is told, the cursor is kept. */
export class ReauthRequired extends ConnectorError {
  readonly code = "reauth_required";
}

/** The provider no longer accepts the cursor: the runtime drops it and backfills. */
export class CursorExpired extends ConnectorError {
  readonly code = "cursor_expired";
}

/** The provider refused for good. From `act`: the caller is answered with the message. From `fetchSignals`: as {@link ContractViolation}. */
export class Rejected extends ConnectorError {
  readonly code = "rejected";
}

/** The provider's answer is not what the connector was written for: the connection stops and the connector's owner is told. */
export class ContractViolation extends ConnectorError {
  readonly code = "contract_violation";
}
