import { acrossOrganizations, type Database, type Queryable } from "@tributary/db";
import { and, eq, gt, lt, or } from "drizzle-orm";
import type { UserIdentity } from "./identity.ts";
import { adminLink, invitation, membership, organization, session, user } from "./schema.ts";
import { newToken, tokenHash } from "./token-hash.ts";

const DAY_MS = 86_400_000;
export const SESSION_MAX_MS = 30 * DAY_MS;
const IDLE_MAX_MS = 7 * DAY_MS;
const LINK_KEPT_MS = 30 * DAY_MS;
/** `last_seen_at` is this coarse, so that reading a page is not a write. */
const SEEN_EVERY_MS = DAY_MS / 24;

/** Opens a session of one membership. @returns the cookie's value, 256 random bits, which is stored nowhere. */
export async function insertSession(
  tx: Queryable,
  { organizationId, userId, now, expiresAt }: { organizationId: string; userId: string; now: Date; expiresAt?: Date },
): Promise<string> {
  const token = newToken();
  await tx.insert(session).values({
    hash: tokenHash(token),
    organizationId,
    userId,
    createdAt: now,
    lastSeenAt: now,
    expiresAt: expiresAt ?? new Date(now.getTime() + SESSION_MAX_MS),
  });
  return token;
}

/**
 * Ends a session and opens one of another membership of the same person, which lasts as long as the first would have.
 * @returns undefined when the session has ended, or the person does not belong there.
 */
export function switchSession(
  database: Database,
  { token, organizationId, now }: { token: string; organizationId: string; now: Date },
): Promise<{ readonly token: string; readonly expiresAt: Date } | undefined> {
  return acrossOrganizations(database, "auth", async (tx) => {
    const mine = and(eq(session.hash, tokenHash(token)), alive(now));
    const [from] = await tx.select().from(session).where(mine).for("update");
    if (from === undefined) return undefined;
    const { userId, expiresAt } = from;
    const belongs = and(eq(membership.organizationId, organizationId), eq(membership.userId, userId));
    const [there] = await tx.select({ userId: membership.userId }).from(membership).where(belongs);
    if (there === undefined) return undefined;
    await tx.delete(session).where(eq(session.hash, from.hash));
    return { token: await insertSession(tx, { organizationId, userId, now, expiresAt }), expiresAt };
  });
}

const alive = (now: Date) => and(gt(session.expiresAt, now), gt(session.lastSeenAt, before(now, IDLE_MAX_MS)));

/** Whose cookie this is. Names no organisation: the session is what tells it. */
export async function readSession(database: Database, token: string, now: Date): Promise<UserIdentity | undefined> {
  const key = tokenHash(token);
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
        expiresAt: session.expiresAt,
      })
      .from(session)
      .innerJoin(
        membership,
        and(eq(membership.organizationId, session.organizationId), eq(membership.userId, session.userId)),
      )
      .innerJoin(user, eq(user.id, session.userId))
      .innerJoin(organization, eq(organization.id, session.organizationId))
      .where(and(eq(session.hash, key), alive(now)));
  const [row] = await acrossOrganizations(database, "auth", read);
  if (row === undefined) return undefined;
  const { lastSeenAt, expiresAt, ...found } = row;
  if (lastSeenAt < before(now, SEEN_EVERY_MS)) {
    await acrossOrganizations(database, "auth", (tx) =>
      tx.update(session).set({ lastSeenAt: now }).where(eq(session.hash, key)),
    );
  }
  return { kind: "user", ...found, sessionHash: key, expiresAtMs: expiresAt.getTime() };
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

/** Deletes what has expired, in every organisation: sessions at once, links after 30 days. @returns how many sessions. */
export async function sweepSessions(database: Database, now: Date): Promise<number> {
  const kept = before(now, LINK_KEPT_MS);
  await acrossOrganizations(database, "auth", async (tx) => {
    await tx.delete(invitation).where(lt(invitation.expiresAt, kept));
    await tx.delete(adminLink).where(lt(adminLink.expiresAt, kept));
  });
  const ended = or(lt(session.expiresAt, now), lt(session.lastSeenAt, before(now, IDLE_MAX_MS)));
  const rows = await acrossOrganizations(database, "auth", (tx) =>
    tx.delete(session).where(ended).returning({ hash: session.hash }),
  );
  return rows.length;
}

const before = (now: Date, ms: number): Date => new Date(now.getTime() - ms);
