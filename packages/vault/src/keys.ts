import { randomBytes } from "node:crypto";
import { link, open, readFile, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { VaultError } from "./errors.ts";
import { verifyKeyOf } from "./seal.ts";

/**
 * Where the keys come from: a file of this machine, or the same JSON as a value (an environment variable, a mounted secret).
 *
 * To change the key of a file: `tributary keys new`, then `tributary keys rotate kek`; running hubs read the file again
 * when they meet a key that they do not know. To change it as a value: add the new one at the end of `keys` and restart
 * every hub; then move it to the front and restart again, which wraps everything under it. Then remove the old one. In
 * between, hubs with either order work together.
 */
export type KeySource = { readonly file: string } | { readonly value: string };

/** The keys in memory. Prints as its ids, whatever prints it. */
export class KeyRing {
  #keys: readonly { readonly id: string; readonly key: Uint8Array }[];
  readonly #signingSeed: Uint8Array;
  /** Ed25519; verifies public keys that this ring signed. */
  readonly verifyKey: Uint8Array;
  /** The file that it was read from, which may have been changed since. */
  readonly file: string | undefined;

  constructor(
    keys: readonly { readonly id: string; readonly key: Uint8Array }[],
    signingSeed: Uint8Array,
    file?: string,
  ) {
    this.#keys = keys;
    this.#signingSeed = signingSeed;
    this.verifyKey = verifyKeyOf(signingSeed);
    this.file = file;
  }
  /** Takes over the keys of the same ring as it was read later. The signing key never changes. */
  become(later: KeyRing): void {
    this.#keys = later.#keys;
  }
  /** Newest first. */
  get ids(): readonly string[] {
    return this.#keys.map(({ id }) => id);
  }
  /** The one that new data is written under. */
  get newestId(): string {
    return this.#keys[0]?.id ?? "";
  }
  /** @throws VaultError key_missing */
  key(id: string): Uint8Array {
    const found = this.#keys.find((key) => key.id === id);
    if (found === undefined) throw new VaultError("key_missing", `the key "${id}" is not in the key ring`);
    return found.key;
  }
  get signingSeed(): Uint8Array {
    return this.#signingSeed;
  }
}

const key32 = z
  .base64url()
  .transform((text) => new Uint8Array(Buffer.from(text, "base64url")))
  .refine((bytes) => bytes.length === 32);
const keyFile = z.strictObject({
  version: z.literal(1),
  /** Newest first: it wraps; all of them unwrap. */
  keys: z
    .array(
      z.strictObject({ id: z.string().regex(/^[a-z0-9-]{1,32}$/), key: key32, createdAt: z.iso.datetime().optional() }),
    )
    .min(1)
    .max(16),
  signingSeed: key32,
});

/**
 * Makes a key file with fresh keys, readable by this user alone. Written beside and linked into place, so that it is
 * never half there and never replaces another.
 * @returns false when the file exists already.
 * @throws VaultError key_missing when its folder does not exist or cannot be written.
 */
export async function createKeyFile(path: string): Promise<boolean> {
  const content = { version: 1, keys: [freshKey()], signingSeed: randomBytes(32).toString("base64url") };
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    const file = await open(temporary, "wx", 0o600);
    try {
      await file.writeFile(`${JSON.stringify(content, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await link(temporary, path);
    const folder = await open(dirname(path), "r");
    await folder.sync().finally(() => folder.close());
    return true;
  } catch (error) {
    if (errorCode(error) === "EEXIST") return false;
    throw new VaultError("key_missing", `the key file cannot be made (${errorCode(error)})`);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** A key as a ring's JSON has it. */
export const freshKey = (): { readonly id: string; readonly key: string } => ({
  id: `k-${randomBytes(4).toString("hex")}`,
  key: randomBytes(32).toString("base64url"),
});

/**
 * Reads a key ring; makes nothing.
 * @returns undefined when the file does not exist.
 * @throws VaultError key_invalid when it is not a key ring, or when others on the machine may read it.
 */
export async function readKeyRing(source: KeySource): Promise<KeyRing | undefined> {
  if ("value" in source) return parseKeyRing(source.value);
  try {
    const { mode } = await stat(source.file);
    if ((mode & 0o077) !== 0)
      throw new VaultError("key_invalid", "others may read the key file: its mode must be 0600");
    return parseKeyRing(await readFile(source.file, "utf8"), source.file);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    if (error instanceof VaultError) throw error;
    throw new VaultError("key_invalid", `the key file cannot be read (${errorCode(error)})`);
  }
}

function parseKeyRing(text: string, file?: string): KeyRing {
  const refuse = (why: string): never => {
    throw new VaultError("key_invalid", `the key ring ${why}`);
  };
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return refuse("is not JSON");
  }
  const parsed = keyFile.safeParse(json);
  if (!parsed.success)
    return refuse(
      `is malformed at ${parsed.error.issues.map((issue) => issue.path.join(".")).join(", ") || "its root"}`,
    );
  const { keys, signingSeed } = parsed.data;
  if (new Set(keys.map(({ id }) => id)).size !== keys.length) return refuse("names one id twice");
  return new KeyRing(keys, signingSeed, file);
}

const errorCode = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error ? String(error.code) : "unknown";
