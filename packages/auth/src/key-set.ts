import { createLocalJWKSet, errors, type JWTVerifyGetKey } from "jose";
import { z } from "zod";
import { isLoopback } from "./cookies.ts";
import { Refused } from "./refused.ts";

export interface KeySetOptions {
  /** https, or http on loopback. */
  readonly url: string;
  readonly now: () => Date;
  readonly fetch: typeof fetch;
}

/** Not asked for again sooner, whether it was answered or not: unknown key ids cost their sender nothing. */
const COOLDOWN_MS = 30_000;
/** Read again after so long, so that a key that was withdrawn is no longer believed. */
const FRESH_MS = 600_000;
/** While the issuer does not answer, what it last said is believed for so long. */
const STALE_MS_MAX = 3_600_000;
const TIMEOUT_MS = 5_000;
const BYTES_MAX = 64 * 1024;

const KeySet = z.object({ keys: z.array(z.looseObject({ kty: z.string() })).max(100) });

/**
 * The issuer's public keys, by address (RFC 7517). One request at a time and at most one in 30 seconds.
 * @throws Refused `auth_unavailable` when the keys cannot be had: then nobody can tell whether a token is valid.
 */
export function remoteKeySet(options: KeySetOptions): JWTVerifyGetKey {
  const { url, now } = options;
  const address = new URL(url);
  if (address.protocol !== "https:" && !isLoopback(address)) throw new TypeError("the key set's address is not https");
  let known: { readonly find: ReturnType<typeof createLocalJWKSet>; readonly at: number } | undefined;
  let askedAt = Number.NEGATIVE_INFINITY;
  let answered = true;
  let under: Promise<void> | undefined;

  const refresh = async (): Promise<void> => {
    if (under === undefined) {
      if (now().getTime() - askedAt < COOLDOWN_MS) return;
      askedAt = now().getTime();
      under = read(options)
        .then((keys) => {
          known = { find: createLocalJWKSet(keys), at: now().getTime() };
          answered = true;
        })
        .catch(() => {
          answered = false;
        })
        .finally(() => {
          under = undefined;
        });
    }
    await under;
  };

  return async (header, token) => {
    const age = (): number => (known === undefined ? Number.POSITIVE_INFINITY : now().getTime() - known.at);
    if (age() > FRESH_MS) await refresh();
    if (known === undefined || age() > STALE_MS_MAX) throw new Refused("auth_unavailable", "keys_unavailable");
    try {
      return await known.find(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      await refresh();
      // The key may be a new one: without an answer it is not known to be wrong.
      if (!answered) throw new Refused("auth_unavailable", "keys_unavailable");
      return known.find(header, token);
    }
  };
}

async function read({ url, fetch }: KeySetOptions): Promise<z.output<typeof KeySet>> {
  const response = await fetch(url, { redirect: "error", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new Error(`key set: status ${response.status}`);
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > BYTES_MAX) throw new Error("key set: too large");
    chunks.push(chunk);
  }
  return KeySet.parse(JSON.parse(Buffer.concat(chunks).toString("utf8")));
}
