import { codeOf, type ErrorCode, errors } from "@tributary/contracts";
import { IntegrationError } from "@tributary/integrations";
import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";

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

/** Whoever is told that something cannot be done right now may ask again after so long. */
const RETRY_AFTER_SECONDS = "30";

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
  if (statusOf(code) === 503) c.header("retry-after", RETRY_AFTER_SECONDS);
  return c.json(body, statusOf(code));
}

export const statusOf = (code: ErrorCode): ContentfulStatusCode => errors[code].http as ContentfulStatusCode;
