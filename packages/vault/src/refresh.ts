import { setTimeout as sleep } from "node:timers/promises";
import { run } from "@tributary/db";
import type { OAuth2Spec } from "@tributary/sdk";
import type { Access } from "./access.ts";
import { partyOfGrant } from "./clients.ts";
import { VaultError } from "./errors.ts";
import { openOnce, readGrant, type StoredGrant, writeGeneration } from "./grants.ts";
import { type Party, refreshTokens, type Renewal, type Tokens } from "./oauth.ts";
import { inOrganization, type VaultParts } from "./parts.ts";
import { readTerms, type Terms, writeTerms } from "./terms.ts";
import type { CredentialScope } from "./vault.ts";

/**
 * Renewing a credential, once a generation across all processes.
 *
 * A renewal takes the grant's lease, which also writes down the intent to use the refresh token. Three ends are
 * possible. The provider answers: the new tokens are sealed and stored as the next generation before anybody uses them.
 * The provider refuses: with the lease still ours and the generation unmoved, that is `reauth_required`, and nothing
 * else is. The answer is lost: the provider may have rotated the token, so the old one is sent once more, which
 * providers accept for a while; the intent stays, and whoever takes the lease next knows that this was tried.
 */
export function renew(
  parts: VaultParts,
  scope: CredentialScope,
  spec: OAuth2Spec,
  seenGeneration: number,
  access: Access,
): Promise<"renewed" | "impossible"> {
  const key = JSON.stringify([scope.organizationId, scope.credentialId, seenGeneration]);
  const underWay = parts.renewals.get(key);
  if (underWay !== undefined) return underWay;
  const renewal = renewAcrossProcesses(parts, scope, spec, seenGeneration, access).finally(() =>
    parts.renewals.delete(key),
  );
  parts.renewals.set(key, renewal);
  return renewal;
}

const POLL_MS = 100;
/** How long to wait for another process. A lease ends earlier, so a process that died holding one is taken over. */
const POLLS_MAX = 900;
/** Covers three requests of 10 s and storing what came back. */
const LEASE_SECONDS = 60;
/** What a lease must have left as a request is sent: longer than its answer is waited for. */
const SEND_SECONDS = 15;
const STORE_ATTEMPTS = 6;

async function renewAcrossProcesses(
  parts: VaultParts,
  scope: CredentialScope,
  spec: OAuth2Spec,
  seenGeneration: number,
  access: Access,
): Promise<"renewed" | "impossible"> {
  const terms = await readTerms(parts, scope);
  const party = await partyOfGrant(parts, scope, terms, spec, access);
  const next = { contextId: party.client.contextId, spec: party.spec, values: terms?.values ?? {} };
  for (let poll = 0; poll < POLLS_MAX; poll++) {
    const grant = await readGrant(parts, scope);
    if (grant === undefined) throw new VaultError("credential_missing", "the credential was deleted");
    if (grant.generation !== seenGeneration) return "renewed";
    if (grant.secretIds["refresh_token"] === undefined) return "impossible";
    const lease = await takeLease(parts, scope, seenGeneration);
    if (lease !== undefined && (await renewUnderLease(parts, scope, party, next, grant, lease, access)))
      return "renewed";
    if (lease === undefined) await sleep(POLL_MS);
  }
  throw new VaultError("provider_unavailable", "another process has been renewing the credential for too long");
}

interface Lease {
  readonly token: bigint;
  /** An earlier renewal of this generation ended without an answer. */
  readonly unresolved: boolean;
}

/** @returns false when the generation moved under us, or the lease ran out: what it moved to is what counts. */
async function renewUnderLease(
  parts: VaultParts,
  scope: CredentialScope,
  party: Party,
  next: Terms,
  grant: StoredGrant,
  lease: Lease,
  access: Access,
): Promise<boolean> {
  // A process that stood still must not send what its successor has used already: the database is asked right before.
  let sent = false;
  const send = async (token: string): Promise<Renewal> => {
    if (!(await holdsLease(parts, scope, lease))) throw new LeaseRanOut();
    sent = true;
    return refreshTokens(party, token);
  };
  let outcome: Renewal;
  try {
    const refreshToken = await openOnce(parts, scope, "refresh_token", grant.generation, access);
    if (refreshToken === undefined)
      throw new VaultError("credential_integrity_error", "the refresh token that the grant names is not there");
    outcome = await send(refreshToken);
    if (outcome.kind === "unknown" && !lease.unresolved) outcome = await send(refreshToken);
    if (outcome.kind === "refused")
      outcome = await tryPrevious(parts, scope, send, grant, refreshToken, outcome, access);
    if (outcome.kind === "tokens") return await store(parts, scope, next, grant, withOld(outcome.tokens, refreshToken));
  } catch (error) {
    await endLease(parts, scope, lease, (sent || lease.unresolved) && keepsIntent(error));
    if (error instanceof LeaseRanOut) return false;
    throw error;
  }
  if (outcome.kind === "unknown") {
    await endLease(parts, scope, lease, true);
    throw new VaultError("provider_unavailable", "the provider did not answer the renewal");
  }
  const [verdict] = await inOrganization(parts, scope, (tx) =>
    run<{ generation: bigint }>(tx, CLAIM_VERDICT, leaseParams(scope, lease)),
  );
  if (verdict === undefined || Number(verdict.generation) !== grant.generation) return false;
  throw new VaultError("reauth_required", "the provider no longer accepts the credential", outcome.detail);
}

