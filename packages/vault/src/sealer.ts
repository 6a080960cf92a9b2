import { randomUUID as nodeRandomUUID } from "node:crypto";
import { and, desc, eq } from "drizzle-orm";
import { type Database, type Queryable, run, withOrganization } from "@tributary/db";
import { VaultError } from "./errors.ts";
import { subjectKey } from "./schema.ts";
import { sealSecret, wipe } from "./seal.ts";
import { type SealingKey, trustedKey } from "./subject-keys.ts";
import { FIELDS_MAX, type SubmissionContent, submissionContext, VALUES_BYTES_MAX } from "./submission.ts";
import type { CredentialScope, FormTicket, Person } from "./vault.ts";

export interface SealerOptions {
  readonly database: Database;
  /** `Vault.verifyKey`: base64url. It opens nothing, and tells the vault's public keys from anybody else's. */
  readonly verifyKey: string;
  readonly randomUUID?: () => string;
}

export interface SubmitRequest {
  readonly ticket: FormTicket;
  /** Who typed it. */
  readonly person: Person;
  /** By field, as the form names them. */
  readonly values: Readonly<Record<string, string>>;
}

/** The half of the vault that may write and cannot read: for a process that has no key. */
export interface Sealer {
  /**
   * Puts a credential into the vault's inbox, sealed for its owner. It is not in use before the vault has accepted it.
   * @returns the submission's id, for `Vault.acceptSubmission`.
   * @throws VaultError submission_refused (empty, or too much) · public_key_untrusted · key_missing (the owner has no
   * key: the form was not opened by the vault).
   */
  submit(request: SubmitRequest): Promise<string>;
}

/** @throws TypeError when the verify key is no key. */
export function createSealer({ database, verifyKey, randomUUID = nodeRandomUUID }: SealerOptions): Sealer {
  const verify = new Uint8Array(Buffer.from(verifyKey, "base64url"));
  if (verify.length !== 32) throw new TypeError("the verify key must be 32 bytes, base64url");
  return Object.freeze<Sealer>({
    submit: async ({ ticket, person, values }) => {
      const { formId, nonce, scope } = ticket;
      assertValues(values);
      const submissionId = randomUUID();
      const asWriter = <T>(work: (tx: Queryable) => Promise<T>): Promise<T> =>
        withOrganization(database, scope.organizationId, work, "writer");
      return asWriter(async (tx) => {
        const { keyId, publicKey } = await publicKeyOf(tx, scope, verify);
        const content = Buffer.from(JSON.stringify({ nonce, values } satisfies SubmissionContent), "utf8");
        const sealed = sealSecret(
          content,
          submissionContext({ submissionId, formId, scope, person }, keyId),
          publicKey,
        );
        wipe(content);
        await run(tx, SUBMIT, [
          submissionId,
          scope.organizationId,
          formId,
          person.userId,
          person.sessionHash,
          scope.integration,
          scope.owner.kind,
          scope.owner.id,
          scope.credentialId,
          keyId,
          sealed.alg,
          sealed.nonce,
          sealed.ciphertext,
          sealed.sealed,
        ]);
        return submissionId;
      });
    },
  });
}

function assertValues(values: Readonly<Record<string, string>>): void {
  const fields = Object.values(values);
  if (fields.length === 0 || fields.length > FIELDS_MAX || fields.some((value) => value.trim() === ""))
    throw new VaultError("submission_refused", "a field is empty, or there are too many");
  if (fields.reduce((sum, value) => sum + Buffer.byteLength(value), 0) > VALUES_BYTES_MAX)
    throw new VaultError("submission_refused", "the values are longer than a credential can be");
}

/** Only the public half is this role's to read. */
async function publicKeyOf(tx: Queryable, scope: CredentialScope, verifyKey: Uint8Array): Promise<SealingKey> {
  const { keyId, generation, publicKey, signature } = subjectKey;
  const [row] = await tx
    .select({ keyId, generation, publicKey, signature })
    .from(subjectKey)
    .where(
      and(
        eq(subjectKey.organizationId, scope.organizationId),
        eq(subjectKey.ownerKind, scope.owner.kind),
        eq(subjectKey.ownerId, scope.owner.id),
      ),
    )
    .orderBy(desc(generation))
    .limit(1);
  if (row === undefined) throw new VaultError("key_missing", "the owner has no key to seal to");
  return trustedKey(row, verifyKey, scope);
}

/** These columns and no RETURNING: the role may write them, and read nothing. */
const SUBMIT = `
INSERT INTO vault.inbox (id, organization_id, form_id, user_id, session_hash, integration, owner_kind, owner_id,
  credential_id, key_id, alg, nonce, ciphertext, sealed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`;
