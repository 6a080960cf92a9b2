import { acrossOrganizations, type Queryable, withOrganization } from "@tributary/db";
import { and, asc, count, eq, gt, isNull } from "drizzle-orm";
import type { Permission, UserIdentity } from "./identity.ts";
import { requireHeld, words } from "./members.ts";
import type {
  Actor,
  AppendAudit,
  InvitationView,
  OrganizationView,
  PeopleOptions,
  ReceivedInvitation,
} from "./people-options.ts";
import { PeopleError } from "./people-error.ts";
import { invitation, membership, organization, user } from "./schema.ts";
import { newToken, tokenHash } from "./token-hash.ts";

const DAY_MS = 86_400_000;
const INVITATION_MS = 7 * DAY_MS;
const OPEN_MAX = 500;

const VIEW = {
  id: invitation.id,
  email: invitation.email,
  permissions: invitation.permissions,
  createdAt: invitation.createdAt,
  expiresAt: invitation.expiresAt,
};

/** Those that can still be accepted, oldest first. */
export function listInvitations({ database, now }: PeopleOptions, organizationId: string): Promise<InvitationView[]> {
  return withOrganization(
    database,
    organizationId,
    (tx) =>
      tx
        .select(VIEW)
        .from(invitation)
        .where(open(organizationId, now()))
        .orderBy(asc(invitation.createdAt), asc(invitation.id))
        .limit(OPEN_MAX),
    "reader",
  );
}

const open = (organizationId: string, now: Date) =>
  and(eq(invitation.organizationId, organizationId), isNull(invitation.acceptedAt), gt(invitation.expiresAt, now));

/** @throws PeopleError permission_not_held · limit_reached. */
export async function invite(
  options: PeopleOptions,
  actor: Actor,
  invited: { readonly email: string; readonly permissions: readonly Permission[] },
): Promise<{ readonly invitation: InvitationView; readonly link: string; readonly mailed: boolean }> {
  const { organizationId } = actor;
  requireHeld(actor, invited.permissions);
  const token = newToken();
  const createdAt = options.now();
  const made: InvitationView = {
    id: options.uuid(),
    email: plainAddress(invited.email),
    permissions: [...new Set(invited.permissions)],
    createdAt,
    expiresAt: new Date(createdAt.getTime() + INVITATION_MS),
  };
  await withOrganization(options.database, organizationId, async (tx) => {
    await tx
      .delete(invitation)
      .where(
        and(
          eq(invitation.organizationId, organizationId),
          eq(invitation.email, made.email),
          isNull(invitation.acceptedAt),
        ),
      );
    const [there] = await tx.select({ n: count() }).from(invitation).where(open(organizationId, createdAt));
    if ((there?.n ?? 0) >= OPEN_MAX)
      throw new PeopleError("limit_reached", `${OPEN_MAX} invitations are open already; revoke some first.`);
    const row = {
      ...made,
      permissions: [...made.permissions],
      organizationId,
      tokenHash: tokenHash(token),
      invitedBy: actor.id,
    };
    await tx.insert(invitation).values(row);
    const detail = `${made.id} ${words(made.permissions)}`;
    await options.audit(tx, { organizationId, action: "invitation.made", actor: actor.id, detail });
  });
  const link = `${options.origin}/invitation?token=${token}`;
  const mailed = await send(options, actor, made, link);
  return { invitation: made, link, mailed };
}

/** After the commit, so that no mail leads nowhere; one that could not be sent is shown and no error. */
async function send(options: PeopleOptions, actor: Actor, made: InvitationView, link: string): Promise<boolean> {
  if (options.mail === undefined) return false;
  const [tenant] = await acrossOrganizations(options.database, "auth", (tx) =>
    tx.select({ name: organization.name }).from(organization).where(eq(organization.id, actor.organizationId)),
  );
  const { email: to, expiresAt } = made;
  return options
    .mail({ to, organizationName: tenant?.name ?? actor.organizationId, invitedBy: actor.name, link, expiresAt })
    .catch(() => false);
}

