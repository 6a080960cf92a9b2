import { plaintextOf, type StoredSecret } from "../src/grants.ts";
import { contextBytes, newKeyPair, openDataKey, openSecret, sealSecret } from "../src/seal.ts";
import type { CredentialScope } from "../src/vault.ts";

/**
 * Opening a stored secret whose data key the session has: the context is built from the caller's scope, the ciphertext
 * is opened, the plaintext becomes text and is wiped. The ceiling is libsodium's XChaCha20-Poly1305 on the same ciphertext,
 * by way of the one function that may call it, with the context made beforehand, and nothing is done with the plaintext.
 * One core; reading the rows, which every request does, is part of neither.
 */
const OPENINGS = 30_000;
const token = "tok_0123456789abcdef0123456789abcdef01234567";
const scope: CredentialScope = {
  organizationId: "acme",
  integration: "todoist",
  owner: { kind: "user", id: "0198f3a2-7c1e-7d7b-9f41-2a4b5c6d7e8f" },
  credentialId: "0198f3a2-7c1e-7d7b-9f41-2a4b5c6d7e90",
};

export default {
  name: "vault/open",
  unit: "openings/s",
  goal: { of: "ours", atLeast: 20_000 },
  async run() {
    const { stored, context, dataKey } = sealed();
    const ours = rate(() => plaintextOf(scope, "access_token", stored, dataKey).length);
    const ceiling = rate(() => openSecret(stored, context, dataKey)?.length ?? 0);
    return { ours, ceiling };
  },
};

function sealed(): { stored: StoredSecret; context: Uint8Array; dataKey: Uint8Array } {
  const { organizationId, integration, owner, credentialId } = scope;
  const keyId = "0198f3a2-7c1e-7d7b-9f41-2a4b5c6d7e91";
  const parts = [organizationId, integration, owner.kind, owner.id, credentialId, "access_token", "1", keyId];
  const context = contextBytes("vault/v1", "xchacha20poly1305+sealedbox", "secret", ...parts);
  const { publicKey, privateKey } = newKeyPair();
  const secret = sealSecret(Buffer.from(token), context, publicKey);
  const dataKey = openDataKey(secret, context, privateKey);
  if (dataKey === undefined) throw new Error("what was sealed does not open");
  return { stored: { ...secret, id: "0198f3a2-7c1e-7d7b-9f41-2a4b5c6d7e92", revision: 1, keyId }, context, dataKey };
}

/** Openings per second; every one must give the whole token. */
function rate(open: () => number): number {
  const start = performance.now();
  let bytes = 0;
  for (let opened = 0; opened < OPENINGS; opened++) bytes += open();
  if (bytes !== OPENINGS * token.length) throw new Error("something else was opened");
  return (OPENINGS / (performance.now() - start)) * 1000;
}
