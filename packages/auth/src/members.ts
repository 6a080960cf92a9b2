import { type Database, type Queryable, run, withOrganization } from "@tributary/db";
import { and, asc, eq } from "drizzle-orm";
import type { Permission } from "./identity.ts";
import type { Actor, MemberView, PeopleOptions } from "./people-options.ts";
import { PeopleError } from "./people-error.ts";
import { membership, user } from "./schema.ts";

const SHOWN_MAX = 1000;

/** By name; the first 1,000. */
export const listMembers = (database: Database, organizationId: string): Promise<MemberView[]> =>
  withOrganization(database, organizationId, (tx) => select(tx, organizationId), "reader");

function select(tx: Queryable, organizationId: string, userId?: string): Promise<MemberView[]> {
  const ours = eq(membership.organizationId, organizationId);
  return tx
    .select({
      userId: user.id,
      name: user.name,
      email: user.email,
      permissions: membership.permissions,
      since: membership.createdAt,
    })
    .from(membership)
    .innerJoin(user, eq(user.id, membership.userId))
    .where(userId === undefined ? ours : and(ours, eq(membership.userId, userId)))
    .orderBy(asc(user.name), asc(user.id))
    .limit(SHOWN_MAX);
}

/** @throws PeopleError not_found · permission_not_held · last_administrator. */
export async function setPermissions(
  options: PeopleOptions,
  actor: Actor,
  userId: string,
  permissions: readonly Permission[],
): Promise<MemberView> {
  const { organizationId } = actor;
  await withOrganization(options.database, organizationId, async (tx) => {
    const before = await held(tx, organizationId, userId);
    requireHeld(
      actor,
      [...new Set([...before, ...permissions])].filter((one) => before.includes(one) !== permissions.includes(one)),
    );
    await tx
      .update(membership)
      .set({ permissions: [...permissions] })
      .where(and(eq(membership.organizationId, organizationId), eq(membership.userId, userId)));
    await requireAdministrator(tx, organizationId);
    const detail = `${words(before)} -> ${words(permissions)}`;
    await options.audit(tx, { organizationId, action: "member.changed", actor: actor.id, userId, detail });
  });
  const [member] = await withOrganization(
    options.database,
    organizationId,
    (tx) => select(tx, organizationId, userId),
    "reader",
  );
  if (member === undefined) throw notFound();
  return member;
}

/** @throws PeopleError not_found · permission_not_held · last_administrator. */
export function removeMember(options: PeopleOptions, actor: Actor, userId: string): Promise<void> {
  const { organizationId } = actor;
  return withOrganization(options.database, organizationId, async (tx) => {
    const before = await held(tx, organizationId, userId);
    requireHeld(actor, before);
    // Sessions go with the membership.
    await tx
      .delete(membership)
      .where(and(eq(membership.organizationId, organizationId), eq(membership.userId, userId)));
    await requireAdministrator(tx, organizationId);
    await options.audit(tx, {
      organizationId,
      action: "member.removed",
      actor: actor.id,
      userId,
      detail: words(before),
    });
  });
}

/** @throws PeopleError permission_not_held: nobody passes on, or takes away, what they do not have. */
export function requireHeld(actor: Actor, permissions: readonly Permission[]): void {
  if (!permissions.every((one) => actor.permissions.includes(one)))
    throw new PeopleError("permission_not_held", "You can give and take only permissions that you have yourself.");
}

export const words = (permissions: readonly Permission[]): string =>
  permissions
    .map((one) => one.slice("integrations.".length))
    .toSorted()
    .join("+") || "none";

/** What a member has now. Changes of one organisation's members wait for each other from here on. */
async function held(tx: Queryable, organizationId: string, userId: string): Promise<readonly Permission[]> {
  await run(tx, LOCK, [`auth.members ${organizationId}`]);
  const [member] = await tx
    .select({ permissions: membership.permissions })
    .from(membership)
    .where(and(eq(membership.organizationId, organizationId), eq(membership.userId, userId)));
  if (member === undefined) throw notFound();
  return member.permissions;
}

const LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";

async function requireAdministrator(tx: Queryable, organizationId: string): Promise<void> {
  const rows = await run(tx, ADMINISTRATOR, [organizationId]);
  if (rows.length === 0)
    throw new PeopleError(
      "last_administrator",
      "Somebody has to manage the organisation. Let another member manage first.",
    );
}

const ADMINISTRATOR = `
SELECT 1 FROM auth.membership
WHERE organization_id = $1 AND 'integrations.manage' = ANY (permissions) LIMIT 1`;

const notFound = (): PeopleError => new PeopleError("not_found", "There is nothing here.");
