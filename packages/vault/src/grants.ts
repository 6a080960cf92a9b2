import { and, eq } from "drizzle-orm";
import { type Queryable, run } from "@tributary/db";
import { VaultError } from "./errors.ts";
import type { Tokens } from "./oauth.ts";
import type { VaultParts } from "./parts.ts";
import { credentialGrant, secret } from "./schema.ts";
import { contextBytes, ALG, openDataKey, openSecret, type SealedSecret, sealSecret, wipe } from "./seal.ts";
import { openingKey, sealingKey } from "./subject-keys.ts";
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
  const [row] = await parts.database.query.select().from(credentialGrant).where(whereGrant(scope));
  if (row === undefined) return undefined;
  return {
    generation: row.generation,
    secretIds: row.secretIds,
    scopes: row.scopes,
    expiresAt: row.expiresAt ?? undefined,
  };
}

/** @returns undefined when the credential has no such secret in that revision. */
export async function readSecret(
  parts: VaultParts,
  scope: CredentialScope,
  field: string,
  revision: number,
): Promise<StoredSecret | undefined> {
  const [row] = await parts.database.query
    .select()
    .from(secret)
    .where(
      and(
        eq(secret.organizationId, scope.organizationId),
        eq(secret.credentialId, scope.credentialId),
        eq(secret.field, field),
        eq(secret.revision, revision),
      ),
    );
  return row;
}

/**
 * The data key of a secret, to be wiped by the caller. The context is built from the caller's scope, never from the row.
 * @throws VaultError credential_integrity_error when the row is not what was sealed for this scope.
 */
export async function dataKeyOf(
  parts: VaultParts,
  scope: CredentialScope,
  field: string,
  stored: StoredSecret,
): Promise<Uint8Array> {
  const privateKey = await openingKey(parts.database, parts.ring, scope, stored.keyId);
  try {
    const dataKey = openDataKey(stored, secretContext(scope, field, stored.revision, stored.keyId), privateKey);
    if (dataKey === undefined) throw integrityError();
    return dataKey;
  } finally {
    wipe(privateKey);
  }
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
  revision: number,
): Promise<string | undefined> {
  const stored = await readSecret(parts, scope, field, revision);
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
 * @returns undefined, with nothing written, when another generation was written meanwhile.
 */
export async function writeGeneration(
  parts: VaultParts,
  scope: CredentialScope,
  previous: StoredGrant | undefined,
  tokens: Tokens,
  scopes: readonly string[],
): Promise<Grant | undefined> {
  const generation = (previous?.generation ?? 0) + 1;
  const { keyId, publicKey } = await sealingKey(parts.database, parts.ring, scope, parts.randomUUID);
  const rows = [...tokens.fields].map(([field, token]) => {
    const plaintext = Buffer.from(token, "utf8");
    const sealed = sealSecret(plaintext, secretContext(scope, field, generation, keyId), publicKey);
    wipe(plaintext);
    return {
      ...sealed,
      id: previous?.secretIds[field] ?? parts.randomUUID(),
      revision: generation,
      organizationId: scope.organizationId,
      credentialId: scope.credentialId,
      field,
      keyId,
    };
  });
  const grant: Grant = {
    secretIds: Object.fromEntries(rows.map(({ field, id }) => [field, id])),
    scopes,
    expiresAt:
      tokens.expiresInSeconds === undefined
        ? undefined
        : new Date(parts.now().getTime() + Math.floor(tokens.expiresInSeconds * 1000)),
  };
  return parts.database.transaction(async (tx) => {
    const written = await moveGeneration(tx, scope, generation, grant, parts.now());
    if (!written) return undefined;
    await tx.insert(secret).values(rows);
    await run(tx, DELETE_OLD_SECRETS, [scope.organizationId, scope.credentialId, generation]);
    return grant;
  });
}

/** The connection exists. @returns false when there is no such credential. */
export async function acceptGrant(parts: VaultParts, scope: CredentialScope): Promise<boolean> {
  const params = [...scopeParams(scope), parts.now().toISOString()];
  return (await run(parts.database.query, ACCEPT_GRANT, params)).length > 0;
}

/** @returns how many secrets went. */
export async function deleteCredential(parts: VaultParts, scope: CredentialScope): Promise<number> {
  return parts.database.transaction(async (tx) => {
    const [row] = await run<{ secret_ids: object }>(tx, DELETE_GRANT, scopeParams(scope));
    return row === undefined ? 0 : Object.keys(row.secret_ids).length;
  });
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
const secretContext = (scope: CredentialScope, field: string, revision: number, keyId: string): Uint8Array =>
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
WHERE organization_id = $1 AND credential_id = $2 AND integration = $3 AND owner_kind = $4 AND owner_id = $5
RETURNING generation`;

/** Its secrets go with it. */
const DELETE_GRANT = `
DELETE FROM vault.credential_grant
WHERE organization_id = $1 AND credential_id = $2 AND integration = $3 AND owner_kind = $4 AND owner_id = $5
RETURNING secret_ids`;
