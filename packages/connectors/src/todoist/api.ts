import {
  type ConnectorError,
  CursorExpired,
  type Json,
  RateLimited,
  readJson,
  type RequestOptions,
  type Schema,
  type User,
} from "@tributary/sdk";
import { Refusal } from "./schemas.ts";

export const API = "https://api.todoist.com/api/v1";

/** A request to Todoist; its refusals say more in the body than in the status. */
export const call = async <T>(user: User, schema: Schema<T>, path: string, options?: RequestOptions): Promise<T> =>
  readJson(schema, await user.fetch(`${API}${path}`, options), user.now, explain);

/**
 * Todoist says in the body how long to wait, and which argument it did not like. What it answers to an expired sync
 * token is not documented: any refusal that names the token is taken for it.
 */
function explain(status: number, body: Json | undefined): ConnectorError | undefined {
  const { error, error_extra: extra } = Refusal.parse(body);
  if (status === 429 && extra.retry_after !== undefined) return pause(extra.retry_after);
  const namesToken = extra.argument === "sync_token" || /sync.?token/i.test(error);
  if (status >= 400 && status < 500 && namesToken)
    return new CursorExpired("Todoist no longer accepts the sync token.");
  return undefined;
}

/** At most an hour, whatever Todoist says. */
export const pause = (seconds: number): ConnectorError =>
  new RateLimited("Todoist asked us to wait.", { retryAfterMs: Math.min(seconds, 3600) * 1000 });