/**
 * A provider that lost its last rotation (a replica behind, a restored backup) still knows the token before it. One try:
 * when the current token is refused there is nothing left to lose.
 */
async function tryPrevious(
  parts: VaultParts,
  scope: CredentialScope,
  send: (token: string) => Promise<Renewal>,
  grant: StoredGrant,
  current: string,
  refused: Renewal,
  access: Access,
): Promise<Renewal> {
  const previous = await openOnce(parts, scope, "refresh_token", grant.generation - 1, access);
  if (previous === undefined || previous === current) return refused;
  const outcome = await send(previous);
  return outcome.kind === "tokens" ? outcome : refused;
}

/** Without a new refresh token in the answer, the old one stays good (RFC 6749 §6). */
function withOld(tokens: Tokens, refreshToken: string): Tokens {
  return { ...tokens, fields: new Map([["refresh_token", refreshToken], ...tokens.fields]) };
}

/**
 * A rotated refresh token that is not stored is a lost account, so a database that is away for a moment is waited for.
 */
async function store(
  parts: VaultParts,
  scope: CredentialScope,
  terms: Terms,
  grant: StoredGrant,
  tokens: Tokens,
): Promise<boolean> {
  const scopes = tokens.scopes ?? grant.scopes;
  for (let attempt = 1; ; attempt++) {
    try {
      const written = await writeGeneration(parts, scope, grant, tokens, scopes, (tx, made) =>
        writeTerms(tx, parts, scope, terms, made),
      );
      return written !== undefined;
    } catch (error) {
      if (error instanceof VaultError || attempt === STORE_ATTEMPTS) throw error;
      await sleep(POLL_MS * 2 ** attempt);
    }
  }
}

/** After a definite refusal nothing is outstanding; after anything else the provider may have rotated the token. */
const keepsIntent = (error: unknown): boolean =>
  !(error instanceof VaultError && error.code === "oauth_client_invalid");

async function takeLease(parts: VaultParts, scope: CredentialScope, generation: number): Promise<Lease | undefined> {
  const params = [scope.organizationId, scope.credentialId, generation, LEASE_SECONDS];
  const [row] = await inOrganization(parts, scope, (tx) =>
    run<{ lease_token: bigint; unresolved: boolean }>(tx, TAKE_LEASE, params),
  );
  return row === undefined ? undefined : { token: row.lease_token, unresolved: row.unresolved };
}

/** There is too little left of the lease to send anything under it, or somebody else has taken it. */
class LeaseRanOut extends Error {}

async function holdsLease(parts: VaultParts, scope: CredentialScope, lease: Lease): Promise<boolean> {
  const params = [...leaseParams(scope, lease), SEND_SECONDS];
  return (await inOrganization(parts, scope, (tx) => run(tx, HOLDS_LEASE, params))).length > 0;
}

async function endLease(parts: VaultParts, scope: CredentialScope, lease: Lease, keepIntent: boolean): Promise<void> {
  // When the database is away, the lease ends by itself.
  const params = [...leaseParams(scope, lease), keepIntent];
  await inOrganization(parts, scope, (tx) => run(tx, END_LEASE, params)).catch(() => {});
}

const leaseParams = (scope: CredentialScope, lease: Lease): readonly unknown[] => [
  scope.organizationId,
  scope.credentialId,
  lease.token,
];

const TAKE_LEASE = `
WITH before AS (
  SELECT organization_id, credential_id, intent_at FROM vault.credential_grant
  WHERE organization_id = $1 AND credential_id = $2 AND generation = $3 AND (lease_until IS NULL OR lease_until < now())
  FOR UPDATE
)
UPDATE vault.credential_grant AS g
SET lease_token = lease_token + 1, lease_until = now() + make_interval(secs => $4), intent_at = now()
FROM before
WHERE g.organization_id = before.organization_id AND g.credential_id = before.credential_id
RETURNING g.lease_token, before.intent_at IS NOT NULL AS unresolved`;

const HOLDS_LEASE = `
SELECT 1 FROM vault.credential_grant
WHERE organization_id = $1 AND credential_id = $2 AND lease_token = $3 AND lease_until > now() + make_interval(secs => $4)`;

const END_LEASE = `
UPDATE vault.credential_grant SET lease_until = NULL, intent_at = CASE WHEN $4::boolean THEN intent_at END
WHERE organization_id = $1 AND credential_id = $2 AND lease_token = $3`;

/** Ends the lease, and says whether it was still ours and of which generation. */
const CLAIM_VERDICT = `
UPDATE vault.credential_grant SET lease_until = NULL, intent_at = NULL
WHERE organization_id = $1 AND credential_id = $2 AND lease_token = $3 AND lease_until IS NOT NULL
RETURNING generation`;
