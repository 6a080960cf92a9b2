import { asc } from "drizzle-orm";
import { channel } from "node:diagnostics_channel";
import { acrossOrganizations, type Database, type Queryable, run, withOrganization } from "@tributary/db";
import { appendAudit } from "./audit.ts";
import { appendErasures, readErasures } from "./erasure-file.ts";
import type { VaultParts } from "./parts.ts";
import { erasure as erasureTable } from "./schema.ts";

const steps = channel("tributary:step");

/** A person within one organisation; without one, the whole organisation. */
export interface ErasureTarget {
  readonly organizationId: string;
  readonly userId?: string | undefined;
}

/** An entry of the erasure ledger. */
export interface Erasure extends ErasureTarget {
  readonly id: string;
  /** By the database's clock. What was made later belongs to somebody who came back. */
  readonly erasedAt: Date;
}

/** What an erasure destroyed. */
export interface Erased extends Erasure {
  /** Key pairs: without them nothing that was sealed to them opens, in this database or in a copy. */
  readonly keys: number;
  readonly credentials: number;
}

/**
 * Erases a person or an organisation from the vault. Written down first, outside the database and in it, so that a copy
 * of the database that still has the keys does not bring anything back.
 * @throws VaultError erasure_ledger_invalid, with nothing erased.
 */
export async function eraseFromVault(
  parts: Pick<VaultParts, "database" | "dataKeys" | "randomUUID" | "erasureLedger">,
  { organizationId, userId }: ErasureTarget,
): Promise<Erased> {
  const { database, erasureLedger } = parts;
  const id = parts.randomUUID();
  const announced = { id, organizationId, userId, erasedAt: await databaseNow(database) };
  if (erasureLedger !== undefined) await appendErasures(erasureLedger, [announced]);
  steps.publish("vault.erasure.announced");
  const erased = await withOrganization(
    database,
    organizationId,
    async (tx) => {
      await run(tx, LOCK_KEYS, [organizationId, userId ?? null]);
      const erasedAt = await clock(tx);
      await tx.insert(erasureTable).values({ id, organizationId, userId: userId ?? null, erasedAt });
      const { keys, credentials } = await destroy(tx, organizationId, userId);
      const owner = userId === undefined ? {} : { owner: { kind: "user", id: userId } as const };
      await appendAudit(tx, { organizationId, action: "subject.erase", actor: "vault", ...owner, correlationId: id });
      return { ...announced, erasedAt, keys, credentials };
    },
    "vault",
  );
  steps.publish("vault.erasure.shredded");
  parts.dataKeys.drop(organizationId, userId === undefined ? undefined : { kind: "user", id: userId });
  // Keys that were made between the announcement and the erasure are in no copy without its time.
  if (erasureLedger !== undefined) await appendErasures(erasureLedger, [withoutCounts(erased)]);
  return erased;
}

/**
 * Brings the ledger in the database and its copy outside together, and erases again what an older copy of the database
 * brought back. Before anything is served.
 * @returns how many key pairs were destroyed.
 * @throws VaultError erasure_ledger_invalid.
 */
export async function replayErasures(database: Database, ledgerFile: string | undefined): Promise<number> {
  const outside = ledgerFile === undefined ? [] : await readErasures(ledgerFile);
  const latest = new Map<string, Erasure>();
  for (const entry of outside)
    if ((latest.get(entry.id)?.erasedAt ?? entry.erasedAt) <= entry.erasedAt) latest.set(entry.id, entry);
  return acrossOrganizations(database, "keeper", async (tx) => {
    const inside = new Set((await tx.select({ id: erasureTable.id }).from(erasureTable)).map(({ id }) => id));
    const missing = [...latest.values()].filter(({ id }) => !inside.has(id));
    if (missing.length > 0) await tx.insert(erasureTable).values(missing).onConflictDoNothing();
    const known = new Set(outside.map(({ id }) => id));
    const unknown = (await listErasures(tx)).filter(({ id }) => !known.has(id));
    if (ledgerFile !== undefined && unknown.length > 0) await appendErasures(ledgerFile, unknown);
    await run(tx, LOCK_ERASED_KEYS);
    for (const statement of REPLAY_BEFORE_KEYS) await run(tx, statement);
    return (await run(tx, REPLAY_KEYS)).length;
  });
}

