import { boolean, pgSchema, primaryKey, text, timestamp, uuid } from "drizzle-orm/pg-core";
import type { Permission } from "./identity.ts";

/** Tables of this package; `migrations/` creates them and says why each exists. */
const auth = pgSchema("auth");
const instant = (name: string) => timestamp(name, { withTimezone: true, mode: "date" });

export const organization = auth.table("organization", {
  id: text("id").primaryKey(),
  name: text("name").notNull(),
  createdAt: instant("created_at").notNull(),
});

export const user = auth.table("user", {
  id: uuid("id").primaryKey(),
  name: text("name").notNull(),
  email: text("email").notNull(),
  createdAt: instant("created_at").notNull(),
  updatedAt: instant("updated_at").notNull(),
  emailVerified: boolean("email_verified").notNull(),
});

export const identity = auth.table(
  "identity",
  {
    issuer: text("issuer").notNull(),
    subject: text("subject").notNull(),
    userId: uuid("user_id").notNull(),
    createdAt: instant("created_at").notNull(),
  },
  (table) => [primaryKey({ columns: [table.issuer, table.subject] })],
);

export const membership = auth.table(
  "membership",
  {
    organizationId: text("organization_id").notNull(),
    userId: uuid("user_id").notNull(),
    permissions: text("permissions").array().$type<Permission[]>().notNull(),
    createdAt: instant("created_at").notNull(),
  },
  (table) => [primaryKey({ columns: [table.organizationId, table.userId] })],
);

export const session = auth.table("session", {
  hash: text("hash").primaryKey(),
  organizationId: text("organization_id").notNull(),
  userId: uuid("user_id").notNull(),
  createdAt: instant("created_at").notNull(),
  lastSeenAt: instant("last_seen_at").notNull(),
  expiresAt: instant("expires_at").notNull(),
});

export const invitation = auth.table("invitation", {
  id: uuid("id").primaryKey(),
  organizationId: text("organization_id").notNull(),
  email: text("email").notNull(),
  permissions: text("permissions").array().$type<Permission[]>().notNull(),
  tokenHash: text("token_hash").notNull(),
  invitedBy: text("invited_by").notNull(),
  createdAt: instant("created_at").notNull(),
  expiresAt: instant("expires_at").notNull(),
  acceptedAt: instant("accepted_at"),
  acceptedBy: uuid("accepted_by"),
});

export const adminLink = auth.table("admin_link", {
  tokenHash: text("token_hash").primaryKey(),
  organizationId: text("organization_id").notNull(),
  createdAt: instant("created_at").notNull(),
  expiresAt: instant("expires_at").notNull(),
  usedAt: instant("used_at"),
  usedBy: uuid("used_by"),
});
