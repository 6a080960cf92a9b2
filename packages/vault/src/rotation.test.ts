import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Database, migrate, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createDataKeys } from "./data-keys.ts";
import { openOnce, readGrant, readSecret, writeGeneration } from "./grants.ts";
import { migrations } from "./index.ts";
import { loadCheckedKeyRing } from "./key-check.ts";
import { type KeyKeeper, openKeyKeeper } from "./key-keeper.ts";
import { createOutbound } from "./outbound.ts";
import type { VaultParts } from "./parts.ts";
import { resealSecrets, retireKeys, rewrapKeys, type RotationStep, startGenerations } from "./rotation.ts";
import type { CredentialScope } from "./vault.ts";

const folder = mkdtempSync(join(tmpdir(), "tributary-rotation-"));
let database: Database;
let parts: VaultParts;
let file: string;
beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [migrations]);
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await database.close();
});
beforeEach(async () => {
  await asOwner(database, (tx) => run(tx, "TRUNCATE vault.key_check, vault.rotation, vault.credential_grant CASCADE"));
  file = join(folder, `${randomUUID()}.json`);
  parts = {
    database,
    ring: await loadCheckedKeyRing(database, { file }),
    outbound: createOutbound({ origins: new Map() }),
    clients: [],
    publicOrigin: "https://hub.example.com",
    limits: { requestMs: 1, tokenRequestMs: 1, responseBytesMax: 1 },
    now: () => new Date("2026-11-21T10:00:00Z"),
    randomUUID,
    renewals: new Map(),
    dataKeys: createDataKeys(() => new Date()),
    erasureLedger: undefined,
  };
});

const scopeOf = (n: number): CredentialScope => ({
  organizationId: n % 2 === 0 ? "acme" : "globex",
  integration: "tasks",
  owner: { kind: "user", id: `u${n}` },
  credentialId: `c-${n}`,
});
const ACCESS = { purpose: "sync", correlationId: "run-1" } as const;
const SUBJECTS = 4;
const all = Array.from({ length: SUBJECTS }, (_, n) => scopeOf(n));

async function write(scope: CredentialScope, value: string): Promise<void> {
  const tokens = { fields: new Map([["access_token", value]]), scopes: undefined, expiresInSeconds: undefined };
  const grant = await writeGeneration(parts, scope, await readGrant(parts, scope), tokens, []);
  if (grant === undefined) throw new Error("not written");
}
const plant = async (): Promise<void> => {
  for (const scope of all) await write(scope, `canary-${scope.credentialId}`);
};
const opened = async (by = parts): Promise<(string | undefined)[]> => {
  const values = [];
  for (const scope of all) {
    const generation = (await readGrant(by, scope))?.generation ?? 0;
    values.push(await openOnce(by, scope, "access_token", generation, ACCESS));
  }
  return values;
};
const canaries = all.map((scope) => `canary-${scope.credentialId}`);
const keeperOf = (alone = true): Promise<KeyKeeper> => openKeyKeeper({ database, keys: { file }, alone });
const rows = <T>(text: string): Promise<T[]> => asOwner(database, (tx) => run<T>(tx, text));
const keyIdOf = async (scope: CredentialScope) => (await readSecret(parts, scope, "access_token", 1, ACCESS))?.keyId;

/** Dies at the n-th step, as a process that is killed after it. */
function dyingAt(n: number): (step: RotationStep) => void {
  let seen = 0;
  return () => {
    if (++seen === n) throw new Error("killed");
  };
}

