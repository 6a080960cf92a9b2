import { type Queryable, run } from "@tributary/db";
import { hash } from "node:crypto";
import { contextBytes } from "./seal.ts";
import type { CredentialScope } from "./vault.ts";

/**
 * The audit: one chain of entries an organisation, without a gap, each entry with the hash of itself and of the one before.
 *
 * Entries are written by one function of the database (`migrations/0003_audit.sql`), which computes the hash where the
 * entry is stored: the SQL functions that give ciphertext out are bound to write one, and could not if the hash were made
 * here. This file says what an entry is and computes the same hash again, for `audit-verify.ts`.
 */
export interface AuditEntry {
  readonly organizationId: string;
  /** What was done, such as "permission.grant". `credential.…`, `key.…` and `subject.…` are the vault's own. */
  readonly action: string;
  /** Who did it: a user's id, the name of a service, or the part of the hub that acts by itself. 200 characters at most. */
  readonly actor: string;
  readonly integration?: string;
  readonly owner?: CredentialScope["owner"];
  readonly credentialId?: string;
  readonly secretId?: string;
  readonly revision?: number;
  /** An id or a code, never what was said: 500 characters at most. */
  readonly detail?: string;
  /** The run or request that this belongs to. */
  readonly correlationId?: string;
}

/**
 * Appends an entry, in the caller's transaction: what is recorded and what is done are committed together.
 *
 * The end of the chain is one row, locked until the transaction ends, so entries of one organisation wait for each other
 * and nobody else's. Append last: whatever a transaction does afterwards, the organisation's other runs wait for. A
 * transaction that records for several organisations does so in the order of their ids, or two of them may wait for each
 * other for ever.
 * @param tx of the role writer, vault, auth, keeper or upkeep.
 * @returns the entry's number in its chain, from 1.
 */
export async function appendAudit(tx: Queryable, entry: AuditEntry): Promise<number> {
  const [row] = await run<{ sequence: bigint }>(tx, APPEND, [
    entry.organizationId,
    entry.action,
    entry.actor,
    entry.integration ?? null,
    entry.owner?.kind ?? null,
    entry.owner?.id ?? null,
    entry.credentialId ?? null,
    entry.secretId ?? null,
    entry.revision ?? null,
    entry.detail ?? "",
    entry.correlationId ?? "",
  ]);
  return Number(row?.sequence);
}

const APPEND = "SELECT vault.append_audit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) AS sequence";

/** An entry as it is stored; numbers as text, `at` in microseconds since 1970. */
export interface StoredEntry {
  readonly organization_id: string;
  readonly sequence: string;
  readonly at: string;
  readonly action: string;
  readonly actor: string;
  readonly integration: string | null;
  readonly owner_kind: string | null;
  readonly owner_id: string | null;
  readonly credential_id: string | null;
  readonly secret_id: string | null;
  readonly revision: string | null;
  readonly detail: string;
  readonly correlation_id: string;
  readonly hash: Uint8Array;
}

/** The columns of {@link StoredEntry}, for a SELECT. */
export const STORED_ENTRY =
  "organization_id, sequence::text, (extract(epoch FROM at) * 1000000)::int8::text AS at, action, actor, integration, " +
  "owner_kind, owner_id, credential_id, secret_id::text, revision::text, detail, correlation_id, hash";

/** What an entry's hash must be. Every part with its length before it; an absent one has a length that nothing has. */
export function entryHash(before: Uint8Array, entry: Omit<StoredEntry, "hash">): Uint8Array {
  const parts = [
    "vault/v1",
    "audit",
    entry.organization_id,
    entry.sequence,
    entry.at,
    entry.action,
    entry.actor,
    entry.integration,
    entry.owner_kind,
    entry.owner_id,
    entry.credential_id,
    entry.secret_id,
    entry.revision,
    entry.detail,
    entry.correlation_id,
  ];
  const bytes = parts.map((part) => (part === null ? ABSENT : contextBytes(part)));
  return hash("sha256", Buffer.concat([before, ...bytes]), "buffer");
}

const ABSENT = Buffer.from("ffffffff", "hex");
