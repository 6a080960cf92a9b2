import { createHmac, randomUUID as nodeRandomUUID, timingSafeEqual } from "node:crypto";
import { lt } from "drizzle-orm";
import { acrossOrganizations, assertOutsideTransaction, type Database, run } from "@tributary/db";
import { openSession } from "./authorised-fetch.ts";
import { VaultError } from "./errors.ts";
import { beginFlow, type FlowSecrets, takeFlow } from "./flows.ts";
import { acceptGrant, deleteCredential, readGrant, writeGeneration } from "./grants.ts";
import { loadCheckedKeyRing } from "./key-check.ts";
import type { KeySource } from "./keys.ts";
import { exchangeCode, type OAuthClient } from "./oauth.ts";
import { createOutbound, type Resolve } from "./outbound.ts";
import { partyOf, type VaultLimits, type VaultParts } from "./parts.ts";
import { flow } from "./schema.ts";
import { rewrapKeys } from "./subject-keys.ts";
import type { ConsentFlow, Grant, Vault } from "./vault.ts";

export interface VaultOptions {
  /** With this package's migrations applied. */
  readonly database: Database;
  /** A file is made at the first start, when there is no data yet. */
  readonly keys: KeySource;
  /** At most one for an integration. */
  readonly clients: readonly OAuthClient[];
  /** Where browsers reach this hub, such as "https://tributary.example.com"; the callbacks are below it. */
  readonly publicOrigin: string;
  /** Origins of providers that sandboxes stand in for. Default: none. */
  readonly origins?: ReadonlyMap<string, string>;
  readonly limits?: Partial<VaultLimits>;
  /** Answers all addresses of a name. Default: the operating system's resolver. */
  readonly resolve?: Resolve;
  readonly now?: () => Date;
  readonly randomUUID?: () => string;
}

const LIMITS: VaultLimits = { requestMs: 30_000, tokenRequestMs: 10_000, responseBytesMax: 16 * 1024 * 1024 };
/** A consent that nobody accepted within an hour was abandoned. */
const PENDING_MS = 3_600_000;
const AUDIT_MS = 400 * 86_400_000;

/**
 * Opens the vault.
 * @throws VaultError key_missing when the database holds credentials and their key is not there · key_invalid when the
 * key is another one. Neither writes anything.
 */
export async function openVault(options: VaultOptions): Promise<Vault> {
  assertClients(options.clients);
  const publicOrigin = new URL(options.publicOrigin).origin;
  const { resolve } = options;
  const ring = await loadCheckedKeyRing(options.database, options.keys);
  await rewrapKeys(options.database, ring);
  return vaultOf({
    database: options.database,
    ring,
    outbound: createOutbound({ origins: options.origins ?? new Map(), ...(resolve === undefined ? {} : { resolve }) }),
    clients: options.clients,
    publicOrigin,
    limits: { ...LIMITS, ...options.limits },
    now: options.now ?? (() => new Date()),
    randomUUID: options.randomUUID ?? nodeRandomUUID,
    renewals: new Map(),
  });
}

function vaultOf(parts: VaultParts): Vault {
  // What a flow needs for its exchange stays here: the flow that callers hold has no secret in it, and serves once.
  const taken = new WeakMap<ConsentFlow, FlowSecrets>();

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
      const client = parts.clients.find((candidate) => candidate.contextId === contextId);
      // An unknown context takes as long as a known one.
      const expected = createHmac("sha256", client?.clientSecret ?? "unknown")
        .update(body)
        .digest();
      const equal = signature.length === expected.length && timingSafeEqual(signature, expected);
      return equal && client !== undefined;
    },
    forget: (scope) => deleteCredential(parts, scope),
    sweep: () => sweep(parts),
  });
}

async function redeem(parts: VaultParts, consent: ConsentFlow, secrets: FlowSecrets, code: string): Promise<Grant> {
  const { scope } = consent;
  const tokens = await exchangeCode(partyOf(parts, scope.integration, secrets.spec), code, secrets.verifier);
  for (let attempt = 0; attempt < 5; attempt++) {
    const current = await readGrant(parts, scope);
    const grant = await writeGeneration(parts, scope, current, tokens, tokens.scopes ?? secrets.scopes);
    if (grant !== undefined) return grant;
  }
  throw new VaultError("credential_missing", "the credential belongs to somebody else, or changes too fast");
}

async function sweep(parts: VaultParts): Promise<void> {
  const now = parts.now().getTime();
  await acrossOrganizations(parts.database, "keeper", async (tx) => {
    await tx.delete(flow).where(lt(flow.expiresAt, new Date(now)));
    await run(tx, DELETE_PENDING, [new Date(now - PENDING_MS).toISOString()]);
    await run(tx, DELETE_OLD_AUDIT, [new Date(now - AUDIT_MS).toISOString()]);
  });
}

function assertClients(clients: readonly OAuthClient[]): void {
  for (const key of ["contextId", "integration"] as const)
    if (new Set(clients.map((client) => client[key])).size !== clients.length)
      throw new TypeError(`two OAuth clients have the same ${key}`);
  const empty = clients.find(({ clientSecret, clientId }) => clientSecret === "" || clientId === "");
  // An empty secret would make webhooks that anybody can sign.
  if (empty !== undefined) throw new TypeError(`the OAuth client ${empty.contextId} has an empty id or secret`);
}

/** Across organisations on purpose: housekeeping. */
const DELETE_PENDING = "DELETE FROM vault.credential_grant WHERE accepted_at IS NULL AND created_at < $1";
const DELETE_OLD_AUDIT = "DELETE FROM vault.access_log WHERE at < $1";
