import { createSecretKey, type KeyObject, randomBytes } from "node:crypto";
import { and, desc, eq } from "drizzle-orm";
import { acrossOrganizations } from "@tributary/db";
import type { OAuth2Spec } from "@tributary/sdk";
import { type Access, recordAccess } from "./access.ts";
import { appendAudit } from "./audit.ts";
import { VaultError } from "./errors.ts";
import { acceptGrant, deleteCredential, openOnce, readGrant, writeGeneration } from "./grants.ts";
import type { OAuthClient, Party } from "./oauth.ts";
import { inOrganization, type VaultParts } from "./parts.ts";
import { oauthClient } from "./schema.ts";
import { specUnder, type Terms } from "./terms.ts";
import { fillSpec, tokenHostOf } from "./url-template.ts";
import type { ClientRequest, ClientSummary, CredentialScope, SignedContext } from "./vault.ts";

/**
 * OAuth clients. Whoever deploys configures some, for every organisation; an organisation may bring its own, and its own
 * is then the one that its people link with. The secret of such a client is a secret like any other, sealed to the
 * organisation's key. Its field is named after the client's id and the host of the token endpoint, so that it is bound
 * to both: for another host there is no secret, and it has to be entered again.
 */

/** Which client: the one of a context, or the one that new links of an organisation are made with. */
export interface ClientChoice {
  readonly organizationId: string;
  readonly integration: string;
  readonly contextId?: string | undefined;
}

/**
 * @throws VaultError oauth_client_invalid when there is no such client, or its secret was entered for another host (then
 * with the detail `host_changed`) · oauth_config_incomplete when the organisation has several, none is named, and the
 * deployment has none · audit_unavailable · credential_integrity_error.
 */
export async function partyOf(
  parts: VaultParts,
  choice: ClientChoice,
  spec: OAuth2Spec,
  access: Access,
): Promise<Party> {
  const client = await clientOf(parts, choice, spec, access);
  if (client === undefined)
    throw new VaultError("oauth_client_invalid", "no OAuth client is configured for the integration");
  return {
    spec,
    client,
    // One URI a client: an answer for one context cannot be played to another (RFC 9700 §4.4).
    redirectUri: redirectUriOf(parts, client.contextId),
    outbound: parts.outbound,
    timeoutMs: parts.limits.tokenRequestMs,
  };
}

/**
 * The party of a credential: the client that it was made with, at the endpoints of the connector as they are now.
 * @param terms absent for a credential that was made before they were kept: then by the deployment's first client.
 * @throws VaultError reauth_required when the token endpoint is on another host now · as {@link partyOf}.
 */
export function partyOfGrant(
  parts: VaultParts,
  scope: CredentialScope,
  terms: Terms | undefined,
  spec: OAuth2Spec,
  access: Access,
): Promise<Party> {
  const first = parts.clients.find((client) => client.integration === scope.integration)?.contextId;
  return partyOf(parts, { ...scope, contextId: terms?.contextId ?? first }, specUnder(terms, spec), access);
}

async function clientOf(
  parts: VaultParts,
  choice: ClientChoice,
  spec: OAuth2Spec,
  access: Access,
): Promise<OAuthClient | undefined> {
  const { integration, contextId } = choice;
  const own = contextId !== undefined && parts.clients.find((client) => client.contextId === contextId);
  // A context belongs to one integration, whoever asks for it.
  if (own) return own.integration === integration ? own : undefined;
  const [stored, another] = await storedClients(parts, choice);
  // One of several is not guessed: a link that is made with the wrong one is made at the wrong application.
  if (stored === undefined || another !== undefined) {
    const shared = parts.clients.find((client) => client.integration === integration);
    if (shared === undefined && another !== undefined)
      throw new VaultError("oauth_config_incomplete", "the organisation has several OAuth clients, and none is named");
    return contextId === undefined ? shared : undefined;
  }
  const clientSecret = await openClientSecret(parts, stored, tokenHostOf(spec), access);
  if (clientSecret === undefined)
    throw new VaultError(
      "oauth_client_invalid",
      "the client's secret was entered for another host: enter it again",
      "host_changed",
    );
  return { contextId: stored.contextId, integration, clientId: stored.clientId, clientSecret };
}

type Row = typeof oauthClient.$inferSelect;

/** Two at most: one, or more than one. */
async function storedClients(parts: VaultParts, choice: ClientChoice): Promise<readonly Row[]> {
  const { organizationId, integration, contextId } = choice;
  return inOrganization(parts, choice, (tx) =>
    tx
      .select()
      .from(oauthClient)
      .where(
        and(
          eq(oauthClient.organizationId, organizationId),
          eq(oauthClient.integration, integration),
          ...(contextId === undefined ? [] : [eq(oauthClient.contextId, contextId)]),
        ),
      )
      .limit(2),
  );
}

async function openClientSecret(
  parts: VaultParts,
  row: Row,
  tokenHost: string,
  access: Access,
): Promise<string | undefined> {
  const scope = clientScope(row.organizationId, row.integration, row.contextId);
  await recordAccess(parts, scope, access);
  const grant = await readGrant(parts, scope);
  if (grant === undefined) return undefined;
  return openOnce(parts, scope, secretField(row.clientId, tokenHost), grant.generation, access);
}

/**
 * Keeps a client that an organisation brought, or new particulars of one that it has.
 * @throws VaultError oauth_config_incomplete · url_not_allowed · credential_missing when the organisation has no such context.
 */
