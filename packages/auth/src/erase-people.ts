import { acrossOrganizations, type Database, run } from "@tributary/db";

/** A person within one organisation; without one, everybody in it. */
export interface ErasedPeople {
  readonly organizationId: string;
  readonly userId?: string | undefined;
}

/**
 * Forgets who somebody is: their membership with its sessions, invitations to their address and those that they
 * accepted, and, when they belong to no other organisation, the user with its accounts at identity providers. Of a whole
 * organisation everything goes. Erasing again does nothing.
 * @param until only what was made until then, so that whoever came back since stays. Default: everything.
 * @returns how many people were forgotten altogether.
 */
export function erasePeople(database: Database, target: ErasedPeople, until?: Date): Promise<number> {
  const { organizationId, userId = null } = target;
  const before = until?.toISOString() ?? "infinity";
  return acrossOrganizations(database, "auth", async (tx) => {
    const members = await run<{ id: string }>(tx, LEAVE, [organizationId, userId, before]);
    await run(tx, INVITATIONS, [organizationId, userId, before, members.map(({ id }) => id)]);
    if (userId === null) await run(tx, ORGANIZATION, [organizationId, before]);
    const ids = [...new Set([...members.map(({ id }) => id), ...(userId === null ? [] : [userId])])];
    return (await run(tx, FORGET, [ids.filter((id) => UUID.test(id)), before])).length;
  });
}

/** Ids of the organisations that somebody belongs to. */
export async function membershipsOf(database: Database, userId: string): Promise<readonly string[]> {
  const text = "SELECT organization_id AS id FROM auth.membership WHERE user_id::text = $1 ORDER BY 1";
  const rows = await acrossOrganizations(database, "auth", (tx) => run<{ id: string }>(tx, text, [userId]));
  return rows.map(({ id }) => id);
}

/** A token's subject need not be one of our users. */
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Sessions go with the membership. */
const LEAVE = `
DELETE FROM auth.membership
WHERE organization_id = $1 AND ($2::text IS NULL OR user_id::text = $2) AND created_at <= $3::timestamptz
RETURNING user_id::text AS id`;

const INVITATIONS = `
DELETE FROM auth.invitation i
WHERE i.organization_id = $1 AND i.created_at <= $3::timestamptz AND (
  $2::text IS NULL OR i.accepted_by::text = ANY ($4::text[])
  OR i.email IN (SELECT lower(u.email) FROM auth."user" u WHERE u.id::text = $2))`;

const ORGANIZATION = `
DELETE FROM auth.organization o WHERE o.id = $1 AND o.created_at <= $2::timestamptz
  AND NOT EXISTS (SELECT FROM auth.membership m WHERE m.organization_id = o.id)`;

/** Accounts at identity providers go with the user. */
const FORGET = `
DELETE FROM auth."user" u WHERE u.id = ANY ($1::uuid[]) AND u.created_at <= $2::timestamptz
  AND NOT EXISTS (SELECT FROM auth.membership m WHERE m.user_id = u.id)
RETURNING u.id`;
