import { acrossOrganizations, run } from "@tributary/db";
import { recordAccess } from "./access.ts";
import { VaultError } from "./errors.ts";
import { readGrant } from "./grants.ts";
import { inOrganization, type VaultParts } from "./parts.ts";
import { renew } from "./refresh.ts";
import { readTerms } from "./terms.ts";
import type { CredentialScope, RenewalOutcome } from "./vault.ts";

/** Renewals under way at once: each waits for a provider most of the time. */
const AT_ONCE = 8;
/** A claim keeps other keepers away so long. What a dead one claimed comes round again then. */
const CLAIM_SECONDS = 120;
/** After a failure, by how many there were before; a client that the provider refuses is asked about once an hour. */
const RETRY_FIRST_MS = 30_000;
const RETRY_MS_MAX = 3_600_000;

/**
 * Renews what expires soon, found by its due time alone: nothing is opened that is not renewed. Any number of processes
 * may call it at once: rows are claimed, and the renewal itself happens once a generation under the grant's lease.
 */
export async function renewDue(parts: VaultParts, limit: number): Promise<readonly RenewalOutcome[]> {
  const due = await acrossOrganizations(parts.database, "keeper", (tx) =>
    run<Due>(tx, CLAIM_DUE, [parts.now().toISOString(), limit, CLAIM_SECONDS]),
  );
  const outcomes: RenewalOutcome[] = [];
  const waiting = due.values();
  const correlationId = parts.randomUUID();
  const work = async (): Promise<void> => {
    for (const row of waiting) {
      const scope = scopeOf(row);
      const outcome = await renewOne(parts, scope, correlationId);
      // When the database is away, the claim ends by itself.
      if (outcome !== "renewed") await settle(parts, row, outcome).catch(() => {});
      outcomes.push({ scope, outcome });
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, due.length) }, work));
  return outcomes;
}

/** Everything that can go wrong with one is its own outcome: it must not stop its neighbours. */
async function renewOne(
  parts: VaultParts,
  scope: CredentialScope,
  correlationId: string,
): Promise<RenewalOutcome["outcome"]> {
  try {
    const grant = await readGrant(parts, scope);
    const terms = await readTerms(parts, scope);
    if (grant === undefined || terms === undefined) return "gone";
    const access = { purpose: "renew", correlationId } as const;
    await recordAccess(parts, scope, access);
    return (await renew(parts, scope, terms.spec, grant.generation, access)) === "renewed" ? "renewed" : "gone";
  } catch (error) {
    return error instanceof VaultError ? (OUTCOMES.get(error.code) ?? "postponed") : "postponed";
  }
}

const OUTCOMES = new Map<string, RenewalOutcome["outcome"]>([
  ["reauth_required", "reauth_required"],
  ["oauth_client_invalid", "oauth_client_invalid"],
  ["credential_integrity_error", "credential_integrity_error"],
  ["credential_missing", "gone"],
]);

/** What cannot succeed without somebody doing something is not tried again; a request for the credential still tries. */
async function settle(parts: VaultParts, row: Due, outcome: RenewalOutcome["outcome"]): Promise<void> {
  const waitMs = {
    postponed: Math.min(RETRY_FIRST_MS * 2 ** Math.min(row.failures, 10), RETRY_MS_MAX),
    oauth_client_invalid: RETRY_MS_MAX,
  };
  const again =
    outcome === "postponed" || outcome === "oauth_client_invalid"
      ? new Date(parts.now().getTime() + waitMs[outcome]).toISOString()
      : null;
  await inOrganization(parts, { organizationId: row.organization_id }, (tx) =>
    run(tx, SETTLE, [row.organization_id, row.credential_id, row.claimed, again]),
  );
}

interface Due {
  readonly organization_id: string;
  readonly credential_id: string;
  readonly integration: string;
  readonly owner_kind: "user" | "organization";
  readonly owner_id: string;
  readonly failures: number;
  /** The due time that the claim wrote, as text. */
  readonly claimed: string;
}

const scopeOf = (row: Due): CredentialScope => ({
  organizationId: row.organization_id,
  integration: row.integration,
  owner: { kind: row.owner_kind, id: row.owner_id },
  credentialId: row.credential_id,
});

/** Across organisations on purpose: whatever is due is due. */
export const CLAIM_DUE = `
WITH due AS (
  SELECT organization_id, credential_id FROM vault.renewal
  WHERE renew_at <= $1::timestamptz
  ORDER BY renew_at LIMIT $2::integer
  FOR UPDATE SKIP LOCKED
)
UPDATE vault.renewal AS r SET renew_at = $1::timestamptz + make_interval(secs => $3)
FROM due WHERE r.organization_id = due.organization_id AND r.credential_id = due.credential_id
RETURNING r.organization_id, r.credential_id, r.integration, r.owner_kind, r.owner_id, r.failures, r.renew_at AS claimed`;

/** Only what this claim left: a renewal that succeeded meanwhile has set its own time. */
const SETTLE = `
UPDATE vault.renewal SET renew_at = $4::timestamptz, failures = failures + 1
WHERE organization_id = $1 AND credential_id = $2 AND renew_at = $3::timestamptz`;
