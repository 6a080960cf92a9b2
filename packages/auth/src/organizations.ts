import { randomBytes } from "node:crypto";
import { acrossOrganizations, type Database } from "@tributary/db";
import { asc, count, eq } from "drizzle-orm";
import { PERMISSIONS } from "./identity.ts";
import type { OrganizationView, PeopleOptions } from "./people-options.ts";
import { PeopleError } from "./people-error.ts";
import { membership, organization } from "./schema.ts";

const ORGANIZATIONS_A_PERSON_MAX = 100;

/** Those a person belongs to, by name. */
export function listOrganizations(database: Database, userId: string): Promise<OrganizationView[]> {
  return acrossOrganizations(database, "auth", (tx) =>
    tx
      .select({ id: organization.id, name: organization.name, permissions: membership.permissions })
      .from(membership)
      .innerJoin(organization, eq(organization.id, membership.organizationId))
      .where(eq(membership.userId, userId))
      .orderBy(asc(organization.name), asc(organization.id)),
  );
}

/** @throws PeopleError limit_reached. */
export function createOrganization(options: PeopleOptions, userId: string, name: string): Promise<OrganizationView> {
  const made = { id: idOf(name), name };
  const createdAt = options.now();
  return acrossOrganizations(options.database, "auth", async (tx) => {
    const [belongs] = await tx.select({ n: count() }).from(membership).where(eq(membership.userId, userId));
    if ((belongs?.n ?? 0) >= ORGANIZATIONS_A_PERSON_MAX)
      throw new PeopleError(
        "limit_reached",
        `A person belongs to ${ORGANIZATIONS_A_PERSON_MAX} organisations at most.`,
      );
    const permissions = [...PERMISSIONS];
    await tx.insert(organization).values({ ...made, createdAt });
    await tx.insert(membership).values({ organizationId: made.id, userId, permissions, createdAt });
    await options.audit(tx, {
      organizationId: made.id,
      action: "organization.created",
      actor: userId,
      userId,
      detail: "",
    });
    return { ...made, permissions };
  });
}

/** Readable, in the alphabet of subjects, and nobody's yet: 40 random bits follow the name. */
function idOf(name: string): string {
  const words = name
    .normalize("NFKD")
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-+|-+$/g, "");
  return `${words.slice(0, 24).replace(/-+$/, "") || "organisation"}-${randomBytes(5).toString("hex")}`;
}
