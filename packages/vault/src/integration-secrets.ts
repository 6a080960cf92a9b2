import { isMovedOn, deleteSecrets, putSecret } from "./functions.ts";
import { acceptGrant, readGrant, secretContext } from "./grants.ts";
import { VaultError } from "./errors.ts";
import { inOrganization, type VaultParts } from "./parts.ts";
import { sealSecret, wipe } from "./seal.ts";
import { holdKeys, sealingKey } from "./subject-keys.ts";
import type { CredentialScope } from "./vault.ts";

/** One secret of an integration that an organisation configures: an API key, a password. */
export interface IntegrationSecret {
  readonly organizationId: string;
  readonly integration: string;
  /** Such as "api_key"; 1 to 200 characters. */
  readonly name: string;
  readonly value: string;
  /** Who stores it, for the audit: a user's id, or the part of the hub that acts by itself. */
  readonly actor: string;
}

/** What an organisation has stored for an integration. `scope` opens an authorised session; no value is given out. */
export interface IntegrationSecrets {
  readonly scope: CredentialScope;
  /** Opaque ids by name. */
  readonly secretIds: Readonly<Record<string, string>>;
}

const ATTEMPTS = 8;
const VALUE_BYTES_MAX = 64 * 1024;

/** The organisation's one credential for an integration's settings; every name is a secret of it. */
export const integrationScope = (organizationId: string, integration: string): CredentialScope => ({
  organizationId,
  integration,
  owner: { kind: "organization", id: organizationId },
  credentialId: `settings:${integration}`,
});

/**
 * Stores a secret, or gives the one of that name a new value under the same id. Safe to repeat.
 * @returns the secret's id.
 * @throws VaultError secret_required when the value is empty · public_key_untrusted.
 */
export async function storeIntegrationSecret(parts: VaultParts, secret: IntegrationSecret): Promise<string> {
  const { name, actor } = secret;
  if (secret.value === "" || name === "" || name.length > 200 || Buffer.byteLength(secret.value) > VALUE_BYTES_MAX)
    throw new VaultError("secret_required", "a secret needs a name and a value, neither of them too long");
  const scope = integrationScope(secret.organizationId, secret.integration);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const grant = await readGrant(parts, scope);
    const known = grant?.secretIds[name];
    // A name that is new joins the generation there is; a value that is new begins the next.
    const revision = (grant?.generation ?? 1) + (known === undefined ? 0 : 1);
    const { keyId, publicKey } = await sealingKey(parts.database, parts.ring, scope, parts.randomUUID);
    const plaintext = Buffer.from(secret.value, "utf8");
    const sealed = sealSecret(plaintext, secretContext(scope, name, revision, keyId), publicKey);
    wipe(plaintext);
    const id = known ?? parts.randomUUID();
    const written = await inOrganization(parts, scope, async (tx) => {
      if ((await holdKeys(tx, scope.organizationId, [keyId])).size === 0) return false;
      await putSecret(tx, scope, { ...sealed, id, revision, keyId, field: name }, known !== undefined, actor);
      return true;
    }).catch((error: unknown) => {
      // Somebody else stored, rotated or purged meanwhile: what there is now is looked at again.
      if (isMovedOn(error)) return false;
      throw error;
    });
    if (!written) continue;
    await acceptGrant(parts, scope);
    return id;
  }
  throw new VaultError("credential_missing", "the credential changes too fast");
}

/** @returns undefined when nothing is stored. */
export async function integrationSecrets(
  parts: VaultParts,
  organizationId: string,
  integration: string,
): Promise<IntegrationSecrets | undefined> {
  const scope = integrationScope(organizationId, integration);
  const grant = await readGrant(parts, scope);
  return grant === undefined ? undefined : { scope, secretIds: grant.secretIds };
}

/** Deletes every secret of an integration. Idempotent. @returns how many were deleted. */
export const purgeIntegrationSecrets = (
  parts: VaultParts,
  organizationId: string,
  integration: string,
  actor: string,
): Promise<number> => {
  const scope = integrationScope(organizationId, integration);
  return inOrganization(parts, scope, (tx) => deleteSecrets(tx, scope, actor));
};
