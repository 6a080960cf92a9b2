import { and, eq } from "drizzle-orm";
import { type Queryable, run } from "@tributary/db";
import type { Access } from "./access.ts";
import { VaultError } from "./errors.ts";
import { deleteSecrets, isMovedOn, putSecret, retrievalFailure, retrieveSecret } from "./functions.ts";
import type { Tokens } from "./oauth.ts";
import { inOrganization, type VaultParts } from "./parts.ts";
import { credentialGrant, secret } from "./schema.ts";
import { contextBytes, ALG, openDataKey, openSecret, type SealedSecret, sealSecret, wipe } from "./seal.ts";
import { holdKeys, openingKey, sealingKey, type SealingKey } from "./subject-keys.ts";
import type { CredentialScope, Grant } from "./vault.ts";

/**
 * A credential is a grant and its secrets. Each exchange or renewal writes a whole new generation, and the revision of
 * every secret is its generation. A generation is written once: whoever comes second finds that it moved, and writes
 * nothing. That, and not the lease, is what keeps two writers apart.
 */
export interface StoredGrant extends Grant {
  readonly generation: number;
}

/** A secret's row as read. */
export interface StoredSecret extends SealedSecret {
  readonly id: string;
  readonly revision: number;
  readonly keyId: string;
}

export async function readGrant(parts: VaultParts, scope: CredentialScope): Promise<StoredGrant | undefined> {
  const [row] = await inOrganization(parts, scope, (tx) => tx.select().from(credentialGrant).where(whereGrant(scope)));
  if (row === undefined) return undefined;
  return {
    generation: row.generation,
    secretIds: row.secretIds,
    scopes: row.scopes,
    expiresAt: row.expiresAt ?? undefined,
  };
}

/**
 * A secret as of a generation: its newest revision that is not above it. The audit entry of this access is committed with
 * the reading, unless there is one already.
 * @returns undefined when the credential has no such secret.
 * @throws VaultError audit_unavailable · credential_integrity_error when the row is older than the audit says.
 */
export async function readSecret(
  parts: VaultParts,
  scope: CredentialScope,
  field: string,
  generation: number,
  access: Access,
): Promise<StoredSecret | undefined> {
  return inOrganization(parts, scope, (tx) => retrieveSecret(tx, scope, field, generation, access)).catch(
    retrievalFailure,
  );
}

/** What sealing and opening need of the vault. */
export type KeyParts = Pick<VaultParts, "database" | "ring" | "randomUUID">;

/**
 * The data key of a secret, to be wiped by the caller. The context is built from the caller's scope, never from the row.
 * A secret that is still sealed to an older generation of its subject's key is sealed to the newest one on the way.
 * @throws VaultError credential_integrity_error when the row is not what was sealed for this scope.
 */
export async function dataKeyOf(
  parts: KeyParts,
  scope: CredentialScope,
  field: string,
  stored: StoredSecret,
): Promise<Uint8Array> {
  const { dataKey, superseded } = await openStored(parts, scope, field, stored);
  // What was asked for is open already: a re-sealing that fails is the background's to do.
  if (superseded) await resealSecret(parts, scope, field, stored, dataKey).catch(() => {});
  return dataKey;
}

/** As {@link dataKeyOf}, and writes nothing. */
export async function openStored(
  parts: KeyParts,
  scope: CredentialScope,
  field: string,
  stored: StoredSecret,
): Promise<{ readonly dataKey: Uint8Array; readonly superseded: boolean }> {
  const { privateKey, superseded } = await openingKey(parts.database, parts.ring, scope, stored.keyId);
  try {
    const dataKey = openDataKey(stored, secretContext(scope, field, stored.revision, stored.keyId), privateKey);
    if (dataKey === undefined) throw integrityError();
    return { dataKey, superseded };
  } finally {
    wipe(privateKey);
  }
}

/**
 * Seals a secret to its subject's newest key, unless somebody else has written the row meanwhile.
 * @param dataKey of the row as it was read.
 * @returns false when nothing was written.
 */
