import { acrossOrganizations, type Database, run, withOrganization } from "@tributary/db";

/** A connection that stands still, because the broker refuses its next event for good. */
export interface ParkedConnection {
  readonly organizationId: string;
  readonly connectionId: string;
  /** Of the event that is refused. */
  readonly sequence: bigint;
  /** A code: "message_too_large", "subject_refused", "no_stream" (no stream binds its subject), "refused_<code of JetStream>". */
  readonly reason: string;
  /** ISO 8601. */
  readonly parkedAt: string;
  /** Events that wait, with the refused one. */
  readonly waiting: number;
}

const PARKED_MAX = 1_000;

const PARKED = `
SELECT organization_id AS "organizationId", connection_id AS "connectionId", parked_sequence AS sequence,
  parked_reason AS reason, to_char(parked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "parkedAt",
  (head - published)::int AS waiting
FROM pipeline.position WHERE parked_sequence IS NOT NULL AND ($1::text IS NULL OR organization_id = $1)
ORDER BY organization_id, connection_id LIMIT ${PARKED_MAX}`;

/**
 * Connections that stand still, at most 1,000.
 * @param organizationId Only this one's. Absent: everybody's, for whoever operates the installation.
 */
export const parkedConnections = (database: Database, organizationId?: string): Promise<readonly ParkedConnection[]> =>
  organizationId === undefined
    ? acrossOrganizations(database, "relay", (tx) => run<ParkedConnection>(tx, PARKED, [null]))
    : withOrganization(database, organizationId, (tx) => run<ParkedConnection>(tx, PARKED, [organizationId]), "reader");

const UNPARK = `
UPDATE pipeline.position SET parked_sequence = NULL, parked_reason = NULL, parked_at = NULL,
  published = CASE WHEN $3 THEN greatest(published, parked_sequence) ELSE published END
WHERE connection_id = $1 AND organization_id = $2 AND parked_sequence IS NOT NULL RETURNING connection_id`;

/**
 * Lets a parked connection go on; the relay finds it within a second. Its refused event is published first, and parked
 * again if the broker still refuses it.
 * @param skip Leaves that event out of the stream for good. It stays in the ledger.
 * @returns whether it was parked.
 */
export async function unparkConnection(
  database: Database,
  {
    organizationId,
    connectionId,
    skip = false,
  }: {
    readonly organizationId: string;
    /** A UUID. */
    readonly connectionId: string;
    readonly skip?: boolean;
  },
): Promise<boolean> {
  const params = [connectionId, organizationId, skip];
  return (await withOrganization(database, organizationId, (tx) => run(tx, UNPARK, params))).length > 0;
}
