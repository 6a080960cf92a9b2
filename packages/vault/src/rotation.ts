import { and, asc, eq, gt, isNull, lt, ne, sql } from "drizzle-orm";
import { acrossOrganizations, type Database, type Queryable, run } from "@tributary/db";
import { appendAudit } from "./audit.ts";
import { VaultError } from "./errors.ts";
import { type KeyParts, openStored, resealSecret, type StoredSecret } from "./grants.ts";
import type { KeyRing } from "./keys.ts";
import { rotation, subjectKey } from "./schema.ts";
import { wipe } from "./seal.ts";
import { subjectOf, supersede, unwrapKey, wrapKey } from "./subject-keys.ts";

/**
 * Changing keys while everything goes on. There are two kinds, and they do not touch each other.
 *
 * The key-encryption key wraps the subjects' private keys: {@link rewrapKeys} wraps them under the newest one, and secrets
 * stay as they are. A subject's key pair is what secrets are sealed to: {@link startGenerations} gives each subject a pair
 * of the next generation, which takes all writes from then on; {@link resealSecrets} seals what there is to it;
 * {@link retireKeys} destroys pairs that nothing is sealed to any more.
 *
 * Every step is one short transaction that is true by itself, so one may be killed between any two of them and begun
 * again; and two processes may do it at once, because a row is written only as it was read.
 */
export interface RotationStep {
  readonly step: "wrap" | "generation" | "reseal" | "retire";
  readonly done: number;
  readonly total: number;
}
export type OnStep = (step: RotationStep) => void;

/** What was done, and what could not be opened: rows that were damaged or moved stay as they are. */
export interface StepResult {
  readonly changed: number;
  readonly unreadable: number;
}

const PAGE = 200;
const ZERO = "00000000-0000-0000-0000-000000000000";

const asKeeper = <T>(database: Database, work: (tx: Queryable) => Promise<T>): Promise<T> =>
  acrossOrganizations(database, "keeper", work);

/** Wraps every private key under the newest key of the ring; afterwards nothing readable needs the older ones. */
export async function rewrapKeys(database: Database, ring: KeyRing, onStep: OnStep = () => {}): Promise<StepResult> {
  const kekId = ring.newestId;
  const total = await asKeeper(database, (tx) => tx.$count(subjectKey, ne(subjectKey.kekId, kekId)));
  let [changed, unreadable, after] = [0, 0, ZERO];
  for (;;) {
    const rows = await asKeeper(database, (tx) =>
      tx
        .select()
        .from(subjectKey)
        .where(and(ne(subjectKey.kekId, kekId), gt(subjectKey.keyId, after)))
        .orderBy(asc(subjectKey.keyId))
        .limit(PAGE),
    );
    for (const row of rows) {
      after = row.keyId;
      const subject = subjectOf(row);
      const privateKey = unwrapKey(row, subject, ring);
      if (privateKey === undefined) unreadable++;
      else {
        const wrapped = wrapKey(privateKey, subject, row.keyId, ring);
        wipe(privateKey);
        const written = await asKeeper(database, async (tx) => {
          const rewrapped = await tx
            .update(subjectKey)
            .set(wrapped)
            .where(and(eq(subjectKey.keyId, row.keyId), eq(subjectKey.kekId, row.kekId)))
            .returning({ keyId: subjectKey.keyId });
          if (rewrapped.length > 0) {
            const detail = `${row.keyId} ${kekId}`;
            await appendAudit(tx, { ...subject, action: "key.rewrap", actor: "vault", detail });
          }
          return rewrapped;
        });
        changed += written.length;
      }
      onStep({ step: "wrap", done: changed + unreadable, total });
    }
    if (rows.length < PAGE) return { changed, unreadable };
  }
}

/**
 * Gives every subject a key pair of the next generation. One that was cut short goes on: subjects that have their new
 * pair do not get another.
 */
