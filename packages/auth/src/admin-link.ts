import { acrossOrganizations, type Database, type Queryable, run } from "@tributary/db";
import { and, eq, isNull } from "drizzle-orm";
import type { AppendAudit } from "./people-options.ts";
import { adminLink, membership, organization } from "./schema.ts";
import { newToken, tokenHash } from "./token-hash.ts";
import { PERMISSIONS } from "./identity.ts";

const LINK_MS = 86_400_000;

export interface AdminLinkOptions {
  readonly database: Database;
  readonly origin: string;
  readonly organization: { readonly id: string; readonly name: string };
  readonly audit: AppendAudit;
  readonly now: () => Date;
}

/**
 * Makes a link whose first use signs somebody in as an administrator of the organisation, within 24 hours. Earlier ones
 * end. To be shown to the operator once: it is stored as a hash.
 */
export const makeAdminLink = (options: AdminLinkOptions): Promise<string> =>
  acrossOrganizations(options.database, "auth", (tx) => make(tx, options));

/**
 * The same, when nobody administers the organisation and no link was ever made: at the first start. Hubs that start
 * together make one.
 */
export const makeFirstAdminLink = (options: AdminLinkOptions): Promise<string | undefined> =>
  acrossOrganizations(options.database, "auth", async (tx) => {
    await ensureOrganization(tx, options);
    const [there] = await run(tx, THERE, [options.organization.id]);
    return there === undefined ? make(tx, options) : undefined;
  });

const THERE = `
SELECT 1 FROM auth.admin_link WHERE organization_id = $1
UNION ALL
SELECT 1 FROM auth.membership WHERE organization_id = $1 AND 'integrations.manage' = ANY (permissions)
LIMIT 1`;

async function make(tx: Queryable, options: AdminLinkOptions): Promise<string> {
  const { origin, audit, now } = options;
  const organizationId = options.organization.id;
  await ensureOrganization(tx, options);
  await tx.delete(adminLink).where(and(eq(adminLink.organizationId, organizationId), isNull(adminLink.usedAt)));
  const token = newToken();
  const createdAt = now();
  const expiresAt = new Date(createdAt.getTime() + LINK_MS);
  await tx.insert(adminLink).values({ tokenHash: tokenHash(token), organizationId, createdAt, expiresAt });
  await audit(tx, { organizationId, action: "administrator.link_made", actor: "operator", detail: "" });
  return `${origin}/signin?ticket=${token}`;
}

/** Its row is the lock: one link at a time, one newcomer at a time. */
async function ensureOrganization(tx: Queryable, { organization: tenant, now }: AdminLinkOptions): Promise<void> {
  await tx
    .insert(organization)
    .values({ ...tenant, createdAt: now() })
    .onConflictDoNothing();
  await tx.select().from(organization).where(eq(organization.id, tenant.id)).for("update");
}

/** Holds a link for whoever comes first. @returns the organisation that it leads to; undefined when there is none. */
export async function takeAdminLink(tx: Queryable, token: string, now: Date): Promise<string | undefined> {
  const [found] = await tx
    .select()
    .from(adminLink)
    .where(eq(adminLink.tokenHash, tokenHash(token)))
    .for("update");
  return found === undefined || found.usedAt !== null || found.expiresAt <= now ? undefined : found.organizationId;
}

/** Spends a held link: whoever it was is an administrator now, also if they belonged already. */
export async function useAdminLink(
  tx: Queryable,
  used: { token: string; organizationId: string; userId: string; now: Date; audit: AppendAudit },
): Promise<void> {
  const { organizationId, userId, now, audit } = used;
  await tx
    .update(adminLink)
    .set({ usedAt: now, usedBy: userId })
    .where(eq(adminLink.tokenHash, tokenHash(used.token)));
  const permissions = [...PERMISSIONS];
  await tx
    .insert(membership)
    .values({ organizationId, userId, permissions, createdAt: now })
    .onConflictDoUpdate({ target: [membership.organizationId, membership.userId], set: { permissions } });
  await audit(tx, { organizationId, action: "administrator.joined", actor: userId, userId, detail: "" });
}
