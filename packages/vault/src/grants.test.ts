import { asOwner } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Database, migrate, openPglite, run } from "@tributary/db";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDataKeys } from "./data-keys.ts";
import {
  dataKeyOf,
  openOnce,
  plaintextOf,
  readGrant,
  readSecret,
  secretContext,
  type StoredSecret,
  writeGeneration,
} from "./grants.ts";
import { migrations, VaultError } from "./index.ts";
import { loadCheckedKeyRing } from "./key-check.ts";
import { createOutbound } from "./outbound.ts";
import type { VaultParts } from "./parts.ts";
import { startGenerations } from "./rotation.ts";
import { newKeyPair, openDataKey, openSecret } from "./seal.ts";
import { openingKey } from "./subject-keys.ts";
import type { CredentialScope } from "./vault.ts";

const folder = mkdtempSync(join(tmpdir(), "tributary-grants-"));
let database: Database;
let parts: VaultParts;
beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [migrations]);
  parts = {
    database,
    ring: await loadCheckedKeyRing(database, { file: join(folder, "keys.json") }),
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
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await database.close();
});

const ACCESS = { purpose: "sync", correlationId: "run-1" } as const;
const tokens = (name: string) => ({
  fields: new Map([
    ["access_token", `canary-at-${name}`],
    ["refresh_token", `canary-rt-${name}`],
  ]),
  scopes: undefined,
  expiresInSeconds: 60,
});
const write = async (scope: CredentialScope, name: string) =>
  writeGeneration(parts, scope, await readGrant(parts, scope), tokens(name), []);

interface Planted {
  readonly scope: CredentialScope;
  readonly field: string;
  readonly stored: StoredSecret;
  readonly plaintext: string;
}

/** 32 credentials: organisations × integrations × owners × two accounts each. */
const SCOPES: readonly CredentialScope[] = ["acme", "globex"].flatMap((organizationId) =>
  ["tasks", "calendar"].flatMap((integration) =>
    (
      [
        { kind: "user", id: "u1" },
        { kind: "user", id: "u2" },
        { kind: "organization", id: "u1" },
        { kind: "organization", id: organizationId },
      ] as const
    ).flatMap((owner) =>
      ["a", "b"].map((account) => ({
        organizationId,
        integration,
        owner,
        // One credential id is used in both organisations: ids are the caller's, and prove nothing.
        credentialId: [integration, owner.kind, owner.id, account].join("-"),
      })),
    ),
  ),
);

/** Two secrets of each, in up to two revisions, the second sealed to key pairs of the next generation. */
async function plant(): Promise<readonly Planted[]> {
  const planted: Planted[] = [];
  const nameOf = (scope: CredentialScope) => `${scope.organizationId}-${scope.credentialId}`;
  for (const scope of SCOPES) await write(scope, `${nameOf(scope)}-1`);
  await startGenerations(parts);
  for (const scope of SCOPES) {
    await write(scope, `${nameOf(scope)}-2`);
    for (const [field, revision] of [
      ["access_token", 2],
      ["refresh_token", 1],
      ["refresh_token", 2],
    ] as const) {
      if (scope.credentialId.endsWith("b") && field === "refresh_token") continue;
      const stored = await readSecret(parts, scope, field, revision, ACCESS);
      if (stored === undefined) throw new Error("not planted");
      const plaintext = `canary-${field === "access_token" ? "at" : "rt"}-${nameOf(scope)}-${revision}`;
      planted.push({ scope, field, stored, plaintext });
    }
  }
  return planted;
}

async function open(scope: CredentialScope, field: string, stored: StoredSecret): Promise<string | undefined> {
  try {
    return plaintextOf(scope, field, stored, await dataKeyOf(parts, scope, field, stored));
  } catch (error) {
    if (error instanceof VaultError && error.code === "credential_integrity_error") return undefined;
    throw error;
  }
}

/** As {@link open}, with each key looked up once: thousands of openings in a second. */
function quickOpener() {
  const keys = new Map<string, Promise<Uint8Array | undefined>>();
  const keyOf = (scope: CredentialScope, keyId: string): Promise<Uint8Array | undefined> => {
    const name = JSON.stringify([scope.organizationId, scope.owner, keyId]);
    const known = keys.get(name);
    if (known !== undefined) return known;
    const looked = openingKey(database, parts.ring, scope, keyId).then(
      ({ privateKey }) => privateKey,
      () => undefined,
    );
    keys.set(name, looked);
    return looked;
  };
  return async (scope: CredentialScope, field: string, stored: StoredSecret): Promise<string | undefined> => {
    const privateKey = await keyOf(scope, stored.keyId);
    if (privateKey === undefined) return undefined;
    const context = secretContext(scope, field, stored.revision, stored.keyId);
    const dataKey = openDataKey(stored, context, privateKey);
    const plaintext = dataKey && openSecret(stored, context, dataKey);
    return plaintext && Buffer.from(plaintext).toString();
  };
}