describe("a change of the key-encryption key", () => {
  it("wraps everything under the youngest key of the file, and the old one may go", async () => {
    await plant();
    const keeper = await keeperOf();
    const [old] = (await keeper.status()).keys;
    const { id } = await keeper.addKey();
    expect((await keeper.status()).keys).toEqual([
      { id: old?.id, inRing: true, wraps: SUBJECTS },
      { id, inRing: true, wraps: 0 },
    ]);
    expect(await keeper.rotateKek()).toEqual({ id, changed: SUBJECTS, unreadable: 0 });
    expect(await keeper.rotateKek()).toEqual({ id, changed: 0, unreadable: 0 });
    expect((await keeper.status()).keys).toEqual([
      { id, inRing: true, wraps: SUBJECTS },
      { id: old?.id, inRing: true, wraps: 0 },
    ]);
    const ring = JSON.parse(readFileSync(file, "utf8")) as { keys: { id: string }[] };
    writeFileSync(file, JSON.stringify({ ...ring, keys: ring.keys.filter((key) => key.id === id) }), { mode: 0o600 });
    expect(await opened({ ...parts, ring: await loadCheckedKeyRing(database, { file }) })).toEqual(canaries);
  });

  it("is noticed by a hub that runs, from the file, when it meets a key that it does not know", async () => {
    await plant();
    const keeper = await keeperOf(false);
    const { id } = await keeper.addKey();
    await keeper.rotateKek();
    expect(parts.ring.ids).not.toContain(id);
    expect(await opened()).toEqual(canaries);
    expect(parts.ring.newestId).toBe(id);
  });

  it("that is killed at any step leaves everything readable, and goes on where it was", async () => {
    await plant();
    for (let n = 1; n <= SUBJECTS; n++) {
      const keeper = await keeperOf();
      await keeper.addKey();
      await expect(keeper.rotateKek(dyingAt(n))).rejects.toThrow("killed");
      expect(await opened()).toEqual(canaries);
      const left = (await (await keeperOf()).status()).keys.slice(1).reduce((sum, { wraps }) => sum + wraps, 0);
      expect(left).toBe(SUBJECTS - n);
      expect(await (await keeperOf()).rotateKek()).toMatchObject({ changed: left });
      expect(await opened()).toEqual(canaries);
    }
  });

  it("says how far it is, and passes over a row that was damaged", async () => {
    await plant();
    await rows("UPDATE vault.subject_key SET wrapped = nonce WHERE owner_id = 'u1'");
    const keeper = await keeperOf();
    await keeper.addKey();
    const seen: RotationStep[] = [];
    expect(await keeper.rotateKek((step) => seen.push(step))).toMatchObject({ changed: SUBJECTS - 1, unreadable: 1 });
    expect(seen).toEqual(Array.from({ length: SUBJECTS }, (_, n) => ({ step: "wrap", done: n + 1, total: SUBJECTS })));
  });

  it("of a ring that comes as a value is its keeper's: the new ring is given back, and the order is not changed", async () => {
    const value = readFileSync(file, "utf8");
    const keeper = await openKeyKeeper({ database, keys: { value }, alone: true });
    const { id, ring } = await keeper.addKey();
    expect(readFileSync(file, "utf8")).toBe(value);
    const next = JSON.parse(ring ?? "") as { keys: { id: string }[] };
    expect(next.keys.map((key) => key.id)).toEqual([parts.ring.newestId, id]);
    expect(
      await (await openKeyKeeper({ database, keys: { value: ring ?? "" }, alone: true })).rotateKek(),
    ).toMatchObject({ id: parts.ring.newestId });
  });

  it("does not take over a file that is broken, gone, or another ring's", async () => {
    await plant();
    const before = readFileSync(file, "utf8");
    const other = JSON.parse(before) as { keys: { id: string; key: string }[]; signingSeed: string };
    const damaged = ["{", "", JSON.stringify({ ...other, signingSeed: Buffer.alloc(32, 1).toString("base64url") })];
    for (const text of damaged) {
      writeFileSync(file, text, { mode: 0o600 });
      await rows("UPDATE vault.subject_key SET kek_id = 'signing'");
      await expect(opened()).rejects.toMatchObject({ code: "key_missing" });
      await rows(`UPDATE vault.subject_key SET kek_id = '${parts.ring.newestId}'`);
      expect(await opened()).toEqual(canaries);
    }
  });
});

