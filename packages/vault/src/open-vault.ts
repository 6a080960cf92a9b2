import { createHmac, createSecretKey, randomBytes, randomUUID as nodeRandomUUID, timingSafeEqual } from "node:crypto";
import { lt } from "drizzle-orm";
import { acrossOrganizations, assertOutsideTransaction, type Database, run } from "@tributary/db";
import { openSession } from "./authorised-fetch.ts";
import { listClients, partyOf, putClient, removeClient, signingKeys } from "./clients.ts";
import { createDataKeys } from "./data-keys.ts";
import { eraseFromVault, listErasures, replayErasures } from "./erasure.ts";
import { VaultError } from "./errors.ts";
import { beginFlow, type FlowSecrets, takeFlow } from "./flows.ts";
import { acceptGrant, deleteCredential, readGrant, writeGeneration } from "./grants.ts";
import { acceptSubmission, acceptWaiting, openForm } from "./inbox.ts";
import { loadCheckedKeyRing, refreshKeyRing } from "./key-check.ts";
import { RETIRE_AFTER_MS } from "./key-keeper.ts";
import { integrationSecrets, purgeIntegrationSecrets, storeIntegrationSecret } from "./integration-secrets.ts";
import type { KeySource } from "./keys.ts";
import { exchangeCode, type OAuthClient } from "./oauth.ts";
import { createOutbound, type Resolve } from "./outbound.ts";
import type { VaultLimits, VaultParts } from "./parts.ts";
import { renewDue } from "./renew-due.ts";
import { resealSecrets, retireKeys, rewrapKeys } from "./rotation.ts";
import { flow, form, inbox } from "./schema.ts";
import { writeTerms } from "./terms.ts";
import type { ConsentFlow, Grant, Vault } from "./vault.ts";

export interface VaultOptions {
  /** With this package's migrations applied. */
  readonly database: Database;
  /** A file is made at the first start, when there is no data yet. */
  readonly keys: KeySource;
  /** For every organisation that has none of its own. The first one of an integration is what new links are made with. */
  readonly clients: readonly OAuthClient[];
  /** Where browsers reach this hub, such as "https://tributary.example.com"; the callbacks are below it. */
  readonly publicOrigin: string;
  /** Origins of providers that sandboxes stand in for. Default: none. */
  readonly origins?: ReadonlyMap<string, string>;
  readonly limits?: Partial<VaultLimits>;
  /** Answers all addresses of a name. Default: the operating system's resolver. */
  readonly resolve?: Resolve;
  /**
   * The file that erasures are written down in besides the database, outside of what a backup of the database restores.
   * Default: none, and then a restored copy knows nothing of what was erased after it was made.
   */
  readonly erasureLedger?: string;
  readonly now?: () => Date;
  readonly randomUUID?: () => string;
}

const LIMITS: VaultLimits = { requestMs: 30_000, tokenRequestMs: 10_000, responseBytesMax: 16 * 1024 * 1024 };
/** A consent that nobody accepted within an hour was abandoned. */
const PENDING_MS = 3_600_000;
const AUDIT_MS = 400 * 86_400_000;
const QUARANTINE_MS = 30 * 86_400_000;
/** Secrets that one sweep seals anew, so that a large rotation does not hold up the rest. */
const RESEALED_AT_ONCE = 5000;

/**
 * Opens the vault.
 * @throws VaultError key_missing when the database holds credentials and their key is not there · key_invalid when the
 * key is another one: neither writes anything · erasure_ledger_invalid when what was erased cannot be known.
 */
export async function openVault(options: VaultOptions): Promise<Vault> {
  assertClients(options.clients);
  const publicOrigin = new URL(options.publicOrigin).origin;
  const { resolve } = options;
  const ring = await loadCheckedKeyRing(options.database, options.keys);
  await replayErasures(options.database, options.erasureLedger);
  await rewrapKeys(options.database, ring);
  const now = options.now ?? (() => new Date());
  return vaultOf({
    database: options.database,
    ring,
    outbound: createOutbound({ origins: options.origins ?? new Map(), ...(resolve === undefined ? {} : { resolve }) }),
    clients: options.clients,
    publicOrigin,
    limits: { ...LIMITS, ...options.limits },
    now,
    randomUUID: options.randomUUID ?? nodeRandomUUID,
    renewals: new Map(),
    dataKeys: createDataKeys(now),
    erasureLedger: options.erasureLedger,
  });
}

