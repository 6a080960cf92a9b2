import { and, eq } from "drizzle-orm";
import { type Queryable, run } from "@tributary/db";
import type { OAuth2Spec } from "@tributary/sdk";
import { VaultError } from "./errors.ts";
import { inOrganization, type VaultParts } from "./parts.ts";
import { renewal } from "./schema.ts";
import { contextBytes, isSignedContext, signContext } from "./seal.ts";
import { fillSpec, type TemplateValues, tokenHostOf } from "./url-template.ts";
import type { CredentialScope, Grant } from "./vault.ts";

/**
 * What a credential was made with: by which OAuth client, and at which endpoints. Kept beside the grant, so that a
 * renewal needs nobody to tell it, and signed, so that an endpoint edited in the database gets no secret sent to it.
 */
export interface Terms {
  readonly contextId: string;
  /** With every placeholder filled in. */
  readonly spec: OAuth2Spec;
  /** What the placeholders were filled with. */
  readonly values: TemplateValues;
}

/** Renewed so long before expiry, or at half of a life that is shorter than twice that. */
const LEAD_MS = 300_000;

/**
 * @returns undefined for a credential that was made before terms were kept.
 * @throws VaultError credential_integrity_error when they are not the ones that were signed for this credential.
 */
export async function readTerms(parts: VaultParts, scope: CredentialScope): Promise<Terms | undefined> {
  const [row] = await inOrganization(parts, scope, (tx) =>
    tx
      .select({ contextId: renewal.contextId, terms: renewal.terms, signature: renewal.signature })
      .from(renewal)
      .where(and(eq(renewal.organizationId, scope.organizationId), eq(renewal.credentialId, scope.credentialId))),
  );
  if (row === undefined) return undefined;
  if (!isSignedContext(termsContext(scope, row.contextId, row.terms), row.signature, parts.ring.verifyKey))
    throw new VaultError("credential_integrity_error", "the terms of a credential are not the ones that were signed");
  return { contextId: row.contextId, ...parseTerms(row.terms) };
}

/** Writes down the terms of a generation, and when it is to be renewed, in the transaction that makes it the current one. */
export async function writeTerms(
  tx: Queryable,
  parts: VaultParts,
  scope: CredentialScope,
  terms: Terms,
  grant: Grant,
): Promise<boolean> {
  const text = termsText(terms.spec, terms.values);
  await run(tx, UPSERT_TERMS, [
    scope.organizationId,
    scope.credentialId,
    scope.integration,
    scope.owner.kind,
    scope.owner.id,
    terms.contextId,
    text,
    signContext(termsContext(scope, terms.contextId, text), parts.ring.signingSeed),
    renewAt(terms.spec, grant, parts.now())?.toISOString() ?? null,
  ]);
  return true;
}

/** A spec and its values as one text, to be authenticated byte for byte. */
export const termsText = (spec: OAuth2Spec, values: TemplateValues): string => JSON.stringify({ ...spec, values });

export function parseTerms(text: string): Pick<Terms, "spec" | "values"> {
  const { values, ...spec } = JSON.parse(text) as OAuth2Spec & { readonly values?: TemplateValues };
  return { spec, values: values ?? {} };
}

/**
 * A connector's spec as it applies to one credential. The connector may have changed meanwhile; where the secrets go may
 * not, unless it names the old host.
 * @throws VaultError reauth_required when the token endpoint is on another host now · oauth_config_incomplete.
 */
export function specUnder(terms: Terms | undefined, spec: OAuth2Spec): OAuth2Spec {
  const filled = fillSpec(spec, terms?.values ?? {});
  if (terms === undefined) return filled;
  const [bound, host] = [tokenHostOf(terms.spec), tokenHostOf(filled)];
  if (bound !== host && filled.formerTokenHosts?.includes(bound) !== true)
    throw new VaultError("reauth_required", "the credential was made at another host", "host_changed");
  return filled;
}

/** @returns undefined for what is renewed on demand: an unknown expiry, no refresh token, or a connector that wants it so. */
function renewAt(spec: OAuth2Spec, grant: Grant, now: Date): Date | undefined {
  const { expiresAt, secretIds } = grant;
  if (spec.refresh === "on-demand" || expiresAt === undefined || secretIds["refresh_token"] === undefined)
    return undefined;
  const lifeMs = Math.max(0, expiresAt.getTime() - now.getTime());
  return new Date(expiresAt.getTime() - Math.min(LEAD_MS, lifeMs / 2));
}

const termsContext = (scope: CredentialScope, contextId: string, text: string): Uint8Array =>
  contextBytes(
    "vault/v1",
    "terms",
    scope.organizationId,
    scope.integration,
    scope.owner.kind,
    scope.owner.id,
    scope.credentialId,
    contextId,
    text,
  );

const UPSERT_TERMS = `
INSERT INTO vault.renewal
  (organization_id, credential_id, integration, owner_kind, owner_id, context_id, terms, signature, renew_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (organization_id, credential_id) DO UPDATE
SET context_id = excluded.context_id, terms = excluded.terms, signature = excluded.signature,
  renew_at = excluded.renew_at, failures = 0`;
