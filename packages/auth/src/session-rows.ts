import { hash, randomBytes, randomUUID } from "node:crypto";
import { acrossOrganizations, type Database, type Queryable } from "@tributary/db";
import { and, eq, gt, lt, or } from "drizzle-orm";
import type { Permission, UserIdentity } from "./identity.ts";
import { identity, membership, organization, session, user } from "./schema.ts";
import type { Person } from "./session.ts";

const DAY_MS = 86_400_000;
export const SESSION_MAX_MS = 30 * DAY_MS;
const IDLE_MAX_MS = 7 * DAY_MS;
/** `last_seen_at` is this coarse, so that reading a page is not a write. */
const SEEN_EVERY_MS = DAY_MS / 24;

const ADMIN: readonly Permission[] = ["integrations.view", "integrations.manage", "integrations.credentials"];
const MEMBER: readonly Permission[] = ["integrations.view"];

export interface OpenSession {
  readonly organization: { readonly id: string; readonly name: string };
  readonly person: Person;
  /** Asked, outside the transaction's locks, whether somebody who was never here may join. */
  readonly admits: boolean;
  /** Cookie value that the browser came with; whatever it opened ends here, so that a planted one opens nothing. */
  readonly previousToken: string | undefined;
  readonly now: Date;
}

/**
 * Signs a person in: finds or creates the user, and opens a session.
 * @returns the cookie's value, 256 random bits, which is stored nowhere; undefined for somebody who may not join.
 */
export function openSession(database: Database, options: OpenSession): Promise<string | undefined> {
  const { person, now, previousToken } = options;
  return acrossOrganizations(database, "auth", async (tx) => {
    const userId = await member(tx, options);
    if (userId === undefined) return undefined;
    await tx.update(user).set({ name: person.name, email: person.email, updatedAt: now }).where(eq(user.id, userId));
    if (previousToken !== undefined) await tx.delete(session).where(eq(session.hash, sessionHash(previousToken)));
    const token = randomBytes(32).toString("base64url");
    await tx.insert(session).values({
      hash: sessionHash(token),
      organizationId: options.organization.id,
      userId,
      createdAt: now,
      lastSeenAt: now,
      expiresAt: new Date(now.getTime() + SESSION_MAX_MS),
    });
    return token;
  });
}

/** The first to arrive in an organisation administers it; who comes later is a member. */
async function member(tx: Queryable, options: OpenSession): Promise<string | undefined> {
  const { organization: tenant, person, now } = options;
  await tx
    .insert(organization)
    .values({ ...tenant, createdAt: now })
    .onConflictDoNothing();
  // One newcomer at a time: two must not both be the first, nor become two users.
  await tx.select().from(organization).where(eq(organization.id, tenant.id)).for("update");
  const [known] = await tx
    .select({ userId: identity.userId, member: membership.userId })
    .from(identity)
    .leftJoin(membership, and(eq(membership.userId, identity.userId), eq(membership.organizationId, tenant.id)))
    .where(and(eq(identity.issuer, person.issuer), eq(identity.subject, person.subject)));
  if (known?.member != null) return known.userId;
  if (!options.admits) return undefined;
  const userId = known?.userId ?? randomUUID();
  if (known === undefined) {
    const { name, email, issuer, subject } = person;
    await tx.insert(user).values({ id: userId, name, email, createdAt: now, updatedAt: now });
    await tx.insert(identity).values({ issuer, subject, userId, createdAt: now });
  }
  const [anybody] = await tx.select().from(membership).where(eq(membership.organizationId, tenant.id)).limit(1);
  const permissions = [...(anybody === undefined ? ADMIN : MEMBER)];
  await tx.insert(membership).values({ organizationId: tenant.id, userId, permissions, createdAt: now });
  return userId;
}

/** Whose cookie this is. Names no organisation: the session is what tells it. */
export async function readSession(database: Database, token: string, now: Date): Promise<UserIdentity | undefined> {
  const key = sessionHash(token);
  const read = (tx: Queryable) =>
    tx
      .select({
        userId: user.id,
        name: user.name,
        email: user.email,
        organizationId: organization.id,
        organizationName: organization.name,
        permissions: membership.permissions,
        lastSeenAt: session.lastSeenAt,
      })
      .from(session)
      .innerJoin(
        membership,
        and(eq(membership.organizationId, session.organizationId), eq(membership.userId, session.userId)),
      )
      .innerJoin(user, eq(user.id, session.userId))
      .innerJoin(organization, eq(organization.id, session.organizationId))
      .where(and(eq(session.hash, key), gt(session.expiresAt, now), gt(session.lastSeenAt, before(now, IDLE_MAX_MS))));
  const [row] = await acrossOrganizations(database, "auth", read);
  if (row === undefined) return undefined;
  const { lastSeenAt, ...found } = row;
  if (lastSeenAt < before(now, SEEN_EVERY_MS)) {
    await acrossOrganizations(database, "auth", (tx) =>
      tx.update(session).set({ lastSeenAt: now }).where(eq(session.hash, key)),
    );
  }
  return { kind: "user", ...found, sessionHash: key };
}

export async function closeSession(database: Database, key: string): Promise<void> {
  await acrossOrganizations(database, "auth", (tx) => tx.delete(session).where(eq(session.hash, key)));
}

/** Signs somebody out of an organisation on every device. */
export async function closeSessionsOf(database: Database, organizationId: string, userId: string): Promise<void> {
  await acrossOrganizations(database, "auth", (tx) =>
    tx.delete(session).where(and(eq(session.organizationId, organizationId), eq(session.userId, userId))),
  );
}

/** Deletes what has expired, in every organisation. @returns how many. */
export async function sweepSessions(database: Database, now: Date): Promise<number> {
  const ended = or(lt(session.expiresAt, now), lt(session.lastSeenAt, before(now, IDLE_MAX_MS)));
  const rows = await acrossOrganizations(database, "auth", (tx) =>
    tx.delete(session).where(ended).returning({ hash: session.hash }),
  );
  return rows.length;
}

export const sessionHash = (token: string): string => hash("sha256", token, "hex");
const before = (now: Date, ms: number): Date => new Date(now.getTime() - ms);
