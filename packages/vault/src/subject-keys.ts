import { and, desc, eq, isNull, lt, sql } from "drizzle-orm";
import { type Database, type Queryable, run, withOrganization } from "@tributary/db";
import { appendAudit } from "./audit.ts";
import { VaultError } from "./errors.ts";
import { refreshKeyRing } from "./key-check.ts";
import type { KeyRing } from "./keys.ts";
import { subjectKey } from "./schema.ts";
import { contextBytes, isSignedPublicKey, newKeyPair, signPublicKey, unwrap, wipe, wrap } from "./seal.ts";
import type { CredentialScope } from "./vault.ts";

/** An organisation, or one of its people: who a key pair belongs to. Erasing one destroys its keys and nobody else's. */
export type Subject = Pick<CredentialScope, "organizationId" | "owner">;

export interface SealingKey {
  readonly keyId: string;
  readonly publicKey: Uint8Array;
}

export interface OpeningKey {
  /** To be wiped by whoever asked for it. */
  readonly privateKey: Uint8Array;
  /** A newer generation takes the writes: what was opened with this one should be sealed anew. */
  readonly superseded: boolean;
}

export type SubjectKeyRow = typeof subjectKey.$inferSelect;

/**
 * The public key that new secrets of a subject are sealed to, of the newest generation; made when there is none.
 * @throws VaultError public_key_untrusted when the stored key was not signed by this vault for this very subject.
 */
export async function sealingKey(
  database: Database,
  ring: KeyRing,
  subject: Subject,
  randomUUID: () => string,
): Promise<SealingKey> {
  const existing = await newestKey(database, subject);
  if (existing !== undefined) return trustedKey(existing, ring.verifyKey, subject);
  await inSubject(database, subject, (tx) => insertKey(tx, ring, subject, randomUUID(), 1));
  const made = await newestKey(database, subject);
  if (made === undefined) throw new Error("a subject key vanished as it was made");
  return trustedKey(made, ring.verifyKey, subject);
}

/** @throws VaultError credential_integrity_error when the key is gone, or belongs to somebody else. */
export async function openingKey(
  database: Database,
  ring: KeyRing,
  subject: Subject,
  keyId: string,
): Promise<OpeningKey> {
  const [row] = await inSubject(database, subject, (tx) =>
    tx
      .select()
      .from(subjectKey)
      .where(and(eq(subjectKey.organizationId, subject.organizationId), eq(subjectKey.keyId, keyId))),
  );
  // Another process may have wrapped it under a key that was added to the file since this one started.
  if (row !== undefined && !ring.ids.includes(row.kekId)) await refreshKeyRing(database, ring);
  const privateKey = row === undefined ? undefined : unwrapKey(row, subject, ring);
  if (row === undefined || privateKey === undefined)
    throw new VaultError("credential_integrity_error", "the credential's key is gone or is somebody else's");
  return { privateKey, superseded: row.supersededAt !== null };
}

/**
 * Keeps keys from being destroyed until the transaction ends, so that what is being sealed to them can be opened later.
 * @returns those that still exist.
 */
export async function holdKeys(
  tx: Queryable,
  organizationId: string | null,
  keyIds: readonly string[],
): Promise<ReadonlySet<string>> {
  const rows = await run<{ key_id: string }>(tx, HOLD_KEYS, [organizationId, keyIds]);
  return new Set(rows.map((row) => row.key_id));
}

/** Ordered, as everybody locks keys: two orders would wait for each other. */
const HOLD_KEYS = `
SELECT key_id FROM vault.subject_key
WHERE ($1::text IS NULL OR organization_id = $1) AND key_id = ANY ($2::uuid[]) ORDER BY key_id FOR SHARE`;