describe("a sealed row", () => {
  let planted: readonly Planted[];
  let quick: ReturnType<typeof quickOpener>;
  beforeAll(async () => {
    planted = await plant();
    quick = quickOpener();
  });

  it("opens in its own place and in none of the others", async () => {
    expect(new Set(planted.map(({ scope }) => JSON.stringify(scope))).size).toBe(32);
    expect(new Set(planted.map(({ stored }) => stored.keyId)).size).toBe(16);
    let wrong = 0;
    for (const here of planted)
      for (const there of planted) {
        // The row as an attacker would put it there: with the revision and id of the row that it replaces.
        const moved = { ...there.stored, id: here.stored.id, revision: here.stored.revision };
        if ((await quick(here.scope, here.field, moved)) !== (here === there ? here.plaintext : undefined)) wrong++;
      }
    expect(wrong).toBe(0);
    // The road that a session takes, for every row in its own place and in its neighbour's.
    for (const [n, here] of planted.entries()) {
      expect(await open(here.scope, here.field, here.stored)).toBe(here.plaintext);
      expect(await open(planted[(n + 3) % planted.length]!.scope, here.field, here.stored)).toBeUndefined();
    }
  });

  it("cannot be put together from the columns of two, in 4,000 mixes", async () => {
    const columns = ["alg", "nonce", "ciphertext", "sealed", "keyId", "revision"] as const;
    let [opened, mixes] = [0, 0];
    // Every pair at a distance, and for each another choice of columns: those that tell two rows apart are all taken.
    for (let n = 0; mixes < 4000; n++) {
      const [here, there] = [planted[n % planted.length]!, planted[(n * 31 + 7) % planted.length]!];
      const chosen = columns.filter((_, bit) => ((n % 62) + 1) & (1 << bit));
      const mixed = { ...here.stored, ...Object.fromEntries(chosen.map((column) => [column, there.stored[column]])) };
      const same = columns.every((column) => mixed[column] === here.stored[column]);
      const whole = columns.every((column) => mixed[column] === there.stored[column]);
      if (same || whole) continue;
      mixes++;
      for (const { scope, field } of [here, there]) opened += (await open(scope, field, mixed)) === undefined ? 0 : 1;
    }
    expect(opened).toBe(0);
  });

  it("opens for exactly its own scope and field: each part counts by itself", async () => {
    const scope: CredentialScope = {
      organizationId: "acme",
      integration: "tasks",
      owner: { kind: "user", id: "u1" },
      credentialId: "parts",
    };
    await write(scope, "parts");
    const stored = await readSecret(parts, scope, "access_token", 1, ACCESS);
    if (stored === undefined) throw new Error("not planted");
    expect(await open(scope, "access_token", stored)).toBe("canary-at-parts");
    const changes: Partial<CredentialScope>[] = [
      { organizationId: "globex" },
      { integration: "calendar" },
      { owner: { kind: "organization", id: "u1" } },
      { owner: { kind: "user", id: "u2" } },
      { credentialId: "other" },
    ];
    for (const change of changes) expect(await open({ ...scope, ...change }, "access_token", stored)).toBeUndefined();
    expect(await open(scope, "refresh_token", stored)).toBeUndefined();
    expect(await open(scope, "access_token", { ...stored, revision: 2 })).toBeUndefined();
  });

  it("opens at its current revision only, through the grant", async () => {
    const scope: CredentialScope = {
      organizationId: "acme",
      integration: "tasks",
      owner: { kind: "user", id: "u1" },
      credentialId: "rollback",
    };
    await write(scope, "old");
    const [old] = await asOwner(database, (tx) =>
      run<{ ciphertext: Uint8Array; nonce: Uint8Array; sealed: Uint8Array }>(
        tx,
        "SELECT ciphertext, nonce, sealed FROM vault.secret WHERE credential_id = 'rollback' AND field = 'access_token'",
      ),
    );
    await write(scope, "new");
    expect(await openOnce(parts, scope, "access_token", 2, ACCESS)).toBe("canary-at-new");
    await asOwner(database, (tx) =>
      run(
        tx,
        "UPDATE vault.secret SET ciphertext = $1, nonce = $2, sealed = $3 WHERE credential_id = 'rollback' AND field = 'access_token'",
        [old?.ciphertext, old?.nonce, old?.sealed],
      ),
    );
    await expect(openOnce(parts, scope, "access_token", 2, ACCESS)).rejects.toMatchObject({
      code: "credential_integrity_error",
    });
  });
});

