import { createSecretKey } from "node:crypto";
import { errors, type JWTVerifyGetKey, type JWTVerifyOptions, jwtVerify } from "jose";
import { z } from "zod";
import { PERMISSIONS, type UserIdentity } from "./identity.ts";
import { remoteKeySet } from "./key-set.ts";
import { Refused } from "./refused.ts";

export interface TokenOptions {
  readonly issuer: string;
  readonly audience: string;
  /**
   * One family of algorithms: HS256 with a secret of at least 32 bytes, or RS256 and ES256 with the issuer's published
   * keys. A verifier that knew both could be given a public key as a secret.
   */
  readonly keys: { readonly secret: string } | { readonly keySetUrl: string };
  readonly now: () => Date;
  /** Default: the global one. */
  readonly fetch?: typeof fetch;
}

/** Reads signed tokens (RFC 7519) of one issuer. Reads no database. */
export interface Tokens {
  /**
   * Whose token it is. `app_metadata.claims.integration_admin` is all permissions; without it there are none.
   * @throws Refused `invalid_token`, `insufficient_permissions`, or `auth_unavailable` when the issuer's keys cannot be had.
   */
  verify(token: string): Promise<UserIdentity>;
}

/** RFC 7518 §3.2: a key as long as the hash at least. */
const SECRET_BYTES_MIN = 32;
const CLOCK_TOLERANCE_S = 5;

const organization = z.string().regex(/^[a-z0-9][a-z0-9_-]{0,62}$/);
/** What the issuer alone can write; `user_metadata` is the user's own and is not looked at. */
const Claims = z.object({
  sub: z.string().regex(/^[\x21-\x7e]{1,255}$/),
  organization_id: organization.optional(),
  name: z.string().max(200).optional(),
  email: z.string().max(254).optional(),
  app_metadata: z
    .object({
      claims: z.looseObject({ integration_admin: z.unknown(), organization_id: organization.optional() }).nullish(),
    })
    .nullish(),
});

/** @throws TypeError for a secret that is too short, and for a key set that would travel in the clear. */
export function createTokens(options: TokenOptions): Tokens {
  const { keys, issuer, audience, now } = options;
  const algorithms = "secret" in keys ? ["HS256"] : ["RS256", "ES256"];
  const find = finder(options);
  return {
    verify: async (token) => {
      const checks: JWTVerifyOptions = {
        algorithms,
        issuer,
        audience,
        requiredClaims: ["sub", "exp"],
        clockTolerance: CLOCK_TOLERANCE_S,
        currentDate: now(),
      };
      const { payload } = await jwtVerify(token, find, checks).catch((error: unknown) => {
        throw refusalOf(error);
      });
      const claims = Claims.safeParse(payload);
      if (!claims.success) throw new Refused("invalid_token", "claims", subjectOf(payload));
      // Its presence is required above.
      return { ...identityOf(claims.data), expiresAtMs: (payload.exp ?? 0) * 1_000 };
    },
  };
}

function finder({ keys, now, fetch: ask = fetch }: TokenOptions): JWTVerifyGetKey {
  if ("keySetUrl" in keys) return remoteKeySet({ url: keys.keySetUrl, now, fetch: ask });
  const bytes = Buffer.from(keys.secret);
  if (bytes.length < SECRET_BYTES_MIN)
    throw new TypeError(`the token secret must have at least ${SECRET_BYTES_MIN} bytes`);
  const key = createSecretKey(bytes);
  return async () => key;
}

/** @throws Refused: for anybody but an administrator of integrations, and for a token of no organisation or of two. */
function identityOf({ sub, name, email, organization_id, app_metadata }: z.output<typeof Claims>): UserIdentity {
  const claims = app_metadata?.claims;
  if (claims?.integration_admin !== true) throw new Refused("insufficient_permissions", "no_integration_admin", sub);
  const organizationId = claims.organization_id ?? organization_id;
  if (organizationId === undefined || (organization_id ?? organizationId) !== organizationId)
    throw new Refused("invalid_token", "claims", sub);
  return {
    kind: "user",
    userId: sub,
    name: name ?? "",
    email: email ?? "",
    organizationId,
    organizationName: organizationId,
    permissions: PERMISSIONS,
  };
}

/** Which check failed, for the log. A claim's check comes after the signature's, so its subject is known. */
function refusalOf(error: unknown): Refused {
  if (error instanceof Refused) return error;
  if (error instanceof errors.JWTExpired) return new Refused("invalid_token", "expired", subjectOf(error.payload));
  if (error instanceof errors.JWTClaimValidationFailed)
    return new Refused("invalid_token", `claim_${error.claim}`.slice(0, 40), subjectOf(error.payload));
  if (error instanceof errors.JWSSignatureVerificationFailed) return new Refused("invalid_token", "signature");
  if (error instanceof errors.JOSEAlgNotAllowed) return new Refused("invalid_token", "algorithm");
  if (error instanceof errors.JWKSNoMatchingKey) return new Refused("invalid_token", "unknown_key");
  return new Refused("invalid_token", "malformed");
}

const subjectOf = ({ sub }: { readonly sub?: unknown }): string | undefined =>
  typeof sub === "string" ? sub.slice(0, 255) : undefined;
