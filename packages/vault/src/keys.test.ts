import { asOwner } from "@tributary/db/testing";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { type Database, migrate, openPglite, run } from "@tributary/db";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createKeyFile, type KeySource, readKeyRing } from "./keys.ts";
import { migrations, openVault } from "./index.ts";

const folder = mkdtempSync(join(tmpdir(), "tributary-keys-"));
let database: Database;
let next = 0;
beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [migrations]);
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await database.close();
});
beforeEach(() => asOwner(database, (tx) => run(tx, "TRUNCATE vault.key_check CASCADE")));

const freshPath = () => join(folder, `keys-${next++}.json`);
const open = (keys: KeySource) => openVault({ database, keys, clients: [], publicOrigin: "https://hub.example.com" });
const parse = (path: string) =>
  JSON.parse(readFileSync(path, "utf8")) as { keys: { id: string; key: string }[]; signingSeed: string };
const written = () => asOwner(database, (tx) => run(tx, "SELECT key_id FROM vault.key_check ORDER BY 1"));
/** As if somebody had linked an account. */
const useKey = (id: string) =>
  asOwner(database, (tx) =>
    run(
      tx,
      "INSERT INTO vault.subject_key VALUES (gen_random_uuid(), 'acme', 'user', 'user-1', 1, '\\x00', '\\x00', $1, '\\x00', '\\x00')",
      [id],
    ),
  );

describe("a key file", () => {
  it("is made once, for its owner alone, whole, and leaves nothing beside it", async () => {
    const path = freshPath();
    const made = await Promise.all(Array.from({ length: 8 }, () => createKeyFile(path)));
    expect(made.filter(Boolean)).toHaveLength(1);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
    const { keys, signingSeed } = parse(path);
    expect(Buffer.from(keys[0]?.key ?? "", "base64url")).toHaveLength(32);
    expect(signingSeed).not.toBe(keys[0]?.key);
  });

  it("needs its folder", async () => {
    await expect(createKeyFile(join(folder, "missing", "keys.json"))).rejects.toMatchObject({ code: "key_missing" });
  });

  it("that others may read is refused", async () => {
    const path = freshPath();
    await createKeyFile(path);
    chmodSync(path, 0o640);
    await expect(open({ file: path })).rejects.toMatchObject({ code: "key_invalid" });
  });

  const key = Buffer.alloc(32, 1).toString("base64url");
  const ring = { version: 1, keys: [{ id: "a", key }], signingSeed: key };
  const broken: [string, string][] = [
    ["no JSON", "canary-key"],
    ["nothing", ""],
    ["another version", JSON.stringify({ ...ring, version: 2 })],
    ["no key", JSON.stringify({ ...ring, keys: [] })],
    ["a short key", JSON.stringify({ ...ring, keys: [{ id: "a", key: "Y2FuYXJ5" }] })],
    ["a long key", JSON.stringify({ ...ring, keys: [{ id: "a", key: `${key}AAAA` }] })],
    [
      "an id twice",
      JSON.stringify({
        ...ring,
        keys: [
          { id: "a", key },
          { id: "a", key },
        ],
      }),
    ],
    ["no signing seed", JSON.stringify({ ...ring, signingSeed: undefined })],
  ];
  it.each(broken)("with %s is refused, without quoting it", async (_, value) => {
    const error: unknown = await readKeyRing({ value }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "key_invalid" });
    expect(inspect(error, { depth: 10, showHidden: true })).not.toMatch(/canary|AQEB|Y2Fu/);
  });

  it("prints as its ids in memory", async () => {
    const loaded = await readKeyRing({ value: JSON.stringify(ring) });
    expect(loaded?.ids).toEqual(["a"]);
    const bytes = [...Buffer.alloc(8, 1)].join(", ");
    expect(`${inspect(loaded, { depth: 10, showHidden: true })}${JSON.stringify(loaded)}`).not.toContain(bytes);
  });
});

describe("the start", () => {
  it("makes the file the first time, and opens with it the second", async () => {
    const path = freshPath();
    await open({ file: path });
    const before = readFileSync(path, "utf8");
    expect(await written()).toEqual([{ key_id: parse(path).keys[0]?.id }, { key_id: "signing" }]);
    await open({ file: path });
    await open({ value: before });
    expect(readFileSync(path, "utf8")).toBe(before);
  });

  it("without the file, when there is data, names the key, and makes and writes nothing", async () => {
    const path = freshPath();
    await open({ file: path });
    const id = parse(path).keys[0]?.id ?? "";
    rmSync(path);
    const before = await written();
    await expect(open({ file: path })).rejects.toMatchObject({
      code: "key_missing",
      message: expect.stringContaining(`"${id}"`),
    });
    expect(existsSync(path)).toBe(false);
    expect(await written()).toEqual(before);
  });

  it.each(["keys", "signingSeed"] as const)(
    "with another %s under the same id is refused, and writes nothing",
    async (part) => {
      const [path, other] = [freshPath(), freshPath()];
      await open({ file: path });
      await createKeyFile(other);
      const [mine, theirs] = [parse(path), parse(other)];
      const mixed =
        part === "keys"
          ? { ...mine, keys: [{ id: mine.keys[0]?.id, key: theirs.keys[0]?.key }] }
          : { ...mine, signingSeed: theirs.signingSeed };
      const before = await written();
      await expect(open({ value: JSON.stringify({ ...mixed, version: 1 }) })).rejects.toMatchObject({
        code: "key_invalid",
        message: expect.stringContaining(part === "keys" ? String(mine.keys[0]?.id) : "signing"),
      });
      expect(await written()).toEqual(before);
    },
  );

  it("without a key that credentials were written under names it; one that nothing needs may go", async () => {
    const path = freshPath();
    await open({ file: path });
    const old = parse(path);
    const fresh = { id: "k-new", key: Buffer.alloc(32, 7).toString("base64url") };
    const both = { version: 1, keys: [fresh, ...old.keys], signingSeed: old.signingSeed };
    await open({ value: JSON.stringify(both) });
    await open({ value: JSON.stringify({ ...both, keys: [fresh] }) });
    await useKey(old.keys[0]?.id ?? "");
    const alone = { value: JSON.stringify({ ...both, keys: [fresh] }) };
    await expect(open(alone)).rejects.toMatchObject({
      code: "key_missing",
      message: expect.stringContaining(old.keys[0]?.id ?? ""),
    });
  });

  it("of two hubs with two key files on one empty database goes to one of them", async () => {
    const results = await Promise.allSettled([open({ file: freshPath() }), open({ file: freshPath() })]);
    expect(results.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  });
});