/** The whole ledger, the oldest first. */
export async function listErasures(tx: Queryable): Promise<readonly Erasure[]> {
  const rows = await tx.select().from(erasureTable).orderBy(asc(erasureTable.erasedAt));
  return rows.map((row) => ({ ...row, userId: row.userId ?? undefined }));
}

async function destroy(tx: Queryable, organizationId: string, userId: string | undefined) {
  const params = [organizationId, userId ?? null];
  const credentials = (await run(tx, DELETE_GRANTS, params)).length;
  for (const statement of [DELETE_FLOWS, DELETE_FORMS, DELETE_INBOX]) await run(tx, statement, params);
  return { credentials, keys: (await run(tx, DELETE_KEYS, params)).length };
}

const withoutCounts = ({ id, organizationId, userId, erasedAt }: Erased): Erasure => ({
  id,
  organizationId,
  userId,
  erasedAt,
});

const databaseNow = (database: Database): Promise<Date> => acrossOrganizations(database, "keeper", clock);

/** Rounded up: a key that was made in the same millisecond is older. */
async function clock(tx: Queryable): Promise<Date> {
  const [row] = await run<{ ms: number }>(
    tx,
    "SELECT ceil(extract(epoch FROM clock_timestamp()) * 1000)::float8 AS ms",
  );
  return new Date(row?.ms ?? Number.NaN);
}

/** An owner of the rows in question: a person's own, or everybody's in the organisation. */
const OWNED = "organization_id = $1 AND ($2::text IS NULL OR (owner_kind = 'user' AND owner_id = $2))";
/** And what a person began for somebody else. */
const BEGUN = "organization_id = $1 AND ($2::text IS NULL OR user_id = $2 OR (owner_kind = 'user' AND owner_id = $2))";

/** Keys first, and in order, as everybody locks them. */
const LOCK_KEYS = `SELECT key_id FROM vault.subject_key WHERE ${OWNED} ORDER BY key_id FOR UPDATE`;
/** Secrets go with their grants. */
const DELETE_GRANTS = `DELETE FROM vault.credential_grant WHERE ${OWNED} RETURNING credential_id`;
const DELETE_FLOWS = `DELETE FROM vault.flow WHERE ${BEGUN}`;
const DELETE_FORMS = `DELETE FROM vault.form WHERE ${BEGUN}`;
const DELETE_INBOX = `DELETE FROM vault.inbox WHERE ${BEGUN}`;
const DELETE_KEYS = `DELETE FROM vault.subject_key WHERE ${OWNED} RETURNING key_id`;

const ERASED_KEYS = `
SELECT k.key_id FROM vault.subject_key k JOIN vault.erasure e ON e.organization_id = k.organization_id
WHERE k.created_at <= e.erased_at AND (e.user_id IS NULL OR (k.owner_kind = 'user' AND k.owner_id = e.user_id))`;

const LOCK_ERASED_KEYS = `SELECT key_id FROM vault.subject_key WHERE key_id IN (${ERASED_KEYS}) ORDER BY key_id FOR UPDATE`;

const REPLAY_BEFORE_KEYS = [
  `DELETE FROM vault.credential_grant g WHERE EXISTS (
    SELECT FROM vault.secret s
    WHERE s.organization_id = g.organization_id AND s.credential_id = g.credential_id AND s.key_id IN (${ERASED_KEYS}))`,
  `DELETE FROM vault.inbox WHERE key_id IN (${ERASED_KEYS})`,
  ...["flow", "form"].map(
    (table) => `DELETE FROM vault.${table} f USING vault.erasure e
    WHERE e.organization_id = f.organization_id AND f.expires_at <= e.erased_at + interval '10 minutes'
      AND (e.user_id IS NULL OR e.user_id = f.user_id OR (f.owner_kind = 'user' AND f.owner_id = e.user_id))`,
  ),
];

const REPLAY_KEYS = `DELETE FROM vault.subject_key WHERE key_id IN (${ERASED_KEYS}) RETURNING key_id`;