describe("a new generation of key pairs", () => {
  it("takes all writes at once, while both generations are read", async () => {
    await plant();
    const before = await keyIdOf(scopeOf(0));
    expect(await startGenerations(parts)).toEqual({ changed: SUBJECTS });
    await write(scopeOf(0), "canary-next");
    const stored = await readSecret(parts, scopeOf(0), "access_token", 2, ACCESS);
    expect(stored?.keyId).not.toBe(before);
    expect(await keyIdOf(scopeOf(1))).toBeDefined();
    expect(await opened()).toEqual(["canary-next", ...canaries.slice(1)]);
  });

  it("is what a secret is sealed to when it is next used, and what was not used follows in the background", async () => {
    await plant();
    await startGenerations(parts);
    const old = await keyIdOf(scopeOf(2));
    expect(await openOnce(parts, scopeOf(2), "access_token", 1, ACCESS)).toBe(canaries[2]);
    expect(await keyIdOf(scopeOf(2))).not.toBe(old);
    expect(await (await keeperOf()).status()).toMatchObject({
      secretsToReseal: SUBJECTS - 1,
      oldGenerations: SUBJECTS,
    });
    expect(await resealSecrets(parts, { limit: 2 })).toEqual({ changed: 2, unreadable: 0 });
    expect(await resealSecrets(parts)).toEqual({ changed: 1, unreadable: 0 });
    expect(await retireKeys(database, 0)).toBe(SUBJECTS);
    expect(await opened()).toEqual(canaries);
    expect((await (await keeperOf()).status()).rotation).toMatchObject({
      subjectsLeft: 0,
      finishedAt: expect.any(String),
    });
  });

  it("lets an old pair go only when nothing has needed it for a while", async () => {
    await plant();
    await startGenerations(parts);
    expect(await retireKeys(database, 0)).toBe(0);
    await resealSecrets(parts);
    expect(await retireKeys(database, 60_000)).toBe(0);
    await rows("UPDATE vault.subject_key SET unused_since = unused_since - interval '1 minute' WHERE owner_id = 'u0'");
    expect(await retireKeys(database, 60_000)).toBe(1);
    // A writer that was slow: its secret makes the pair needed again.
    await rows(`UPDATE vault.secret SET key_id = (SELECT key_id FROM vault.subject_key WHERE owner_id = 'u1' AND generation = 1)
      WHERE credential_id = 'c-1'`);
    await rows("UPDATE vault.subject_key SET unused_since = unused_since - interval '1 minute'");
    expect(await retireKeys(database, 60_000)).toBe(SUBJECTS - 2);
    expect(await rows("SELECT 1 FROM vault.subject_key WHERE unused_since IS NOT NULL")).toEqual([]);
  });

  it("does not write over what somebody else wrote meanwhile", async () => {
    await plant();
    await startGenerations(parts);
    const keeper = await keeperOf();
    const writes = all.map((scope, n) => write(scope, `canary-later-${n}`));
    await Promise.all([...writes, keeper.rotateSubjects(), resealSecrets(parts), resealSecrets(parts)]);
    expect(await opened()).toEqual(all.map((_, n) => `canary-later-${n}`));
  });

  it("that is killed at any step leaves everything readable, and gives nobody two", async () => {
    await plant();
    // Four new pairs, four secrets, one look at what is unused.
    for (let n = 1; n <= 2 * SUBJECTS + 1; n++) {
      await expect((await keeperOf()).rotateSubjects(dyingAt(n))).rejects.toThrow("killed");
      expect(await opened()).toEqual(canaries);
      await (await keeperOf()).rotateSubjects();
      expect(await opened()).toEqual(canaries);
      const [generations] = await rows<{ most: number; keys: number }>(
        "SELECT max(generation) AS most, count(*)::int AS keys FROM vault.subject_key",
      );
      // A rotation that had only its end left is over: then asking again is a new one.
      expect(generations?.keys).toBe(SUBJECTS);
      expect(generations?.most).toBeLessThanOrEqual(2 * n + 1);
    }
  });

  it("passes over a secret that was moved to another credential, and does not seal it there", async () => {
    await plant();
    await startGenerations(parts);
    await rows(`UPDATE vault.secret AS s SET ciphertext = o.ciphertext, nonce = o.nonce, sealed = o.sealed, key_id = o.key_id
      FROM vault.secret AS o WHERE s.credential_id = 'c-0' AND o.credential_id = 'c-2'`);
    expect(await resealSecrets(parts)).toEqual({ changed: SUBJECTS - 1, unreadable: 1 });
    await expect(openOnce(parts, scopeOf(0), "access_token", 1, ACCESS)).rejects.toMatchObject({
      code: "credential_integrity_error",
    });
    expect(await rewrapKeys(database, parts.ring)).toMatchObject({ unreadable: 0 });
  });
});