describe("a generation", () => {
  it("is written by one of eight writers who saw the same one before", async () => {
    const scope: CredentialScope = {
      organizationId: "acme",
      integration: "tasks",
      owner: { kind: "user", id: "u1" },
      credentialId: "race",
    };
    for (const previous of [undefined, 1]) {
      const seen = previous === undefined ? undefined : await readGrant(parts, scope);
      const writes = await Promise.all(
        Array.from({ length: 8 }, (_, n) => writeGeneration(parts, scope, seen, tokens(`${n}`), [])),
      );
      expect(writes.filter((grant) => grant !== undefined)).toHaveLength(1);
    }
    expect((await readGrant(parts, scope))?.generation).toBe(2);
  });

  it("is not written over somebody else's credential of the same id", async () => {
    const mine: CredentialScope = {
      organizationId: "acme",
      integration: "tasks",
      owner: { kind: "user", id: "u1" },
      credentialId: "taken",
    };
    await write(mine, "mine");
    expect(await write({ ...mine, owner: { kind: "user", id: "u2" } }, "theirs")).toBeUndefined();
    expect(await openOnce(parts, mine, "access_token", 1, ACCESS)).toBe("canary-at-mine");
  });
});

describe("a subject's key", () => {
  const subject = (id: string): CredentialScope => ({
    organizationId: "initech",
    integration: "tasks",
    owner: { kind: "user", id },
    credentialId: `c-${id}`,
  });
  const rows = "SELECT count(*)::int AS n FROM vault.secret WHERE organization_id = 'initech'";

  it("is one for all of a person's credentials, also when they are made together", async () => {
    const scope = subject("many");
    await Promise.all(["a", "b", "c"].map((credentialId) => write({ ...scope, credentialId }, credentialId)));
    expect(
      await asOwner(database, (tx) =>
        run(tx, "SELECT count(*)::int AS n FROM vault.subject_key WHERE owner_id = 'many'"),
      ),
    ).toEqual([{ n: 1 }]);
    await asOwner(database, (tx) => run(tx, "DELETE FROM vault.credential_grant WHERE organization_id = 'initech'"));
  });

  it("that was replaced in the database is not written to", async () => {
    await write(subject("u1"), "1");
    await write(subject("u2"), "2");
    const before = await asOwner(database, (tx) => run(tx, rows));
    await asOwner(database, (tx) =>
      run(tx, "UPDATE vault.subject_key SET public_key = $1 WHERE owner_id = 'u1' AND organization_id = 'initech'", [
        newKeyPair().publicKey,
      ]),
    );
    await expect(write({ ...subject("u1"), credentialId: "next" }, "x")).rejects.toMatchObject({
      code: "public_key_untrusted",
    });
    await asOwner(database, (tx) =>
      run(
        tx,
        `UPDATE vault.subject_key AS k SET public_key = o.public_key, signature = o.signature, key_id = gen_random_uuid()
      FROM vault.subject_key AS o WHERE k.owner_id = 'u1' AND o.owner_id = 'u2' AND k.organization_id = 'initech' AND o.organization_id = 'initech'`,
      ),
    );
    await expect(write({ ...subject("u1"), credentialId: "next" }, "x")).rejects.toMatchObject({
      code: "public_key_untrusted",
    });
    expect(await asOwner(database, (tx) => run(tx, rows))).toEqual(before);
  });

  it("takes everything with it when it is destroyed, and nobody else's", async () => {
    await asOwner(database, (tx) =>
      run(tx, "DELETE FROM vault.subject_key WHERE owner_id = 'u2' AND organization_id = 'initech'"),
    );
    await expect(openOnce(parts, subject("u2"), "access_token", 1, ACCESS)).rejects.toMatchObject({
      code: "credential_integrity_error",
    });
    const other: CredentialScope = { ...subject("u3") };
    await write(other, "3");
    expect(await openOnce(parts, other, "access_token", 1, ACCESS)).toBe("canary-at-3");
  });
});
