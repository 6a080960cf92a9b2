import { createHash, timingSafeEqual } from "node:crypto";
import { type Permission, PERMISSIONS, type ServiceIdentity } from "./identity.ts";

/**
 * A program that may subscribe and call, for one organisation. Its key belongs on servers: whoever holds it is the
 * organisation, so no browser and no mobile app may.
 */
export interface ServiceKey {
  readonly name: string;
  readonly organizationId: string;
  /** 32 characters at least. */
  readonly key: string;
  /** Default: all. */
  readonly permissions?: readonly Permission[];
}

/** Tells which service sent a request, by its `Authorization: Bearer` header. Reads no database. */
export interface ServiceKeys {
  authenticate(authorization: string | null): ServiceIdentity | undefined;
}

const KEY_CHARACTERS_MIN = 32;
/** The old one and the new one, while one replaces the other. */
const KEYS_A_SERVICE_MAX = 2;

/**
 * Keys from configuration; a service may have two while one replaces the other. Both sides are hashed first, so that the
 * comparison takes the same time whatever is sent and however long it is, and every key is compared every time.
 * @throws TypeError for a key that is too short to be safe, a third key of one service, and a name that two share.
 */
export function createServiceKeys(keys: readonly ServiceKey[]): ServiceKeys {
  const known = keys.map(({ name, organizationId, key, permissions = PERMISSIONS }) => {
    if (key.length < KEY_CHARACTERS_MIN)
      throw new TypeError(`the key of service "${name}" has fewer than ${KEY_CHARACTERS_MIN} characters`);
    const same = keys.filter((one) => one.name === name);
    if (same.length > KEYS_A_SERVICE_MAX)
      throw new TypeError(`service "${name}" has more than ${KEYS_A_SERVICE_MAX} keys`);
    if (same.some((one) => one.organizationId !== organizationId))
      throw new TypeError(`service "${name}" works for two organisations; give each a name of its own`);
    const identity: ServiceIdentity = {
      kind: "service",
      name,
      organizationId,
      organizationName: organizationId,
      permissions,
    };
    return { identity, digest: sha256(key) };
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
