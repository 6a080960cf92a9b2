import { bigint, boolean, customType, integer, jsonb, pgSchema, text, timestamp, uuid } from "drizzle-orm/pg-core";

/** Tables of the vault, as `migrations/` makes them. Nothing outside this package reads or writes them. */
export const vaultSchema = pgSchema("vault");

const bytea = customType<{ data: Uint8Array; driverData: Uint8Array }>({ dataType: () => "bytea" });
const instant = (name: string) => timestamp(name, { withTimezone: true });

export const keyCheck = vaultSchema.table("key_check", {
  keyId: text("key_id").primaryKey(),
  checkValue: bytea("check_value").notNull(),
  createdAt: instant("created_at").notNull().defaultNow(),
});

export const subjectKey = vaultSchema.table("subject_key", {
  keyId: uuid("key_id").primaryKey(),
  organizationId: text("organization_id").notNull(),
  ownerKind: text("owner_kind").$type<"user" | "organization">().notNull(),
  ownerId: text("owner_id").notNull(),
  generation: integer("generation").notNull(),
  publicKey: bytea("public_key").notNull(),
  signature: bytea("signature").notNull(),
  kekId: text("kek_id").notNull(),
  nonce: bytea("nonce").notNull(),
  wrapped: bytea("wrapped").notNull(),
  createdAt: instant("created_at").notNull().defaultNow(),
  /** A newer generation takes the writes since then. */
  supersededAt: instant("superseded_at"),
  /** Nothing is sealed to it any more, found then. */
  unusedSince: instant("unused_since"),
});

export const credentialGrant = vaultSchema.table("credential_grant", {
  organizationId: text("organization_id").notNull(),
  credentialId: text("credential_id").notNull(),
  integration: text("integration").notNull(),
  ownerKind: text("owner_kind").notNull(),
  ownerId: text("owner_id").notNull(),
  generation: bigint("generation", { mode: "number" }).notNull(),
  secretIds: jsonb("secret_ids").$type<Readonly<Record<string, string>>>().notNull(),
  scopes: jsonb("scopes").$type<readonly string[]>().notNull(),
  expiresAt: instant("expires_at"),
  leaseToken: bigint("lease_token", { mode: "number" }).notNull().default(0),
  leaseUntil: instant("lease_until"),
  intentAt: instant("intent_at"),
  createdAt: instant("created_at").notNull(),
  acceptedAt: instant("accepted_at"),
  /** Laid in by somebody who may not open it, and not accepted yet. */
  proposed: boolean("proposed").notNull().default(false),
});

export const secret = vaultSchema.table("secret", {
  id: uuid("id").notNull(),
  revision: bigint("revision", { mode: "number" }).notNull(),
  organizationId: text("organization_id").notNull(),
  credentialId: text("credential_id").notNull(),
  field: text("field").notNull(),
  alg: text("alg").notNull(),
  keyId: uuid("key_id").notNull(),
  nonce: bytea("nonce").notNull(),
  ciphertext: bytea("ciphertext").notNull(),
  sealed: bytea("sealed").notNull(),
  createdAt: instant("created_at").notNull().defaultNow(),
});

export const flow = vaultSchema.table("flow", {
  id: uuid("id").primaryKey(),
  stateHash: bytea("state_hash").notNull(),
  contextId: text("context_id").notNull(),
  organizationId: text("organization_id").notNull(),
  userId: text("user_id").notNull(),
  sessionHash: text("session_hash").notNull(),
  integration: text("integration").notNull(),
  ownerKind: text("owner_kind").$type<"user" | "organization">().notNull(),
  ownerId: text("owner_id").notNull(),
  credentialId: text("credential_id").notNull(),
  connectionId: text("connection_id").notNull(),
  /** JSON as text: it is authenticated byte for byte. */
  spec: text("spec").notNull(),
  scopes: text("scopes").notNull(),
  kekId: text("kek_id").notNull(),
  nonce: bytea("nonce").notNull(),
  verifier: bytea("verifier").notNull(),
  expiresAt: instant("expires_at").notNull(),
});

