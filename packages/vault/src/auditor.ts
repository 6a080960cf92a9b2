import type { Database } from "@tributary/db";
import { type SignedHead, signedHeads } from "./audit-heads.ts";
import { type AuditReport, type AuditVerification, verifyAudit } from "./audit-verify.ts";
import { loadCheckedKeyRing } from "./key-check.ts";
import type { KeySource } from "./keys.ts";

/** What an operator does with the audit. Nothing of it can change an entry. */
export interface Auditor {
  /** Where every chain ends, or one organisation's, signed: to be kept where the database's administrators cannot write. */
  heads(organizationId?: string): Promise<readonly SignedHead[]>;
  /** Finds entries that were edited, deleted, exchanged or cut off. */
  verify(what?: Omit<AuditVerification, "verifyKey">): Promise<AuditReport>;
}

/**
 * Opens the audit for an operator, with the same checks of the keys as `openVault`.
 * @throws VaultError key_missing · key_invalid. Neither writes anything.
 */
export async function openAuditor(options: {
  readonly database: Database;
  readonly keys: KeySource;
}): Promise<Auditor> {
  const { database } = options;
  const ring = await loadCheckedKeyRing(database, options.keys);
  return Object.freeze<Auditor>({
    heads: (organizationId) => signedHeads(database, ring, organizationId),
    verify: (what = {}) => verifyAudit(database, { ...what, verifyKey: ring.verifyKey }),
  });
}
