import { randomUUID } from "node:crypto";
import { acrossOrganizations, type Database, type Queryable } from "@tributary/db";
import { and, asc, eq } from "drizzle-orm";
import { takeAdminLink, useAdminLink } from "./admin-link.ts";
import { type Permission, PERMISSIONS } from "./identity.ts";
import { join, takeInvitation } from "./invitations.ts";
import { words } from "./members.ts";
import type { AppendAudit } from "./people-options.ts";
import { PeopleError } from "./people-error.ts";
import { identity, membership, organization, session, user } from "./schema.ts";
import type { Person } from "./session.ts";
import { insertSession } from "./session-rows.ts";
import { tokenHash } from "./token-hash.ts";

const MEMBER: readonly Permission[] = ["integrations.view"];

export interface OpenSession {
  /** Where people land who belong there, and where everybody does who is admitted without a link. */
  readonly organization: { readonly id: string; readonly name: string };
  readonly person: Person;
  /** Whether somebody who was never here may join without a link; the first of them administers. */
  readonly admits: boolean;
  /** Token of an invitation or of an administrator's link that the browser came with. */
  readonly ticket: string | undefined;
  /** Cookie value that the browser came with; whatever it opened ends here, so that a planted one opens nothing. */
  readonly previousToken: string | undefined;
  readonly audit: AppendAudit;
  readonly now: Date;
}

/** Why somebody whom the provider vouches for does not get in. */
export type TurnedAway = "not-invited" | "link-ended" | "other-address";

/**
 * Signs a person in: finds or creates the user, spends the link they came with, and opens a session of one membership.
 * Nothing is stored of somebody who is turned away.
 * @returns the cookie's value, 256 random bits, which is stored nowhere.
 */
export async function openSession(
  database: Database,
  options: OpenSession,
): Promise<{ readonly token: string } | { readonly turnedAway: TurnedAway }> {
  try {
    return { token: await acrossOrganizations(database, "auth", (tx) => open(tx, options)) };
  } catch (error) {
    if (error instanceof Away) return { turnedAway: error.why };
    if (error instanceof PeopleError && error.code === "invitation_other_address")
      return { turnedAway: "other-address" };
    throw error;
  }
}

/** Thrown, so that the transaction leaves nothing. */
class Away extends Error {
  readonly why: TurnedAway;
  constructor(why: TurnedAway) {
    super(why);
    this.why = why;
  }
}

async function open(tx: Queryable, options: OpenSession): Promise<string> {
  const { organization: tenant, person, previousToken, now } = options;
  await tx
    .insert(organization)
    .values({ ...tenant, createdAt: now })
    .onConflictDoNothing();
  // One newcomer at a time: two must not both be the first, nor become two users.
  await tx.select().from(organization).where(eq(organization.id, tenant.id)).for("update");
  const { userId, joined } = await arrive(tx, options);
  const { name, email, emailVerified } = person;
  await tx.update(user).set({ name, email, emailVerified, updatedAt: now }).where(eq(user.id, userId));
  const previous = previousToken === undefined ? undefined : await endSession(tx, previousToken, userId);
  const organizationId = await landing(tx, userId, [joined, previous, tenant.id]);
  return insertSession(tx, { organizationId, userId, now });
}

interface Arrival {
  readonly userId: string;
  /** Organisation that this sign-in made them a member of. */
  readonly joined?: string;
}

/** @throws Away. */
async function arrive(tx: Queryable, options: OpenSession): Promise<Arrival> {
  const { person, ticket, now, audit } = options;
  const [known] = await tx
    .select({ userId: identity.userId })
    .from(identity)
    .where(and(eq(identity.issuer, person.issuer), eq(identity.subject, person.subject)));
  const thisUser = async (): Promise<string> => known?.userId ?? (await newUser(tx, options));
  if (ticket === undefined) {
    if (known !== undefined) return { userId: known.userId };
    if (!options.admits) throw new Away("not-invited");
    return admit(tx, options, await thisUser());
  }
  const organizationId = await takeAdminLink(tx, ticket, now);
  if (organizationId !== undefined) {
    const userId = await thisUser();
    await useAdminLink(tx, { token: ticket, organizationId, userId, now, audit });
    return { userId, joined: organizationId };
  }
  const taken = await takeInvitation(tx, { token: ticket, address: person, now });
  if (taken === undefined) throw new Away("link-ended");
  const userId = await thisUser();
  await join(tx, { ...taken, userId, now, audit });
  return { userId, joined: taken.organizationId };
}

async function newUser(tx: Queryable, { person, now }: OpenSession): Promise<string> {
  const id = randomUUID();
  const { name, email, emailVerified, issuer, subject } = person;
  await tx.insert(user).values({ id, name, email, emailVerified, createdAt: now, updatedAt: now });
  await tx.insert(identity).values({ issuer, subject, userId: id, createdAt: now });
  return id;
}

/** The first to arrive administers; who comes later is a member. */
async function admit(
  tx: Queryable,
  { organization: tenant, now, audit }: OpenSession,
  userId: string,
): Promise<Arrival> {
  const [anybody] = await tx.select().from(membership).where(eq(membership.organizationId, tenant.id)).limit(1);
  const permissions = [...(anybody === undefined ? PERMISSIONS : MEMBER)];
  await tx.insert(membership).values({ organizationId: tenant.id, userId, permissions, createdAt: now });
  const detail = `admitted ${words(permissions)}`;
  await audit(tx, { organizationId: tenant.id, action: "member.joined", actor: userId, userId, detail });
  return { userId, joined: tenant.id };
}

/** @returns where the browser was, when it was this person who was there. */
async function endSession(tx: Queryable, token: string, userId: string): Promise<string | undefined> {
  const [ended] = await tx
    .delete(session)
    .where(eq(session.hash, tokenHash(token)))
    .returning();
  return ended?.userId === userId ? ended.organizationId : undefined;
}

/** The first of the wanted ones that the person belongs to, else the one they have belonged to longest. @throws Away. */
async function landing(tx: Queryable, userId: string, wanted: readonly (string | undefined)[]): Promise<string> {
  const rows = await tx
    .select({ id: membership.organizationId })
    .from(membership)
    .where(eq(membership.userId, userId))
    .orderBy(asc(membership.createdAt), asc(membership.organizationId));
  const ids = rows.map(({ id }) => id);
  const found = wanted.find((one) => one !== undefined && ids.includes(one)) ?? ids[0];
  if (found === undefined) throw new Away("not-invited");
  return found;
}
