import type { Json, Schema } from "./connector.ts";
import {
  type ConnectorError,
  ContractViolation,
  CursorExpired,
  RateLimited,
  ReauthRequired,
  Rejected,
  Retryable,
} from "./errors.ts";

/** What a provider's refusal means, where its body says more than its status. `undefined`: judge by the status. */
export type Explain = (status: number, body: Json | undefined) => ConnectorError | undefined;

/** No wait is longer, ms, whatever a provider says. */
export const RETRY_AFTER_MS_MAX = 3_600_000;

/**
 * Status → instruction, body → schema, as `User.json` promises. For connectors that need to look into the body of a
 * refusal before its status decides: `readJson(schema, await user.fetch(url), user.now, explain)`.
 * @throws ConnectorError. Neither the body nor what a schema says of it is quoted.
 */
export async function readJson<T>(
  schema: Schema<T>,
  response: Response,
  now: () => Date,
  explain?: Explain,
): Promise<T> {
  if (!response.ok) {
    const body = explain === undefined ? undefined : await response.json().catch(() => undefined);
    if (!response.bodyUsed) await response.body?.cancel();
    throw explain?.(response.status, body as Json | undefined) ?? statusError(response, now);
  }
  let body: unknown;
  try {
    body = await response.json();
  } catch {
    throw new ContractViolation(`The provider's answer (status ${response.status}) is not JSON.`);
  }
  try {
    return schema.parse(body);
  } catch {
    throw new ContractViolation("The provider's answer does not have the shape that the connector was written for.");
  }
}

/** Status → instruction, by the table at `User.json`. */
export function statusError(response: Pick<Response, "status" | "headers">, now: () => Date): ConnectorError {
  const { status } = response;
  const wait = retryAfterMs(response.headers.get("retry-after"), now);
  if (status === 401) return new ReauthRequired("The provider refused the credential.");
  if (status === 410) return new CursorExpired("The provider no longer accepts the cursor.");
  if (status === 429 || wait !== undefined)
    return new RateLimited("The provider asked us to wait.", { retryAfterMs: wait });
  if (status >= 500) return new Retryable(`The provider answered with status ${status}.`);
  return new Rejected(`The provider refused the request (status ${status}).`);
}

/** RFC 9110 §10.2.3: seconds or a date; at most {@link RETRY_AFTER_MS_MAX}, whatever it says. */
export function retryAfterMs(value: string | null, now: () => Date): number | undefined {
  if (value === null) return undefined;
  const wait = /^\d{1,9}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now().getTime();
  return Number.isNaN(wait) ? undefined : Math.min(Math.max(wait, 0), RETRY_AFTER_MS_MAX);
}
