import { randomBytes, timingSafeEqual } from "node:crypto";
import sodium from "libsodium-wrappers";

/**
 * The vault's cryptography, and the only importer of libsodium.
 *
 * A secret is encrypted under a fresh data key (XChaCha20-Poly1305); the data key is sealed to the subject's public key
 * together with a hash of the context (`crypto_box_seal`). Both halves are bound to the context, so neither opens in
 * another row, nor beside the other half of another row. Nonces come from node:crypto: libsodium's own generator is
 * eight times slower in WebAssembly, and both read the operating system's.
 */
await sodium.ready;

export const ALG = "xchacha20poly1305+sealedbox";
const KEY_BYTES = 32;
const NONCE_BYTES = 24;
const TAG_BYTES = 16;
/** Data key, hash of the context, and the overhead of a sealed box (an X25519 key and a Poly1305 tag). */
const SEALED_BYTES = KEY_BYTES + 32 + 48;

/** A secret as it is stored. */
export interface SealedSecret {
  readonly alg: string;
  readonly nonce: Uint8Array;
  readonly ciphertext: Uint8Array;
  readonly sealed: Uint8Array;
}

/** A key or a short secret, encrypted under a key-encryption key. */
export interface Wrapped {
  readonly nonce: Uint8Array;
  readonly wrapped: Uint8Array;
}

export interface KeyPair {
  readonly publicKey: Uint8Array;
  readonly privateKey: Uint8Array;
}

/**
 * Authenticated data: every part with its length before it (4 bytes, big-endian), so that two different lists never
 * have one encoding.
 */
export function contextBytes(...parts: readonly (string | Uint8Array)[]): Uint8Array {
  const encoded = parts.map((part) => (typeof part === "string" ? Buffer.from(wellFormed(part), "utf8") : part));
  const bytes = Buffer.alloc(encoded.reduce((sum, part) => sum + 4 + part.length, 0));
  let at = 0;
  for (const part of encoded) {
    bytes.writeUInt32BE(part.length, at);
    bytes.set(part, at + 4);
    at += 4 + part.length;
  }
  return bytes;
}

/** A lone surrogate would be encoded as U+FFFD, and two different ids would share one context. */
function wellFormed(part: string): string {
  if (!part.isWellFormed()) throw new TypeError("a context must be well-formed Unicode");
  return part;
}

/** Needs no private key: whoever has the public one can write, and cannot read what it wrote. */
export function sealSecret(plaintext: Uint8Array, context: Uint8Array, publicKey: Uint8Array): SealedSecret {
  const dataKey = randomBytes(KEY_BYTES);
  const nonce = randomBytes(NONCE_BYTES);
  const bundle = Buffer.concat([dataKey, sodium.crypto_generichash(32, context, null)]);
  try {
    const ciphertext = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, context, null, nonce, dataKey);
    return { alg: ALG, nonce, ciphertext, sealed: sodium.crypto_box_seal(bundle, publicKey) };
  } finally {
    wipe(dataKey, bundle);
  }
}

/** @returns undefined when the box was sealed to another key or for another context, or is not a box at all. */
export function openDataKey(secret: SealedSecret, context: Uint8Array, privateKey: Uint8Array): Uint8Array | undefined {
  if (secret.alg !== ALG || secret.sealed.length !== SEALED_BYTES) return undefined;
  // The public half is derived, so that a public key replaced in the database cannot take part in the opening.
  const publicKey = sodium.crypto_scalarmult_base(privateKey);
  const bundle = attempt(() => sodium.crypto_box_seal_open(secret.sealed, publicKey, privateKey));
  if (bundle === undefined) return undefined;
  try {
    const bound = timingSafeEqual(bundle.subarray(KEY_BYTES), sodium.crypto_generichash(32, context, null));
    return bound ? bundle.slice(0, KEY_BYTES) : undefined;
  } finally {
    wipe(bundle);
  }
}

/** @returns undefined when anything about the secret or its context differs from what was sealed. */
export function openSecret(secret: SealedSecret, context: Uint8Array, dataKey: Uint8Array): Uint8Array | undefined {
  return decrypt({ nonce: secret.nonce, wrapped: secret.ciphertext }, context, dataKey);
}

export function wrap(plaintext: Uint8Array, context: Uint8Array, key: Uint8Array): Wrapped {
  const nonce = randomBytes(NONCE_BYTES);
  const wrapped = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, context, null, nonce, key);
  return { nonce, wrapped };
}

/** @returns undefined when the key or the context is another. */
export const unwrap = (wrapped: Wrapped, context: Uint8Array, key: Uint8Array): Uint8Array | undefined =>
  decrypt(wrapped, context, key);

/** X25519. */
export function newKeyPair(): KeyPair {
  const { publicKey, privateKey } = sodium.crypto_box_keypair();
  return { publicKey, privateKey };
}

/** Ed25519 over the context and the public key. */
export function signPublicKey(publicKey: Uint8Array, context: Uint8Array, seed: Uint8Array): Uint8Array {
  const pair = sodium.crypto_sign_seed_keypair(seed);
  try {
    return sodium.crypto_sign_detached(Buffer.concat([context, publicKey]), pair.privateKey);
  } finally {
    wipe(pair.privateKey);
  }
}

export function isSignedPublicKey(
  publicKey: Uint8Array,
  signature: Uint8Array,
  context: Uint8Array,
  verifyKey: Uint8Array,
): boolean {
  if (publicKey.length !== KEY_BYTES || signature.length !== 64) return false;
  return sodium.crypto_sign_verify_detached(signature, Buffer.concat([context, publicKey]), verifyKey);
}

/** Ed25519 over a context alone: a statement that only this vault can have made. */
export function signContext(context: Uint8Array, seed: Uint8Array): Uint8Array {
  return signPublicKey(new Uint8Array(), context, seed);
}

export const isSignedContext = (context: Uint8Array, signature: Uint8Array, verifyKey: Uint8Array): boolean =>
  signature.length === 64 && sodium.crypto_sign_verify_detached(signature, context, verifyKey);

/** The public half of an Ed25519 seed. */
export function verifyKeyOf(seed: Uint8Array): Uint8Array {
  const pair = sodium.crypto_sign_seed_keypair(seed);
  wipe(pair.privateKey);
  return pair.publicKey;
}

/** Tells a key from another without telling anything of the key: keyed BLAKE2b of a constant. */
export const keyCheckValue = (keyId: string, key: Uint8Array): Uint8Array =>
  sodium.crypto_generichash(32, contextBytes("vault/v1", "key-check", keyId), key);

/** Overwrites what can be overwritten. Copies that the garbage collector or a string made stay until they are collected. */
export function wipe(...secrets: readonly Uint8Array[]): void {
  for (const bytes of secrets) sodium.memzero(bytes);
}

function decrypt(box: Wrapped, context: Uint8Array, key: Uint8Array): Uint8Array | undefined {
  if (box.nonce.length !== NONCE_BYTES || box.wrapped.length < TAG_BYTES || key.length !== KEY_BYTES) return undefined;
  return attempt(() => sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(null, box.wrapped, context, box.nonce, key));
}

/** libsodium throws when authentication fails; its message is not worth keeping. */
function attempt(open: () => Uint8Array): Uint8Array | undefined {
  try {
    return open();
  } catch {
    return undefined;
  }
}
