import type { Database, Queryable } from "./database.ts";
import { runAhead } from "./database.ts";

/**
 * Who asks, as PostgreSQL knows it. A process signs in once and takes a role for the length of a transaction; a role
 * sees what its policies show and nothing else, whatever the statement says.
 *
 * Within one organisation:
 * - `writer`: reads and writes what an organisation owns; of the vault it may only put something in.
 * - `reader`: reads the same, outside the vault.
 * - `vault`: the vault's own tables.
 */
export type OrganizationRole = "writer" | "reader" | "vault";

/**
 * Across organisations, each for its own few tables:
 * - `auth`: who signs in, before it is known to which organisation.
 * - `scheduler`: claims due connections.
 * - `ingress`: takes deliveries in by groups.
 * - `relay`: publishes the ledger.
 * - `keeper`: the vault's housekeeping: keys, renewals that are due, what expired.
 * - `upkeep`: everybody else's housekeeping: retention and repair.
 */
export type CrossRole = "auth" | "scheduler" | "ingress" | "relay" | "keeper" | "upkeep";

export const ORGANIZATION_ROLES = ["writer", "reader", "vault"] as const satisfies readonly OrganizationRole[];
export const CROSS_ROLES = [
  "auth",
  "scheduler",
  "ingress",
  "relay",
  "keeper",
  "upkeep",
] as const satisfies readonly CrossRole[];

/**
 * A transaction that belongs to one organisation: row-level security shows it that organisation's rows only, and
 * statements name the organisation besides. Nothing of it outlives the transaction.
 */
export const withOrganization = <T>(
  database: Database,
  organizationId: string,
  work: (tx: Queryable) => Promise<T>,
  role: OrganizationRole = "writer",
): Promise<T> => scoped(database, role, organizationId, work);

/** A transaction across organisations, for the few tables that a role's policies open to it. */
export const acrossOrganizations = <T>(
  database: Database,
  role: CrossRole,
  work: (tx: Queryable) => Promise<T>,
): Promise<T> => scoped(database, role, "", work);

/** The database's name of a role. */
export const roleName = (role: OrganizationRole | CrossRole): string => `tributary_${role}`;

function scoped<T>(
  database: Database,
  role: OrganizationRole | CrossRole,
  organizationId: string,
  work: (tx: Queryable) => Promise<T>,
): Promise<T> {
  return database.transaction(async (tx) => {
    await runAhead(tx, SET_SCOPE, [roleName(role), organizationId]);
    return work(tx);
  });
}

const SET_SCOPE = "SELECT set_config('app.organization', $2, true), set_config('role', $1, true)";