export async function resealSecret(
  parts: KeyParts,
  scope: CredentialScope,
  field: string,
  stored: StoredSecret,
  dataKey: Uint8Array,
): Promise<boolean> {
  const { keyId, publicKey } = await sealingKey(parts.database, parts.ring, scope, parts.randomUUID);
  if (keyId === stored.keyId) return false;
  const plaintext = openSecret(stored, secretContext(scope, field, stored.revision, stored.keyId), dataKey);
  if (plaintext === undefined) throw integrityError();
  const fresh = sealSecret(plaintext, secretContext(scope, field, stored.revision, keyId), publicKey);
  wipe(plaintext);
  return inOrganization(parts, scope, async (tx) => {
    if ((await holdKeys(tx, scope.organizationId, [keyId])).size === 0) return false;
    const rows = await tx
      .update(secret)
      .set({ ...fresh, keyId })
      .where(
        and(
          eq(secret.organizationId, scope.organizationId),
          eq(secret.id, stored.id),
          eq(secret.revision, stored.revision),
          eq(secret.keyId, stored.keyId),
          eq(secret.nonce, stored.nonce),
        ),
      )
      .returning({ id: secret.id });
    return rows.length > 0;
  });
}

/** @throws VaultError credential_integrity_error. */
export function plaintextOf(scope: CredentialScope, field: string, stored: StoredSecret, dataKey: Uint8Array): string {
  const bytes = openSecret(stored, secretContext(scope, field, stored.revision, stored.keyId), dataKey);
  if (bytes === undefined) throw integrityError();
  try {
    return Buffer.from(bytes).toString("utf8");
  } finally {
    wipe(bytes);
  }
}

/** Opens one secret for one use. @returns undefined when there is none. */
export async function openOnce(
  parts: VaultParts,
  scope: CredentialScope,
  field: string,
  generation: number,
  access: Access,
): Promise<string | undefined> {
  const stored = await readSecret(parts, scope, field, generation, access);
  if (stored === undefined) return undefined;
  const dataKey = await dataKeyOf(parts, scope, field, stored);
  try {
    return plaintextOf(scope, field, stored, dataKey);
  } finally {
    wipe(dataKey);
  }
}

/**
 * Seals tokens as the generation after `previous`, and makes it the current one.
 * @param also what has to happen in the same transaction; false undoes it all.
 * @returns undefined, with nothing written, when another generation was written meanwhile, or `also` said no.
 */
export async function writeGeneration(
  parts: VaultParts,
  scope: CredentialScope,
  previous: StoredGrant | undefined,
  tokens: Tokens,
  scopes: readonly string[],
  also: (tx: Queryable, grant: Grant) => Promise<boolean> = async () => true,
): Promise<Grant | undefined> {
  const generation = (previous?.generation ?? 0) + 1;
  for (let attempt = 0; attempt < KEY_ATTEMPTS; attempt++) {
    const key = await sealingKey(parts.database, parts.ring, scope, parts.randomUUID);
    const rows = sealTokens(parts, scope, previous, generation, tokens, key);
    const grant: Grant = {
      secretIds: Object.fromEntries(rows.map(({ field, id }) => [field, id])),
      scopes,
      expiresAt:
        tokens.expiresInSeconds === undefined
          ? undefined
          : new Date(parts.now().getTime() + Math.floor(tokens.expiresInSeconds * 1000)),
    };
    const outcome = await inOrganization(parts, scope, async (tx) => {
      // Two generations of keys later nothing may need this one any more; what is sealed to it then is sealed again.
      if ((await holdKeys(tx, scope.organizationId, [key.keyId])).size === 0) return "key gone";
      if (!(await moveGeneration(tx, scope, generation, grant, parts.now()))) return "moved";
      for (const row of rows) await putSecret(tx, scope, row, previous?.secretIds[row.field] === row.id);
      await run(tx, DELETE_OLD_SECRETS, [scope.organizationId, scope.credentialId, generation]);
      if (!(await also(tx, grant))) throw new Refused();
      return "written";
    }).catch((error: unknown) => {
      if (error instanceof Refused || isMovedOn(error)) return "moved" as const;
      throw error;
    });
    if (outcome !== "key gone") return outcome === "written" ? grant : undefined;
  }
  throw new Error("the subject's key is destroyed again and again");
}

const KEY_ATTEMPTS = 5;

/** Rolls a transaction back. */
class Refused extends Error {}

