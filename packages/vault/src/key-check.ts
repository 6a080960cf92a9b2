import { timingSafeEqual } from "node:crypto";
import { acrossOrganizations, type Database, type Queryable, run } from "@tributary/db";
import { VaultError } from "./errors.ts";
import { createKeyFile, type KeyRing, type KeySource, readKeyRing } from "./keys.ts";
import { keyCheck, subjectKey } from "./schema.ts";
import { keyCheckValue } from "./seal.ts";

/** The signing key has a check as well: with another one, every stored public key would be refused. */
const SIGNING = "signing";
const LOCK = "SELECT pg_advisory_xact_lock(hashtext('tributary.vault.keys'))";

/**
 * Brings the keys and the data together at start. The first start, with no data and no file, makes the file.
 * @throws VaultError key_missing when there is data and its key is not there; key_invalid when a key is not the one that
 * the data was written under. Neither writes anything.
 */
export async function loadCheckedKeyRing(database: Database, source: KeySource): Promise<KeyRing> {
  const checks = await asKeeper(database, (tx) => tx.select().from(keyCheck).limit(100));
  let ring = await readKeyRing(source);
  if (ring === undefined && "file" in source) {
    const known = checks.filter(({ keyId }) => keyId !== SIGNING).map(({ keyId }) => `"${keyId}"`);
    if (known.length > 0)
      throw new VaultError(
        "key_missing",
        `the key file is missing, and the database holds credentials written under ${known.join(", ")}: ` +
          "restore the file, or start with an empty database",
      );
    await createKeyFile(source.file);
    ring = await readKeyRing(source);
  }
  if (ring === undefined) throw new VaultError("key_missing", "there is no key file");
  const loaded = ring;
  await asKeeper(database, (tx) => assertKeysFit(tx, loaded));
  await admit(database, loaded);
  return loaded;
}

/**
 * Reads the ring's file again and takes its keys over, when they fit the data. A file that does not, or that is gone,
 * changes nothing: the keys in memory are good.
 */
export async function refreshKeyRing(database: Database, ring: KeyRing): Promise<void> {
  if (ring.file === undefined) return;
  try {
    const later = await readKeyRing({ file: ring.file });
    if (later === undefined || !timingSafeEqual(later.verifyKey, ring.verifyKey)) return;
    await admit(database, later);
    ring.become(later);
  } catch (error) {
    if (!(error instanceof VaultError)) throw error;
  }
}

/** Writes down the check of every key that data may be written under from now on. */
const admit = (database: Database, ring: KeyRing): Promise<void> =>
  asKeeper(database, async (tx) => {
    await run(tx, LOCK);
    // Under the lock: another hub may have started meanwhile, with other keys.
    await assertKeysFit(tx, ring);
    for (const id of [...ring.ids, SIGNING])
      await tx
        .insert(keyCheck)
        .values({ keyId: id, checkValue: checkValue(ring, id) })
        .onConflictDoNothing();
  });

const asKeeper = <T>(database: Database, work: (tx: Queryable) => Promise<T>): Promise<T> =>
  acrossOrganizations(database, "keeper", work);

async function assertKeysFit(on: Queryable, ring: KeyRing): Promise<void> {
  // Named first: a ring that is another one altogether has no key with the right name.
  const used = await on.selectDistinct({ kekId: subjectKey.kekId }).from(subjectKey);
  const missing = used.filter(({ kekId }) => !ring.ids.includes(kekId)).map(({ kekId }) => `"${kekId}"`);
  if (missing.length > 0)
    throw new VaultError("key_missing", `not in the key ring, and credentials need it: the key ${missing.join(", ")}`);
  for (const { keyId, checkValue: expected } of await on.select().from(keyCheck).limit(100)) {
    const known = keyId === SIGNING || ring.ids.includes(keyId);
    if (known && !timingSafeEqual(expected, checkValue(ring, keyId)))
      throw new VaultError("key_invalid", `the key "${keyId}" is not the one that the database was written under`);
  }
}

const checkValue = (ring: KeyRing, id: string): Uint8Array =>
  keyCheckValue(id, id === SIGNING ? ring.signingSeed : ring.key(id));
