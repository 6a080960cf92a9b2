import { randomBytes } from "node:crypto";
import { open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { VaultError } from "./errors.ts";
import { freshKey, type KeySource, readKeyRing } from "./keys.ts";

interface RingJson {
  readonly version: 1;
  readonly keys: readonly { readonly id: string; readonly key: string; readonly createdAt?: string }[];
  readonly signingSeed: string;
}

/**
 * Adds a fresh key at the end: every process that reads the ring can open what it will wrap, and none wraps with it yet.
 * @returns its id, and the whole ring as JSON where it came as a value and has to be put back where it came from.
 * @throws VaultError key_missing when there is no file · key_invalid when it is no key ring.
 */
export async function addKey(source: KeySource, now: Date): Promise<{ readonly id: string; readonly ring?: string }> {
  const ring = await readJson(source);
  const key = { ...freshKey(), createdAt: now.toISOString() };
  const next: RingJson = { ...ring, keys: [...ring.keys, key] };
  if ("value" in source) return { id: key.id, ring: JSON.stringify(next) };
  await replaceFile(source.file, next);
  return { id: key.id };
}

/**
 * Puts the youngest key first, so that it wraps what is new. Asking twice changes nothing.
 * @returns its id. A ring that came as a value stays as it is: its order is whoever's that keeps it.
 */
export async function promoteYoungestKey(source: KeySource): Promise<string> {
  const ring = await readJson(source);
  // A key without a date is older than any with one: the first of a ring has none.
  const [youngest, ...others] = ring.keys.toSorted((one, other) =>
    (other.createdAt ?? "").localeCompare(one.createdAt ?? ""),
  );
  const [first] = ring.keys;
  if (youngest === undefined || first === undefined) throw new VaultError("key_missing", "the key ring is empty");
  if ("value" in source || youngest.id === first.id) return first.id;
  await replaceFile(source.file, { ...ring, keys: [youngest, ...others] });
  return youngest.id;
}

async function readJson(source: KeySource): Promise<RingJson> {
  // Judged as at start: mode, shape, ids. What is read here is written back.
  if ((await readKeyRing(source)) === undefined) throw new VaultError("key_missing", "there is no key file");
  return JSON.parse("value" in source ? source.value : await readFile(source.file, "utf8")) as RingJson;
}

/** Written beside, synced and renamed into place: never half there, whatever happens meanwhile. */
async function replaceFile(path: string, content: RingJson): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    const file = await open(temporary, "wx", 0o600);
    try {
      await file.writeFile(`${JSON.stringify(content, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    const folder = await open(dirname(path), "r");
    await folder.sync().finally(() => folder.close());
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown";
    throw new VaultError("key_invalid", `the key file cannot be written (${code})`);
  } finally {
    await rm(temporary, { force: true });
  }
}
