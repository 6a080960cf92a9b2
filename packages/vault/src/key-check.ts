import { timingSafeEqual } from "node:crypto";
import { type Database, type Queryable, run } from "@tributary/db";
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
  const checks = await database.query.select().from(keyCheck).limit(100);
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
  await assertKeysFit(database.query, loaded);
  await database.transaction(async (tx) => {
    await run(tx, LOCK);
    // Again under the lock: another hub may have started meanwhile, with other keys.
    await assertKeysFit(tx, loaded);
    for (const id of [...loaded.ids, SIGNING])
      await tx
        .insert(keyCheck)
        .values({ keyId: id, checkValue: checkValue(loaded, id) })
        .onConflictDoNothing();
  });
  return loaded;
}

async function assertKeysFit(on: Queryable, ring: KeyRing): Promise<void> {
  for (const { keyId, checkValue: expected } of await on.select().from(keyCheck).limit(100)) {
    const known = keyId === SIGNING || ring.ids.includes(keyId);
    if (known && !timingSafeEqual(expected, checkValue(ring, keyId)))
      throw new VaultError("key_invalid", `the key "${keyId}" is not the one that the database was written under`);
  }
  const used = await on.selectDistinct({ kekId: subjectKey.kekId }).from(subjectKey);
  const missing = used.find(({ kekId }) => !ring.ids.includes(kekId));
  if (missing !== undefined)
    throw new VaultError("key_missing", `the key "${missing.kekId}" is not in the key ring, and credentials need it`);
}

const checkValue = (ring: KeyRing, id: string): Uint8Array =>
  keyCheckValue(id, id === SIGNING ? ring.signingSeed : ring.key(id));
