import { z } from "zod";
import { ALG, contextBytes } from "./seal.ts";
import type { CredentialScope, Person } from "./vault.ts";

/**
 * A credential that a person types, on its way from the process that serves the form to the vault. The first seals it
 * to its owner's public key and can open nothing; the second opens it only when the form's nonce is in it.
 */
export interface SubmissionAddress {
  readonly submissionId: string;
  readonly formId: string;
  readonly scope: CredentialScope;
  readonly person: Person;
}

/** What is sealed. */
export const SubmissionContent = z.strictObject({
  nonce: z.string(),
  values: z.record(z.string(), z.string()),
});
export type SubmissionContent = z.output<typeof SubmissionContent>;

export const FIELDS_MAX = 32;
/** Bytes of all values together: an SSH key and a certificate fit. */
export const VALUES_BYTES_MAX = 64 * 1024;

/** Everything that a submission is bound to. */
export const submissionContext = (
  { submissionId, formId, scope, person }: SubmissionAddress,
  keyId: string,
): Uint8Array =>
  contextBytes(
    "vault/v1",
    ALG,
    "submission",
    submissionId,
    formId,
    scope.organizationId,
    scope.integration,
    scope.owner.kind,
    scope.owner.id,
    scope.credentialId,
    person.userId,
    person.sessionHash,
    keyId,
  );
