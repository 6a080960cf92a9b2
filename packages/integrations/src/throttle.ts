import { type Manifest, RateLimited } from "@tributary/sdk";
import { setTimeout as sleep } from "node:timers/promises";

/** Keeps requests within what a provider allows. */
export interface Throttle {
  /**
   * Resolves when one more request may be sent.
   * @throws RateLimited when that would take longer than a run should wait.
   */
  turn(connectionId: string, limit: Manifest["rateLimit"], signal: AbortSignal): Promise<void>;
}

const WAIT_MS_MAX = 5_000;
const CONNECTIONS_MAX = 10_000;

/**
 * A token bucket a connection, in this process: a connection is run by one process at a time, because its lease is.
 * Full at first, so that a run may begin with a burst that the limit allows.
 */
export function createThrottle(nowMs: () => number): Throttle {
  const buckets = new Map<string, { tokens: number; atMs: number }>();
  return {
    turn: async (connectionId, limit, signal) => {
      if (limit === undefined) return;
      const perTokenMs = limit.perMs / limit.requests;
      const now = nowMs();
      const bucket = buckets.get(connectionId) ?? { tokens: limit.requests, atMs: now };
      bucket.tokens = Math.min(limit.requests, bucket.tokens + (now - bucket.atMs) / perTokenMs);
      bucket.atMs = now;
      buckets.delete(connectionId);
      buckets.set(connectionId, bucket);
      // The least recently used goes first; a bucket that comes back full errs on the generous side, once.
      if (buckets.size > CONNECTIONS_MAX) buckets.delete(buckets.keys().next().value as string);
      const waitMs = bucket.tokens >= 1 ? 0 : (1 - bucket.tokens) * perTokenMs;
      if (waitMs > WAIT_MS_MAX) throw new RateLimited("The provider's limit is used up.", { retryAfterMs: waitMs });
      bucket.tokens -= 1;
      if (waitMs > 0) await sleep(waitMs, undefined, { signal });
    },
  };
}