export const renewal = vaultSchema.table("renewal", {
  organizationId: text("organization_id").notNull(),
  credentialId: text("credential_id").notNull(),
  integration: text("integration").notNull(),
  ownerKind: text("owner_kind").$type<"user" | "organization">().notNull(),
  ownerId: text("owner_id").notNull(),
  contextId: text("context_id").notNull(),
  /** JSON as text: it is signed byte for byte. */
  terms: text("terms").notNull(),
  signature: bytea("signature").notNull(),
  renewAt: instant("renew_at"),
  failures: integer("failures").notNull().default(0),
});

export const oauthClient = vaultSchema.table("oauth_client", {
  contextId: text("context_id").primaryKey(),
  organizationId: text("organization_id").notNull(),
  credentialId: text("credential_id").notNull(),
  integration: text("integration").notNull(),
  clientId: text("client_id").notNull(),
  tokenHost: text("token_host").notNull(),
  createdAt: instant("created_at").notNull(),
});

export const audit = vaultSchema.table("audit", {
  organizationId: text("organization_id").notNull(),
  sequence: bigint("sequence", { mode: "number" }).notNull(),
  at: instant("at").notNull(),
  action: text("action").notNull(),
  actor: text("actor").notNull(),
  integration: text("integration"),
  ownerKind: text("owner_kind"),
  ownerId: text("owner_id"),
  credentialId: text("credential_id"),
  secretId: uuid("secret_id"),
  revision: bigint("revision", { mode: "number" }),
  detail: text("detail").notNull(),
  correlationId: text("correlation_id").notNull(),
  hash: bytea("hash").notNull(),
});

export const auditHead = vaultSchema.table("audit_head", {
  organizationId: text("organization_id").primaryKey(),
  sequence: bigint("sequence", { mode: "number" }).notNull(),
  at: instant("at").notNull(),
  hash: bytea("hash").notNull(),
  /** Where what is kept begins: after this entry. */
  baseSequence: bigint("base_sequence", { mode: "number" }).notNull().default(0),
  baseAt: instant("base_at"),
  baseHash: bytea("base_hash").notNull(),
});

export const rotation = vaultSchema.table("rotation", {
  id: uuid("id").primaryKey(),
  startedAt: instant("started_at").notNull(),
  finishedAt: instant("finished_at"),
});

export const form = vaultSchema.table("form", {
  id: uuid("id").primaryKey(),
  organizationId: text("organization_id").notNull(),
  userId: text("user_id").notNull(),
  sessionHash: text("session_hash").notNull(),
  integration: text("integration").notNull(),
  ownerKind: text("owner_kind").$type<"user" | "organization">().notNull(),
  ownerId: text("owner_id").notNull(),
  credentialId: text("credential_id").notNull(),
  /** JSON as text: it is authenticated byte for byte. */
  fields: text("fields").notNull(),
  kekId: text("kek_id").notNull(),
  nonce: bytea("nonce").notNull(),
  wrapped: bytea("wrapped").notNull(),
  expiresAt: instant("expires_at").notNull(),
});

export const inbox = vaultSchema.table("inbox", {
  id: uuid("id").primaryKey(),
  organizationId: text("organization_id").notNull(),
  formId: uuid("form_id").notNull(),
  userId: text("user_id").notNull(),
  sessionHash: text("session_hash").notNull(),
  integration: text("integration").notNull(),
  ownerKind: text("owner_kind").$type<"user" | "organization">().notNull(),
  ownerId: text("owner_id").notNull(),
  credentialId: text("credential_id").notNull(),
  keyId: uuid("key_id").notNull(),
  alg: text("alg").notNull(),
  nonce: bytea("nonce").notNull(),
  /** Null once it is quarantined, as is `sealed`. */
  ciphertext: bytea("ciphertext"),
  sealed: bytea("sealed"),
  submittedAt: instant("submitted_at").notNull().defaultNow(),
  quarantinedAt: instant("quarantined_at"),
  reason: text("reason"),
});

export const erasure = vaultSchema.table("erasure", {
  id: uuid("id").primaryKey(),
  organizationId: text("organization_id").notNull(),
  /** Null: the whole organisation. */
  userId: text("user_id"),
  erasedAt: instant("erased_at").notNull(),
});
