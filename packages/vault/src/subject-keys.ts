import { and, desc, eq, ne } from "drizzle-orm";
import type { Database } from "@tributary/db";
import { VaultError } from "./errors.ts";
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

/**
 * The public key that new secrets of a subject are sealed to; made when there is none.
 * @throws VaultError public_key_untrusted when the stored key was not signed by this vault for this very subject.
 */
export async function sealingKey(
  database: Database,
  ring: KeyRing,
  subject: Subject,
  randomUUID: () => string,
): Promise<SealingKey> {
  const existing = await newestKey(database, subject);
  if (existing !== undefined) return trusted(existing, ring, subject);
  await insertKey(database, ring, subject, randomUUID());
  const made = await newestKey(database, subject);
  if (made === undefined) throw new Error("a subject key vanished as it was made");
  return trusted(made, ring, subject);
}

/**
 * The private half of a key, to be wiped by the caller.
 * @throws VaultError credential_integrity_error when the key is gone, or belongs to somebody else.
 */
export async function openingKey(
  database: Database,
  ring: KeyRing,
  subject: Subject,
  keyId: string,
): Promise<Uint8Array> {
  const [row] = await database.query
    .select()
    .from(subjectKey)
    .where(and(eq(subjectKey.organizationId, subject.organizationId), eq(subjectKey.keyId, keyId)));
  const key =
    row === undefined ? undefined : unwrap(row, privateKeyContext(subject, row.keyId, row.kekId), ring.key(row.kekId));
  if (key === undefined)
    throw new VaultError("credential_integrity_error", "the credential's key is gone or is somebody else's");
  return key;
}

/**
 * Wraps every private key under the newest key of the ring. Secrets stay as they are: they are sealed to key pairs.
 * @returns how many were wrapped anew; afterwards nothing needs the older keys.
 */
export async function rewrapKeys(database: Database, ring: KeyRing): Promise<number> {
  let count = 0;
  for (;;) {
    const rows = await database.query.select().from(subjectKey).where(ne(subjectKey.kekId, ring.newestId)).limit(500);
    for (const row of rows) {
      const subject = { organizationId: row.organizationId, owner: { kind: row.ownerKind, id: row.ownerId } };
      const privateKey = unwrap(row, privateKeyContext(subject, row.keyId, row.kekId), ring.key(row.kekId));
      if (privateKey === undefined)
        throw new VaultError(
          "credential_integrity_error",
          "a stored key is not the one that was wrapped for its subject",
        );
      const wrapped = wrap(privateKey, privateKeyContext(subject, row.keyId, ring.newestId), ring.key(ring.newestId));
      wipe(privateKey);
      await database.query
        .update(subjectKey)
        .set({ kekId: ring.newestId, ...wrapped })
        .where(and(eq(subjectKey.keyId, row.keyId), eq(subjectKey.kekId, row.kekId)));
    }
    count += rows.length;
    if (rows.length === 0) return count;
  }
}

type Row = typeof subjectKey.$inferSelect;

async function newestKey(database: Database, { organizationId, owner }: Subject): Promise<Row | undefined> {
  const [row] = await database.query
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
    .limit(1);
  return row;
}

/** Does nothing when another process was first. */
async function insertKey(database: Database, ring: KeyRing, subject: Subject, keyId: string): Promise<void> {
  const { publicKey, privateKey } = newKeyPair();
  const kekId = ring.newestId;
  const generation = 1;
  const wrapped = wrap(privateKey, privateKeyContext(subject, keyId, kekId), ring.key(kekId));
  wipe(privateKey);
  await database.query
    .insert(subjectKey)
    .values({
      keyId,
      organizationId: subject.organizationId,
      ownerKind: subject.owner.kind,
      ownerId: subject.owner.id,
      generation,
      publicKey,
      signature: signPublicKey(publicKey, publicKeyContext(subject, keyId, generation), ring.signingSeed),
      kekId,
      ...wrapped,
    })
    .onConflictDoNothing();
}

function trusted(row: Row, ring: KeyRing, subject: Subject): SealingKey {
  const context = publicKeyContext(subject, row.keyId, row.generation);
  if (!isSignedPublicKey(row.publicKey, row.signature, context, ring.verifyKey))
    throw new VaultError(
      "public_key_untrusted",
      "a stored public key was not signed for its subject: nothing was written",
    );
  return { keyId: row.keyId, publicKey: row.publicKey };
}

const privateKeyContext = ({ organizationId, owner }: Subject, keyId: string, kekId: string): Uint8Array =>
  contextBytes("vault/v1", "subject-sk", organizationId, owner.kind, owner.id, keyId, kekId);

const publicKeyContext = ({ organizationId, owner }: Subject, keyId: string, generation: number): Uint8Array =>
  contextBytes("vault/v1", "subject-pk", organizationId, owner.kind, owner.id, keyId, String(generation));