/** Gives a subject a key pair of the next generation; does nothing when another process was first. */
export function supersede(
  database: Database,
  ring: KeyRing,
  newest: SubjectKeyRow,
  randomUUID: () => string,
): Promise<void> {
  const subject = subjectOf(newest);
  const generation = newest.generation + 1;
  return inSubject(database, subject, async (tx) => {
    await insertKey(tx, ring, subject, randomUUID(), generation);
    const { organizationId, ownerKind, ownerId } = newest;
    await tx
      .update(subjectKey)
      .set({ supersededAt: sql`now()` })
      .where(
        and(
          eq(subjectKey.organizationId, organizationId),
          eq(subjectKey.ownerKind, ownerKind),
          eq(subjectKey.ownerId, ownerId),
          lt(subjectKey.generation, generation),
          isNull(subjectKey.supersededAt),
        ),
      );
    await appendAudit(tx, {
      organizationId,
      action: "key.supersede",
      actor: "vault",
      owner: subject.owner,
      detail: newest.keyId,
    });
  });
}

/** The private half of a row, to be wiped by the caller; undefined when it was not wrapped for this subject. */
export const unwrapKey = (row: SubjectKeyRow, subject: Subject, ring: KeyRing): Uint8Array | undefined =>
  unwrap(row, privateKeyContext(subject, row.keyId, row.kekId), ring.key(row.kekId));

/** Wraps a private key under the newest key of the ring. */
export function wrapKey(privateKey: Uint8Array, subject: Subject, keyId: string, ring: KeyRing) {
  const kekId = ring.newestId;
  return { kekId, ...wrap(privateKey, privateKeyContext(subject, keyId, kekId), ring.key(kekId)) };
}

export const subjectOf = (row: Pick<SubjectKeyRow, "organizationId" | "ownerKind" | "ownerId">): Subject => ({
  organizationId: row.organizationId,
  owner: { kind: row.ownerKind, id: row.ownerId },
});

/**
 * Judges a public key as it is stored, with nothing but the verify key: for writers, too, who can open nothing.
 * @throws VaultError public_key_untrusted.
 */
export function trustedKey(
  row: Pick<SubjectKeyRow, "keyId" | "publicKey" | "signature" | "generation">,
  verifyKey: Uint8Array,
  subject: Subject,
): SealingKey {
  const context = publicKeyContext(subject, row.keyId, row.generation);
  if (!isSignedPublicKey(row.publicKey, row.signature, context, verifyKey))
    throw new VaultError(
      "public_key_untrusted",
      "a stored public key was not signed for its subject: nothing was written",
    );
  return { keyId: row.keyId, publicKey: row.publicKey };
}

const inSubject = <T>(
  database: Database,
  { organizationId }: Subject,
  work: (tx: Queryable) => Promise<T>,
): Promise<T> => withOrganization(database, organizationId, work, "vault");

async function newestKey(database: Database, subject: Subject): Promise<SubjectKeyRow | undefined> {
  const { organizationId, owner } = subject;
  const [row] = await inSubject(database, subject, (tx) =>
    tx
      .select()
      .from(subjectKey)
      .where(
        and(
          eq(subjectKey.organizationId, organizationId),
          eq(subjectKey.ownerKind, owner.kind),
          eq(subjectKey.ownerId, owner.id),
        ),
      )
      .orderBy(desc(subjectKey.generation))
      .limit(1),
  );
  return row;
}

/** Does nothing when another process was first. */
async function insertKey(
  tx: Queryable,
  ring: KeyRing,
  subject: Subject,
  keyId: string,
  generation: number,
): Promise<void> {
  const { publicKey, privateKey } = newKeyPair();
  const wrapped = wrapKey(privateKey, subject, keyId, ring);
  wipe(privateKey);
  await tx
    .insert(subjectKey)
    .values({
      keyId,
      organizationId: subject.organizationId,
      ownerKind: subject.owner.kind,
      ownerId: subject.owner.id,
      generation,
      publicKey,
      signature: signPublicKey(publicKey, publicKeyContext(subject, keyId, generation), ring.signingSeed),
      ...wrapped,
    })
    .onConflictDoNothing();
}

const privateKeyContext = ({ organizationId, owner }: Subject, keyId: string, kekId: string): Uint8Array =>
  contextBytes("vault/v1", "subject-sk", organizationId, owner.kind, owner.id, keyId, kekId);

const publicKeyContext = ({ organizationId, owner }: Subject, keyId: string, generation: number): Uint8Array =>
  contextBytes("vault/v1", "subject-pk", organizationId, owner.kind, owner.id, keyId, String(generation));