export async function startGenerations(
  parts: KeyParts,
  onStep: OnStep = () => {},
): Promise<{ readonly changed: number }> {
  const { database } = parts;
  const startedAt = await currentRotation(parts);
  const due = and(isNull(subjectKey.supersededAt), lt(subjectKey.createdAt, startedAt));
  const total = await asKeeper(database, (tx) => tx.$count(subjectKey, due));
  let [changed, after] = [0, ZERO];
  for (;;) {
    const rows = await asKeeper(database, (tx) =>
      tx
        .select()
        .from(subjectKey)
        .where(and(due, gt(subjectKey.keyId, after)))
        .orderBy(asc(subjectKey.keyId))
        .limit(PAGE),
    );
    for (const row of rows) {
      after = row.keyId;
      await supersede(database, parts.ring, row, parts.randomUUID);
      onStep({ step: "generation", done: ++changed, total });
    }
    if (rows.length < PAGE) return { changed };
  }
}

/** When the rotation under way began; begins one when there is none. */
function currentRotation({ database, randomUUID }: KeyParts): Promise<Date> {
  return asKeeper(database, async (tx) => {
    await run(tx, "SELECT pg_advisory_xact_lock(hashtext('tributary.vault.rotation'))");
    const [underWay] = await tx.select().from(rotation).where(isNull(rotation.finishedAt)).limit(1);
    if (underWay !== undefined) return underWay.startedAt;
    const values = { id: randomUUID(), startedAt: sql`now()` };
    const [begun] = await tx.insert(rotation).values(values).returning();
    if (begun === undefined) throw new Error("the rotation was not inserted");
    return begun.startedAt;
  });
}

interface SecretRow extends StoredSecret {
  readonly organization_id: string;
  readonly credential_id: string;
  readonly field: string;
  readonly integration: string;
  readonly owner_kind: "user" | "organization";
  readonly owner_id: string;
  readonly rev: bigint;
}

/**
 * Seals what is sealed to older generations to the newest. The rotation has ended when nothing readable is left.
 * @param limit secrets at most. Default: all.
 */
export async function resealSecrets(
  parts: KeyParts,
  { limit = Infinity, onStep = () => {} }: { readonly limit?: number; readonly onStep?: OnStep } = {},
): Promise<StepResult> {
  const { database } = parts;
  const [counted] = await asKeeper(database, (tx) => run<{ n: number }>(tx, COUNT_SUPERSEDED));
  const total = Math.min(counted?.n ?? 0, limit);
  let [changed, unreadable, seen] = [0, 0, 0];
  let after: readonly [string, string] = [ZERO, "0"];
  for (;;) {
    const rows = await asKeeper(database, (tx) => run<SecretRow>(tx, SELECT_SUPERSEDED, [...after, PAGE]));
    for (const row of rows) {
      if (seen === limit) return { changed, unreadable };
      after = [row.id, String(row.rev)];
      const outcome = await resealRow(parts, row);
      if (outcome === "unreadable") unreadable++;
      else if (outcome) changed++;
      onStep({ step: "reseal", done: ++seen, total });
    }
    if (rows.length === PAGE) continue;
    await asKeeper(database, (tx) => run(tx, FINISH_ROTATION));
    return { changed, unreadable };
  }
}

/** The scope is the grant's; a row that was moved to another credential does not open there, and so is not sealed to it. */
async function resealRow(parts: KeyParts, row: SecretRow): Promise<boolean | "unreadable"> {
  const scope = {
    organizationId: row.organization_id,
    integration: row.integration,
    owner: { kind: row.owner_kind, id: row.owner_id },
    credentialId: row.credential_id,
  };
  const stored: StoredSecret = { ...row, revision: Number(row.rev) };
  let dataKey: Uint8Array | undefined;
  try {
    ({ dataKey } = await openStored(parts, scope, row.field, stored));
    return await resealSecret(parts, scope, row.field, stored, dataKey);
  } catch (error) {
    if (error instanceof VaultError) return "unreadable";
    throw error;
  } finally {
    if (dataKey !== undefined) wipe(dataKey);
  }
}

