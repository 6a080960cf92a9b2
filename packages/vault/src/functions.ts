import { type Queryable, run } from "@tributary/db";
import type { Access } from "./access.ts";
import { unrecorded, VaultError } from "./errors.ts";
import type { SealedSecret } from "./seal.ts";
import type { CredentialScope } from "./vault.ts";

/**
 * The module's side of the SQL functions (`migrations/0004_functions.sql`), which are the one road to stored secrets. They
 * take and give ciphertext, and each writes its audit entry in the same transaction.
 */
interface StoredRow extends SealedSecret {
  readonly id: string;
  readonly revision: number;
  readonly keyId: string;
}

/** A secret to be stored, sealed for this very revision. */
export interface NewSecret extends StoredRow {
  readonly field: string;
}

/**
 * Reads a secret of a credential as of a generation. The id is taken from the grant of the caller's scope, in the same
 * statement.
 * @returns undefined when there is no such credential.
 * @throws what {@link retrievalFailure} understands; the transaction is of no more use then.
 */
export async function retrieveSecret(
  tx: Queryable,
  scope: CredentialScope,
  field: string,
  generation: number,
  access: Access,
): Promise<StoredRow | undefined> {
  const params = [...scopeParams(scope), field, generation, access.purpose, access.correlationId];
  const [row] = await run<RetrievedRow>(tx, RETRIEVE, params);
  if (row === undefined) return undefined;
  const { id, revision, key_id: keyId, alg, nonce, ciphertext, sealed } = row;
  return { id, revision: Number(revision), keyId, alg, nonce, ciphertext, sealed };
}

type RetrievedRow = SealedSecret & { readonly id: string; readonly revision: bigint; readonly key_id: string };

/**
 * Why a secret could not be read, to be asked outside the transaction. Whatever else fails, fails where the access is
 * recorded.
 * @returns undefined when there is none. @throws VaultError credential_integrity_error · audit_unavailable.
 */
export function retrievalFailure(error: unknown): undefined {
  const code = sqlState(error);
  if (code === NO_DATA_FOUND) return undefined;
  if (code === DATA_CORRUPTED)
    throw new VaultError("credential_integrity_error", "the stored credential is older than the audit says");
  throw unrecorded(error);
}

/** Stores a secret under a new id, or gives the one that has it a new value. */
export async function putSecret(
  tx: Queryable,
  scope: CredentialScope,
  secret: NewSecret,
  exists: boolean,
  actor = "vault",
): Promise<void> {
  const { id, revision, field, alg, keyId, nonce, ciphertext, sealed } = secret;
  const value = [revision, alg, keyId, nonce, ciphertext, sealed, actor];
  if (exists) await run(tx, ROTATE, [scope.organizationId, id, ...value]);
  else await run(tx, STORE, [...scopeParams(scope), id, field, ...value]);
}

/** Deletes a credential with its secrets. @returns how many secrets went. */
export async function deleteSecrets(tx: Queryable, scope: CredentialScope, actor: string): Promise<number> {
  const [row] = await run<{ count: bigint }>(tx, DELETE_SECRETS, [...scopeParams(scope), actor]);
  // A grant without a secret, if there ever is one.
  await run(tx, DELETE_GRANT, scopeParams(scope));
  return Number(row?.count ?? 0);
}

/** Somebody else wrote or deleted the credential meanwhile, and the transaction was rolled back. */
export const isMovedOn = (error: unknown): boolean =>
  [UNIQUE_VIOLATION, NO_DATA_FOUND].includes(String(sqlState(error)));

const NO_DATA_FOUND = "P0002";
const DATA_CORRUPTED = "XX001";
const UNIQUE_VIOLATION = "23505";

const sqlState = (error: unknown): unknown =>
  typeof error === "object" && error !== null && "code" in error ? error.code : undefined;

const scopeParams = (scope: CredentialScope): readonly string[] => [
  scope.organizationId,
  scope.credentialId,
  scope.integration,
  scope.owner.kind,
  scope.owner.id,
];

const RETRIEVE = `
SELECT found.* FROM vault.credential_grant AS g
CROSS JOIN LATERAL vault.retrieve_credential(g.organization_id, (g.secret_ids ->> $6)::uuid, $7, $8, $9) AS found
WHERE g.organization_id = $1 AND g.credential_id = $2 AND g.integration = $3 AND g.owner_kind = $4 AND g.owner_id = $5`;

const STORE = "SELECT vault.store_credential($1, $6, $2, $3, $4, $5, $7, $8, $9, $10, $11, $12, $13, $14)";

const ROTATE = "SELECT vault.rotate_credential($1, $2, $3, $4, $5, $6, $7, $8, $9)";

const DELETE_SECRETS = `
SELECT count(*) FILTER (WHERE vault.delete_credential(g.organization_id, s.value::uuid, $6)) AS count
FROM vault.credential_grant AS g CROSS JOIN LATERAL jsonb_each_text(g.secret_ids) AS s
WHERE g.organization_id = $1 AND g.credential_id = $2 AND g.integration = $3 AND g.owner_kind = $4 AND g.owner_id = $5`;

const DELETE_GRANT = `
DELETE FROM vault.credential_grant
WHERE organization_id = $1 AND credential_id = $2 AND integration = $3 AND owner_kind = $4 AND owner_id = $5`;