export async function putClient(parts: VaultParts, request: ClientRequest): Promise<ClientSummary> {
  const { organizationId, integration, clientId, clientSecret } = request;
  if (clientId === "" || clientSecret === "")
    throw new VaultError("oauth_config_incomplete", "an OAuth client has an id and a secret");
  const tokenHost = tokenHostOf(fillSpec(request.spec, request.values ?? {}));
  const contextId = request.contextId ?? `${integration}.${randomBytes(16).toString("base64url")}`;
  const scope = clientScope(organizationId, integration, contextId);
  const [known] = await storedClients(parts, { organizationId, integration, contextId });
  if ((known === undefined) !== (request.contextId === undefined))
    throw new VaultError("credential_missing", "the organisation has no such OAuth client");
  const row = { contextId, organizationId, credentialId: scope.credentialId, integration, clientId, tokenHost };
  const tokens = {
    fields: new Map([[secretField(clientId, tokenHost), clientSecret]]),
    scopes: undefined,
    expiresInSeconds: undefined,
  };
  const written = await writeGeneration(parts, scope, await readGrant(parts, scope), tokens, [], async (tx) => {
    await tx
      .insert(oauthClient)
      .values({ ...row, createdAt: parts.now() })
      .onConflictDoUpdate({ target: oauthClient.contextId, set: { clientId, tokenHost } });
    const { credentialId, owner } = scope;
    const actor = request.actor ?? "vault";
    const detail = tokenHost.slice(0, AUDIT_DETAIL_MAX);
    await appendAudit(tx, { organizationId, action: "client.put", actor, integration, owner, credentialId, detail });
    return true;
  });
  if (written === undefined) throw new VaultError("credential_missing", "the client was changed meanwhile: try again");
  await acceptGrant(parts, scope);
  return summary(parts, row);
}

const AUDIT_DETAIL_MAX = 500;

/** The organisation's own, newest first. */
export async function listClients(parts: VaultParts, organizationId: string): Promise<readonly ClientSummary[]> {
  const rows = await inOrganization(parts, { organizationId }, (tx) =>
    tx
      .select()
      .from(oauthClient)
      .where(eq(oauthClient.organizationId, organizationId))
      .orderBy(desc(oauthClient.createdAt), oauthClient.contextId)
      .limit(1000),
  );
  return rows.map((row) => summary(parts, row));
}

/** @returns false when the organisation has no such client. What was linked with it cannot be renewed any more. */
export async function removeClient(
  parts: VaultParts,
  organizationId: string,
  contextId: string,
  actor?: string,
): Promise<boolean> {
  const [integration = ""] = contextId.split(".");
  return (await deleteCredential(parts, clientScope(organizationId, integration, contextId), actor)) > 0;
}

const KEY_MS = 60_000;

interface SigningKey {
  readonly key: KeyObject;
  readonly context: SignedContext;
}

/** The secrets that webhooks are signed with, by context. An organisation's is kept for a minute after it was opened. */
export function signingKeys(parts: VaultParts): (contextId: string) => Promise<SigningKey | undefined> {
  const kept = new Map<string, { readonly signing: SigningKey | undefined; readonly until: number }>();
  const open = async (contextId: string): Promise<SigningKey | undefined> => {
    const [row] = await acrossOrganizations(parts.database, "keeper", (tx) =>
      tx.select().from(oauthClient).where(eq(oauthClient.contextId, contextId)),
    );
    if (row === undefined) return undefined;
    const access = { purpose: "webhook", correlationId: parts.randomUUID() } as const;
    // The secret is not sent anywhere, so the host that it was entered for is the one that counts.
    const secret = await openClientSecret(parts, row, row.tokenHost, access);
    const { integration, organizationId } = row;
    if (secret === undefined) return undefined;
    return { key: createSecretKey(secret, "utf8"), context: { integration, organizationId } };
  };
  return async (contextId) => {
    const own = parts.clients.find((client) => client.contextId === contextId);
    if (own !== undefined) {
      const context = { integration: own.integration, organizationId: undefined };
      return { key: createSecretKey(own.clientSecret, "utf8"), context };
    }
    // Only what could be a context of ours costs a look into the database.
    if (!CONTEXT.test(contextId)) return undefined;
    const now = parts.now().getTime();
    const found = kept.get(contextId);
    if (found !== undefined && found.until > now) return found.signing;
    const signing = await open(contextId);
    for (const [name, { until }] of kept) if (until <= now || kept.size > KEPT_MAX) kept.delete(name);
    kept.set(contextId, { signing, until: now + KEY_MS });
    return signing;
  };
}
const KEPT_MAX = 1000;
const CONTEXT = /^[a-z0-9-]{1,64}\.[A-Za-z0-9_-]{22}$/;

const clientScope = (organizationId: string, integration: string, contextId: string): CredentialScope => ({
  organizationId,
  integration,
  owner: { kind: "organization", id: organizationId },
  credentialId: `client:${contextId}`,
});

/** A host has no `#`, so the two cannot run into each other. */
const secretField = (clientId: string, tokenHost: string): string => `client_secret@${tokenHost}#${clientId}`;

const redirectUriOf = (parts: VaultParts, contextId: string): string =>
  `${parts.publicOrigin}/api/integrations/oauth/callback/${encodeURIComponent(contextId)}`;

const summary = (
  parts: VaultParts,
  { contextId, integration, clientId, tokenHost }: Pick<Row, "contextId" | "integration" | "clientId" | "tokenHost">,
): ClientSummary => ({ contextId, integration, clientId, tokenHost, redirectUri: redirectUriOf(parts, contextId) });
