import type { Json } from "@tributary/sdk";
import { bigint, boolean, customType, integer, jsonb, pgSchema, text, timestamp, uuid } from "drizzle-orm/pg-core";

/** Tables of this package; `migrations/` creates them and says why each exists. */
const integrations = pgSchema("integrations");
const instant = (name: string) => timestamp(name, { withTimezone: true, mode: "date" });
const count = (name: string) => bigint(name, { mode: "number" });
const bytes = customType<{ data: Uint8Array }>({ dataType: () => "bytea" });

export const connection = integrations.table("connection", {
  id: uuid("id").primaryKey(),
  organizationId: text("organization_id").notNull(),
  integration: text("integration").notNull(),
  ownerKind: text("owner_kind").$type<"user" | "organization">().notNull(),
  ownerId: text("owner_id").notNull(),
  accountId: text("account_id").notNull(),
  accountLabel: text("account_label").notNull(),
  apiVersion: text("api_version").notNull(),
  state: text("state").$type<StoredState>().notNull(),
  stateSince: instant("state_since").notNull().defaultNow(),
  stateVersion: count("state_version").notNull().default(1),
  reasonCode: text("reason_code"),
  reasonMessage: text("reason_message"),
  pausedBy: text("paused_by"),
  backfillFrom: instant("backfill_from").notNull(),
  dueAt: instant("due_at"),
  /** Somebody wants a run as soon as the one under way has ended. */
  wake: boolean("wake").notNull().default(false),
  failures: integer("failures").notNull().default(0),
  leaseToken: count("lease_token").notNull().default(0),
  leaseUntil: instant("lease_until"),
  verifiedAt: instant("verified_at"),
  lastEventAt: instant("last_event_at"),
  eventsRead: count("events_read").notNull().default(0),
  createdAt: instant("created_at").notNull().defaultNow(),
});
export type ConnectionRow = typeof connection.$inferSelect;
/** What is kept; `limited` and `stale` follow from it (state.ts). */
export type StoredState = "connected" | "syncing" | "error" | "expired" | "paused" | "disconnected";

export const credential = integrations.table("credential", {
  id: uuid("id").primaryKey(),
  connectionId: uuid("connection_id").notNull().unique(),
  organizationId: text("organization_id").notNull(),
  integration: text("integration").notNull(),
  secretIds: jsonb("secret_ids").$type<Readonly<Record<string, string>>>().notNull(),
  grantedScopes: text("granted_scopes").array().notNull(),
  meta: jsonb("meta").$type<CredentialMeta>().notNull(),
  version: count("version").notNull().default(1),
  /** Credentials that the connection had before, whose secrets are still to be deleted. */
  replaces: uuid("replaces").array().notNull().default([]),
  createdAt: instant("created_at").notNull().defaultNow(),
});
export type CredentialRow = typeof credential.$inferSelect;
export interface CredentialMeta {
  readonly v: "1";
  /** Absent before the first checkpoint, and after the provider refused it. */
  readonly cursor?: Json;
  /** True while the history has not been read to its end. */
  readonly backfilling?: true;
}

export const objectState = integrations.table("object_state", {
  connectionId: uuid("connection_id").notNull(),
  key: bytes("key").notNull(),
  organizationId: text("organization_id").notNull(),
  revision: count("revision").notNull(),
  mark: bytes("mark").notNull(),
  type: text("type").notNull(),
});

export const run = integrations.table("run", {
  id: uuid("id").primaryKey(),
  organizationId: text("organization_id").notNull(),
  connectionId: uuid("connection_id").notNull(),
  purpose: text("purpose").$type<"sync" | "action">().notNull(),
  startedAt: instant("started_at").notNull().defaultNow(),
  endedAt: instant("ended_at"),
  /** "ok", or the code of what stopped it. */
  outcome: text("outcome"),
  events: integer("events").notNull().default(0),
  unchanged: integer("unchanged").notNull().default(0),
  log: jsonb("log").$type<readonly LogLine[]>().notNull().default([]),
});
export interface LogLine {
  readonly at: string;
  readonly message: string;
  readonly fields?: Readonly<Record<string, Json>>;
}

export const action = integrations.table("action", {
  organizationId: text("organization_id").notNull(),
  connectionId: uuid("connection_id").notNull(),
  idempotencyKey: uuid("idempotency_key").notNull(),
  type: text("type").notNull(),
  inputHash: bytes("input_hash").notNull(),
  /** Absent while it is under way, or when the process died in it. */
  outcome: jsonb("outcome").$type<ActionOutcome>(),
  createdAt: instant("created_at").notNull().defaultNow(),
});
export type ActionOutcome = { readonly id?: string } | { readonly rejected: string };

export const setting = integrations.table("setting", {
  organizationId: text("organization_id").notNull(),
  integration: text("integration").notNull(),
  enabled: boolean("enabled").notNull().default(false),
  apiVersion: text("api_version"),
  config: jsonb("config").$type<SettingConfig>().notNull().default({ v: 1 }),
  version: count("version").notNull().default(1),
  updatedBy: text("updated_by").notNull(),
  updatedAt: instant("updated_at").notNull(),
});
/** What an integration asks its organisation to set; never a credential. */
export interface SettingConfig {
  readonly v: 1;
  readonly [name: string]: Json;
}

export const notice = integrations.table("notice", {
  id: uuid("id").primaryKey(),
  organizationId: text("organization_id").notNull(),
  at: instant("at").notNull().defaultNow(),
  code: text("code").$type<"record_reset" | "secret_moved">().notNull(),
  /** Table and column. */
  place: text("place").notNull(),
  /** Which row of it. */
  rowKey: text("row_key").notNull(),
});

export const delivery = integrations.table("delivery", {
  contextId: text("context_id").notNull(),
  deliveryId: text("delivery_id").notNull(),
  integration: text("integration").notNull(),
  receivedAt: instant("received_at").notNull().defaultNow(),
});

export const receipt = integrations.table("receipt", {
  id: uuid("id").primaryKey(),
  organizationId: text("organization_id").notNull(),
  connectionId: uuid("connection_id").notNull().unique(),
  integration: text("integration").notNull(),
  ownerKind: text("owner_kind").$type<"user" | "organization">().notNull(),
  ownerId: text("owner_id").notNull(),
  accountLabel: text("account_label").notNull(),
  credentialId: uuid("credential_id").notNull(),
  at: instant("at").notNull().defaultNow(),
  revocation: text("revocation").$type<"pending" | "confirmed" | "unsupported" | "given_up">().notNull(),
  nextAttemptAt: instant("next_attempt_at"),
  secretsDeleted: integer("secrets_deleted").notNull().default(0),
  eventsKept: count("events_kept").notNull(),
  eventsDeleted: count("events_deleted").notNull(),
});
export type ReceiptRow = typeof receipt.$inferSelect;