function sealTokens(
  parts: VaultParts,
  scope: CredentialScope,
  previous: StoredGrant | undefined,
  generation: number,
  tokens: Tokens,
  { keyId, publicKey }: SealingKey,
) {
  return [...tokens.fields].map(([field, token]) => {
    const plaintext = Buffer.from(token, "utf8");
    const sealed = sealSecret(plaintext, secretContext(scope, field, generation, keyId), publicKey);
    wipe(plaintext);
    return {
      ...sealed,
      id: previous?.secretIds[field] ?? parts.randomUUID(),
      revision: generation,
      field,
      keyId,
    };
  });
}

/** The connection exists. @returns false when there is no such credential. */
export async function acceptGrant(parts: VaultParts, scope: CredentialScope): Promise<boolean> {
  const params = [...scopeParams(scope), parts.now().toISOString()];
  return (await inOrganization(parts, scope, (tx) => run(tx, ACCEPT_GRANT, params))).length > 0;
}

/** @returns how many secrets went. */
export async function deleteCredential(parts: VaultParts, scope: CredentialScope, actor = "vault"): Promise<number> {
  return inOrganization(parts, scope, (tx) => deleteSecrets(tx, scope, actor));
}

async function moveGeneration(
  tx: Queryable,
  scope: CredentialScope,
  generation: number,
  grant: Grant,
  now: Date,
): Promise<boolean> {
  const params = [
    ...scopeParams(scope),
    generation,
    JSON.stringify(grant.secretIds),
    JSON.stringify(grant.scopes),
    grant.expiresAt?.toISOString() ?? null,
  ];
  const rows =
    generation === 1
      ? await run(tx, INSERT_GRANT, [...params, now.toISOString()])
      : await run(tx, ADVANCE_GRANT, params);
  return rows.length > 0;
}

/** Everything that a ciphertext is bound to. */
export const secretContext = (scope: CredentialScope, field: string, revision: number, keyId: string): Uint8Array =>
  contextBytes(
    "vault/v1",
    ALG,
    "secret",
    scope.organizationId,
    scope.integration,
    scope.owner.kind,
    scope.owner.id,
    scope.credentialId,
    field,
    String(revision),
    keyId,
  );

const scopeParams = (scope: CredentialScope): readonly string[] => [
  scope.organizationId,
  scope.credentialId,
  scope.integration,
  scope.owner.kind,
  scope.owner.id,
];

const whereGrant = (scope: CredentialScope) =>
  and(
    eq(credentialGrant.organizationId, scope.organizationId),
    eq(credentialGrant.credentialId, scope.credentialId),
    eq(credentialGrant.integration, scope.integration),
    eq(credentialGrant.ownerKind, scope.owner.kind),
    eq(credentialGrant.ownerId, scope.owner.id),
  );

const integrityError = (): VaultError =>
  new VaultError("credential_integrity_error", "a stored secret is not the one that was sealed for this credential");

const INSERT_GRANT = `
INSERT INTO vault.credential_grant
  (organization_id, credential_id, integration, owner_kind, owner_id, generation, secret_ids, scopes, expires_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (organization_id, credential_id) DO NOTHING
RETURNING generation`;

const ADVANCE_GRANT = `
UPDATE vault.credential_grant
SET generation = $6, secret_ids = $7, scopes = $8, expires_at = $9, lease_until = NULL, intent_at = NULL
WHERE organization_id = $1 AND credential_id = $2 AND integration = $3 AND owner_kind = $4 AND owner_id = $5
  AND generation = $6 - 1
RETURNING generation`;

/** Keeps the refresh token of the generation before: a provider may yet turn out to have forgotten its last rotation. */
const DELETE_OLD_SECRETS = `
DELETE FROM vault.secret
WHERE organization_id = $1 AND credential_id = $2
  AND (revision < $3 - 1 OR (revision = $3 - 1 AND field <> 'refresh_token'))`;

const ACCEPT_GRANT = `
UPDATE vault.credential_grant SET accepted_at = coalesce(accepted_at, $6)
WHERE organization_id = $1 AND credential_id = $2 AND integration = $3 AND owner_kind = $4 AND owner_id = $5 AND NOT proposed
RETURNING generation`;
