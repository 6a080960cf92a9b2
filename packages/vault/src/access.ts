import { appendAudit } from "./audit.ts";
import { unrecorded } from "./errors.ts";
import { inOrganization, type VaultParts } from "./parts.ts";
import type { AccessPurpose, CredentialScope } from "./vault.ts";

/** Why a credential is about to be opened, and what that belongs to. */
export interface Access {
  readonly purpose: AccessPurpose;
  readonly correlationId: string;
}

/**
 * Commits one entry of the audit, before anything is asked of the credential: what cannot be recorded is not opened. What
 * is opened for the same purpose and run within the hour is covered by it; anything else is recorded as it is read.
 * @throws VaultError audit_unavailable.
 */
export async function recordAccess(parts: VaultParts, scope: CredentialScope, access: Access): Promise<void> {
  try {
    await inOrganization(parts, scope, (tx) =>
      appendAudit(tx, {
        organizationId: scope.organizationId,
        action: "credential.open",
        actor: "vault",
        integration: scope.integration,
        owner: scope.owner,
        credentialId: scope.credentialId,
        detail: access.purpose,
        correlationId: access.correlationId,
      }),
    );
  } catch (error) {
    throw unrecorded(error);
  }
}
