import { createHash, timingSafeEqual } from "node:crypto";

/** A program that may subscribe and call, for one organisation. */
export interface ServiceIdentity {
  readonly name: string;
  readonly organizationId: string;
}

export interface ServiceKey extends ServiceIdentity {
  /** 32 characters at least. */
  readonly key: string;
}

/** Tells which service sent a request, by its `Authorization: Bearer` header. Reads no database. */
export interface ServiceKeys {
  authenticate(authorization: string | null): ServiceIdentity | undefined;
}

/**
 * Keys from configuration; a service may have two while one replaces the other. Both sides are hashed first, so that the
 * comparison takes the same time whatever is sent and however long it is, and every key is compared every time.
 * @throws TypeError for a key that is too short to be safe.
 */
export function createServiceKeys(keys: readonly ServiceKey[]): ServiceKeys {
  const known = keys.map(({ name, organizationId, key }) => {
    if (key.length < 32) throw new TypeError(`the key of service "${name}" has fewer than 32 characters`);
    return { identity: { name, organizationId }, digest: sha256(key) };
  });
  return {
    authenticate: (authorization) => {
      const [, token] = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(authorization ?? "") ?? [];
      const digest = sha256(token ?? "");
      let found: ServiceIdentity | undefined;
      for (const one of known) if (timingSafeEqual(one.digest, digest)) found = one.identity;
      return token === undefined ? undefined : found;
    },
  };
}

const sha256 = (text: string): Buffer => createHash("sha256").update(text).digest();