function vaultOf(parts: VaultParts): Vault {
  // What a flow needs for its exchange stays here: the flow that callers hold has no secret in it, and serves once.
  const taken = new WeakMap<ConsentFlow, FlowSecrets>();
  const signingKey = signingKeys(parts);
  const unknown = createSecretKey(randomBytes(32));

  return Object.freeze<Vault>({
    beginConsent: async (request) => {
      assertOutsideTransaction("the vault");
      return beginFlow(parts, request);
    },
    takeFlow: async (callback) => {
      assertOutsideTransaction("the vault");
      const { flow: consent, secrets } = await takeFlow(parts, callback);
      taken.set(consent, secrets);
      return consent;
    },
    redeem: async (consent, code) => {
      assertOutsideTransaction("a provider call");
      const secrets = taken.get(consent);
      taken.delete(consent);
      if (secrets === undefined) throw new VaultError("oauth_state_invalid", "the consent was redeemed already");
      return redeem(parts, consent, secrets, code);
    },
    accept: async (scope) => {
      if (!(await acceptGrant(parts, scope))) throw new VaultError("credential_missing", "there is no such credential");
    },
    open: (scope, use) => openSession(parts, scope, use),
    describe: async (scope) => {
      const grant = await readGrant(parts, scope);
      return grant === undefined
        ? undefined
        : { secretIds: grant.secretIds, scopes: grant.scopes, expiresAt: grant.expiresAt };
    },
    verifySignature: async (contextId, _algorithm, body, signature) => {
      const known = await signingKey(contextId);
      // An unknown context takes as long as a known one.
      const expected = createHmac("sha256", known?.key ?? unknown)
        .update(body)
        .digest();
      const equal = signature.length === expected.length && timingSafeEqual(signature, expected);
      return equal && known !== undefined ? known.context : undefined;
    },
    storeIntegrationSecret: async (secret) => {
      assertOutsideTransaction("the vault");
      return storeIntegrationSecret(parts, secret);
    },
    integrationSecrets: (organizationId, integration) => integrationSecrets(parts, organizationId, integration),
    purgeIntegrationSecrets: (organizationId, integration, actor) =>
      purgeIntegrationSecrets(parts, organizationId, integration, actor),
    forget: (scope) => deleteCredential(parts, scope),
    renewDue: async (limit) => {
      assertOutsideTransaction("a provider call");
      return renewDue(parts, limit);
    },
    putClient: async (client) => {
      assertOutsideTransaction("the vault");
      return putClient(parts, client);
    },
    listClients: (organizationId) => listClients(parts, organizationId),
    removeClient: (organizationId, contextId, actor) => removeClient(parts, organizationId, contextId, actor),
    verifyKey: Buffer.from(parts.ring.verifyKey).toString("base64url"),
    openForm: async (request) => {
      assertOutsideTransaction("the vault");
      return openForm(parts, request);
    },
    acceptSubmission: async (organizationId, submissionId) => {
      assertOutsideTransaction("the vault");
      return acceptSubmission(parts, organizationId, submissionId);
    },
    acceptWaiting: async (limit) => {
      assertOutsideTransaction("the vault");
      return acceptWaiting(parts, limit);
    },
    erase: async (target) => {
      assertOutsideTransaction("the vault");
      return eraseFromVault(parts, target);
    },
    erasures: () => acrossOrganizations(parts.database, "keeper", listErasures),
    sweep: () => sweep(parts),
  });
}

async function redeem(parts: VaultParts, consent: ConsentFlow, secrets: FlowSecrets, code: string): Promise<Grant> {
  const { scope } = consent;
  const { terms } = secrets;
  const access = { purpose: "consent", correlationId: consent.flowId } as const;
  const party = await partyOf(parts, { ...scope, contextId: terms.contextId }, terms.spec, access);
  const tokens = await exchangeCode(party, code, secrets.verifier);
  for (let attempt = 0; attempt < 5; attempt++) {
    const current = await readGrant(parts, scope);
    const grant = await writeGeneration(parts, scope, current, tokens, tokens.scopes ?? secrets.scopes, (tx, made) =>
      writeTerms(tx, parts, scope, terms, made),
    );
    if (grant !== undefined) return grant;
  }
  throw new VaultError("credential_missing", "the credential belongs to somebody else, or changes too fast");
}

async function sweep(parts: VaultParts): Promise<void> {
  const now = parts.now().getTime();
  await acrossOrganizations(parts.database, "keeper", async (tx) => {
    await tx.delete(flow).where(lt(flow.expiresAt, new Date(now)));
    await tx.delete(form).where(lt(form.expiresAt, new Date(now)));
    await tx.delete(inbox).where(lt(inbox.quarantinedAt, new Date(now - QUARANTINE_MS)));
    await run(tx, DELETE_PENDING, [new Date(now - PENDING_MS).toISOString()]);
    await run(tx, TRIM_AUDIT, [new Date(now - AUDIT_MS).toISOString()]);
  });
  await refreshKeyRing(parts.database, parts.ring);
  // Two hubs with values in another order would undo each other's work for ever; a file they share has one order.
  if (parts.ring.file !== undefined) await rewrapKeys(parts.database, parts.ring);
  await resealSecrets(parts, { limit: RESEALED_AT_ONCE });
  await retireKeys(parts.database, RETIRE_AFTER_MS);
  // Entries that another hub made: each hub's file has all of them.
  await replayErasures(parts.database, parts.erasureLedger);
}

function assertClients(clients: readonly OAuthClient[]): void {
  if (new Set(clients.map(({ contextId }) => contextId)).size !== clients.length)
    throw new TypeError("two OAuth clients have the same contextId");
  const empty = clients.find(({ clientSecret, clientId }) => clientSecret === "" || clientId === "");
  // An empty secret would make webhooks that anybody can sign.
  if (empty !== undefined) throw new TypeError(`the OAuth client ${empty.contextId} has an empty id or secret`);
}

/** Across organisations on purpose: housekeeping. */
const DELETE_PENDING = `
WITH gone AS (DELETE FROM vault.credential_grant WHERE accepted_at IS NULL AND created_at < $1 RETURNING *),
ordered AS MATERIALIZED (SELECT * FROM gone ORDER BY organization_id)
SELECT count(vault.chain_audit(organization_id, 'credential.delete', 'vault', integration, owner_kind, owner_id,
  credential_id, NULL, NULL, 'never accepted', '')) FROM ordered`;
const TRIM_AUDIT = "SELECT vault.trim_audit($1)";