/** @throws PeopleError not_found. */
export function revokeInvitation(options: PeopleOptions, actor: Actor, id: string): Promise<void> {
  const { organizationId } = actor;
  return withOrganization(options.database, organizationId, async (tx) => {
    const [gone] = await tx
      .delete(invitation)
      .where(and(eq(invitation.organizationId, organizationId), eq(invitation.id, id), isNull(invitation.acceptedAt)))
      .returning({ id: invitation.id });
    if (gone === undefined) throw new PeopleError("not_found", "There is nothing here.");
    await options.audit(tx, { organizationId, action: "invitation.revoked", actor: actor.id, detail: id });
  });
}

/** @throws PeopleError invitation_ended, whatever is wrong with the token. */
export async function readInvitation({ database, now }: PeopleOptions, token: string): Promise<ReceivedInvitation> {
  const [found] = await acrossOrganizations(database, "auth", (tx) =>
    tx
      .select({
        id: organization.id,
        name: organization.name,
        permissions: invitation.permissions,
        expiresAt: invitation.expiresAt,
      })
      .from(invitation)
      .innerJoin(organization, eq(organization.id, invitation.organizationId))
      .where(
        and(eq(invitation.tokenHash, tokenHash(token)), isNull(invitation.acceptedAt), gt(invitation.expiresAt, now())),
      ),
  );
  if (found === undefined) throw ended();
  return found;
}

/** @throws PeopleError invitation_ended · invitation_other_address. */
export function acceptSignedIn(options: PeopleOptions, person: UserIdentity, token: string): Promise<OrganizationView> {
  return acrossOrganizations(options.database, "auth", async (tx) => {
    const [known] = await tx
      .select({ email: user.email, emailVerified: user.emailVerified })
      .from(user)
      .where(eq(user.id, person.userId));
    const joined = await takeInvitation(tx, { token, address: known, now: options.now() });
    if (joined === undefined) throw ended();
    return join(tx, { ...joined, userId: person.userId, now: options.now(), audit: options.audit });
  });
}

export interface Taken {
  readonly id: string;
  readonly organizationId: string;
  readonly permissions: readonly Permission[];
}

/**
 * Holds an invitation for one person, once: whoever comes second with the same link finds none.
 * @returns undefined when there is none. @throws PeopleError invitation_other_address.
 */
export async function takeInvitation(
  tx: Queryable,
  taker: {
    readonly token: string;
    readonly address: { readonly email: string; readonly emailVerified: boolean } | undefined;
    readonly now: Date;
  },
): Promise<Taken | undefined> {
  const [found] = await tx
    .select()
    .from(invitation)
    .where(eq(invitation.tokenHash, tokenHash(taker.token)))
    .for("update");
  if (found === undefined || found.acceptedAt !== null || found.expiresAt <= taker.now) return undefined;
  // An address that nobody vouches for could be anybody's.
  if (taker.address?.emailVerified !== true || plainAddress(taker.address.email) !== found.email)
    throw new PeopleError(
      "invitation_other_address",
      "The invitation is for another address than the one you have signed in with.",
    );
  return { id: found.id, organizationId: found.organizationId, permissions: found.permissions };
}

/** Spends a held invitation. Somebody who belongs already keeps what they may do. */
export async function join(
  tx: Queryable,
  { id, organizationId, permissions, userId, now, audit }: Taken & { userId: string; now: Date; audit: AppendAudit },
): Promise<OrganizationView> {
  await tx.update(invitation).set({ acceptedAt: now, acceptedBy: userId }).where(eq(invitation.id, id));
  const row = { organizationId, userId, permissions: [...permissions], createdAt: now };
  await tx.insert(membership).values(row).onConflictDoNothing();
  await audit(tx, {
    organizationId,
    action: "member.joined",
    actor: userId,
    userId,
    detail: `${id} ${words(permissions)}`,
  });
  const [tenant] = await tx
    .select({ name: organization.name })
    .from(organization)
    .where(eq(organization.id, organizationId));
  return { id: organizationId, name: tenant?.name ?? organizationId, permissions };
}

/** Compared without regard to case; nothing else is folded, because providers differ in what else they ignore. */
const plainAddress = (address: string): string => address.trim().toLowerCase();

const ended = (): PeopleError =>
  new PeopleError("invitation_ended", "This invitation has ended: it was used, revoked, or is older than 7 days.");