/**
 * Destroys superseded key pairs that nothing has been sealed to for a while: a process that has just read a secret still
 * needs the key that it was sealed to a moment ago.
 * @param graceMs how long a pair stays unused before it goes. 0 when no other process runs.
 * @returns how many were destroyed.
 */
export async function retireKeys(database: Database, graceMs: number, onStep: OnStep = () => {}): Promise<number> {
  let changed = 0;
  for (;;) {
    const { seen, destroyed } = await asKeeper(database, async (tx) => {
      await run(tx, MARK_USED);
      const unused = await run<{ key_id: string }>(tx, LOCK_UNUSED, [graceMs, PAGE]);
      const ids = unused.map((row) => row.key_id);
      // In statements of their own: a key that was waited for may have been sealed to meanwhile.
      if (ids.length > 0) await run(tx, MARK_UNUSED, [ids]);
      return { seen: ids.length, destroyed: await run(tx, DESTROY_UNUSED, [ids, graceMs]) };
    });
    changed += destroyed.length;
    onStep({ step: "retire", done: changed, total: changed });
    if (seen < PAGE || destroyed.length === 0) return changed;
  }
}

const COUNT_SUPERSEDED = `
SELECT count(*)::int AS n FROM vault.secret s JOIN vault.subject_key k ON k.key_id = s.key_id
WHERE k.superseded_at IS NOT NULL`;

const SELECT_SUPERSEDED = `
SELECT s.id, s.revision AS rev, s.field, s.alg, s.key_id AS "keyId", s.nonce, s.ciphertext, s.sealed, s.organization_id, s.credential_id,
  g.integration, g.owner_kind, g.owner_id
FROM vault.secret s
JOIN vault.subject_key k ON k.key_id = s.key_id AND k.organization_id = s.organization_id
JOIN vault.credential_grant g ON g.organization_id = s.organization_id AND g.credential_id = s.credential_id
WHERE k.superseded_at IS NOT NULL AND (s.id, s.revision) > ($1::uuid, $2::bigint)
ORDER BY s.id, s.revision LIMIT $3`;

/** A rotation that gave every subject its new pair, and whose secrets have all been gone through. */
const FINISH_ROTATION = `
UPDATE vault.rotation AS r SET finished_at = now()
WHERE finished_at IS NULL
  AND NOT EXISTS (SELECT FROM vault.subject_key k WHERE k.superseded_at IS NULL AND k.created_at < r.started_at)`;

const NEEDED = `
EXISTS (SELECT FROM vault.secret s WHERE s.key_id = k.key_id)
  OR EXISTS (SELECT FROM vault.inbox i WHERE i.key_id = k.key_id AND i.quarantined_at IS NULL)`;

const MARK_USED = `
UPDATE vault.subject_key AS k SET unused_since = NULL WHERE unused_since IS NOT NULL AND (${NEEDED})`;

/** Those that were found unused long ago, and those that are found now. */
const LOCK_UNUSED = `
SELECT key_id FROM vault.subject_key AS k
WHERE superseded_at IS NOT NULL AND (unused_since IS NULL OR unused_since <= now() - make_interval(secs => $1::float8 / 1000))
  AND NOT (${NEEDED})
ORDER BY key_id LIMIT $2 FOR UPDATE`;

const MARK_UNUSED = `
UPDATE vault.subject_key AS k SET unused_since = now()
WHERE key_id = ANY ($1::uuid[]) AND unused_since IS NULL AND NOT (${NEEDED})`;

const DESTROY_UNUSED = `
DELETE FROM vault.subject_key AS k
WHERE key_id = ANY ($1::uuid[]) AND unused_since <= now() - make_interval(secs => $2::float8 / 1000) AND NOT (${NEEDED})
RETURNING key_id`;
