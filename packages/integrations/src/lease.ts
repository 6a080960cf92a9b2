import { type Queryable, run as runSql, runLast } from "@tributary/db";

/** The right to run one connection, fenced: a write under a token that is no longer current changes nothing. */
export interface Lease {
  readonly connectionId: string;
  readonly organizationId: string;
  readonly integration: string;
  readonly credentialId: string;
  readonly token: number;
  /** Extended by every commit and every heartbeat. */
  readonly leaseSeconds: number;
}

/** A worker that died is replaced after so long. */
export const LEASE_SECONDS = 60;

/**
 * Claims due connections, at most `$1`, oldest first and fair between organisations: each gets a turn before any gets a
 * second. Reads the index of due rows from its old end, at most eight times the claim, so the cost follows what is
 * claimed and not what exists. A claimed row's `due_at` is the end of its lease: a dead worker's rows become due by
 * themselves. Exported for the test of its plan.
 *
 * Candidates are locked one by one in the order of their turns, each by its key, until there are enough: who claims
 * beside this finds all others free. A join of the candidates with the table read all that is due once more, and one of
 * the table with what was picked may read it from end to end; an array of keys is looked up.
 */
export const CLAIM = `
WITH candidate AS (
  SELECT id, organization_id, due_at FROM integrations.connection
  WHERE due_at <= now() AND (lease_until IS NULL OR lease_until <= now())
    AND state NOT IN ('paused', 'expired', 'disconnected')
  ORDER BY due_at LIMIT $1::int * 8
), turn AS (
  SELECT id, due_at, row_number() OVER (PARTITION BY organization_id ORDER BY due_at) AS place FROM candidate
), picked AS (
  SELECT held.id FROM (SELECT id, place, due_at FROM turn ORDER BY place, due_at OFFSET 0) AS t CROSS JOIN LATERAL (
    SELECT c.id FROM integrations.connection c
    WHERE c.id = t.id AND c.due_at <= now() AND (c.lease_until IS NULL OR c.lease_until <= now())
      AND c.state NOT IN ('paused', 'expired', 'disconnected')
    FOR UPDATE SKIP LOCKED
  ) AS held
  ORDER BY t.place, t.due_at LIMIT $1::int
)
UPDATE integrations.connection c
SET lease_token = c.lease_token + 1, lease_until = now() + make_interval(secs => $2), due_at = now() + make_interval(secs => $2), wake = false
FROM integrations.credential k
WHERE c.id = ANY (ARRAY(SELECT id FROM picked)) AND k.connection_id = c.id
RETURNING c.id AS "connectionId", c.organization_id AS "organizationId", c.integration, k.id AS "credentialId", c.lease_token AS token`;

/** The last statement of its transaction. */
export async function claimDue(tx: Queryable, max: number): Promise<Lease[]> {
  type Row = Omit<Lease, "leaseSeconds" | "token"> & { token: bigint };
  const rows = await runLast<Row>(tx, CLAIM, [max, LEASE_SECONDS]);
  return rows.map((row) => ({ ...row, token: Number(row.token), leaseSeconds: LEASE_SECONDS }));
}

const EXTEND = `
UPDATE integrations.connection SET lease_until = now() + make_interval(secs => $4)
WHERE id = $1 AND organization_id = $2 AND lease_token = $3 AND lease_until > now() RETURNING id`;

/** @returns false when the lease was lost. */
export async function extendLease(on: Queryable, lease: Lease): Promise<boolean> {
  const params = [lease.connectionId, lease.organizationId, lease.token, lease.leaseSeconds];
  return (await runSql(on, EXTEND, params)).length > 0;
}

/** Makes a connection due now; when it is being run, again as soon as that has ended. */
const WAKE = `
UPDATE integrations.connection SET due_at = now(), wake = true
WHERE id = ANY ($1::uuid[]) AND organization_id = $2 AND state NOT IN ('paused', 'expired', 'disconnected') RETURNING id`;

/** @returns how many were woken: paused, expired and ended ones are not. */
export async function wake(on: Queryable, organizationId: string, connectionIds: readonly string[]): Promise<number> {
  return (await runSql(on, WAKE, [connectionIds, organizationId])).length;
}

/**
 * Gives back every lease. Only for a process that knows itself alone on the database, as an embedded hub does by its
 * folder's lock: then whoever held one is dead.
 */
const RELEASE_ALL = `
UPDATE integrations.connection SET lease_token = lease_token + 1, lease_until = NULL, due_at = now()
WHERE lease_until IS NOT NULL`;

export async function releaseAllLeases(on: Queryable): Promise<void> {
  await runSql(on, RELEASE_ALL);
}
