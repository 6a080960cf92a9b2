import { PGlite, type Transaction } from "@electric-sql/pglite";
import { type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type PostgresInbox, postgresInbox, type PostgresTx } from "./index.ts";

let server: PrivatePostgres;
let sql: postgres.Sql;
let pglite: PGlite;
beforeAll(async () => {
  server = await startPrivatePostgres();
  sql = postgres(server.url, { max: 8, onnotice: () => {} });
  pglite = await PGlite.create();
  await sql`CREATE SCHEMA shop`;
  await pglite.exec("CREATE SCHEMA shop");
});
afterAll(async () => {
  await sql.end();
  await pglite.close();
  await server.stop();
});

interface Store {
  readonly inbox: PostgresInbox<PostgresTx>;
  readonly write: (tx: PostgresTx, line: string) => Promise<unknown>;
  readonly lines: () => Promise<readonly string[]>;
  readonly age: () => Promise<unknown>;
}
const TABLE = "shop.inbox";
const OLD = `UPDATE ${TABLE} SET handled_at = now() - interval '40 days' WHERE key = 'old'`;

/** The two drivers that people use, by the interface that each has: `unsafe`, and `query`. */
const stores: Readonly<Record<string, () => Store>> = {
  "postgres.js": () => ({
    inbox: postgresInbox<PostgresTx>({
      consumer: "billing",
      table: TABLE,
      transaction: (work) => sql.begin((tx) => work(tx as unknown as PostgresTx)) as never,
    }),
    write: (tx, line) =>
      Promise.resolve((tx as unknown as postgres.TransactionSql)`INSERT INTO shop.line VALUES (${line})`),
    lines: async () => (await sql<{ text: string }[]>`SELECT text FROM shop.line ORDER BY 1`).map(({ text }) => text),
    age: () => sql.unsafe(OLD),
  }),
  "pg's interface": () => ({
    inbox: postgresInbox<PostgresTx>({
      consumer: "billing",
      table: TABLE,
      transaction: (work) => pglite.transaction((tx) => work(tx)),
    }),
    write: (tx, line) => (tx as Transaction).query("INSERT INTO shop.line VALUES ($1)", [line]),
    lines: async () =>
      (await pglite.query<{ text: string }>("SELECT text FROM shop.line ORDER BY 1")).rows.map(({ text }) => text),
    age: () => pglite.query(OLD),
  }),
};

describe.each(Object.keys(stores))("an inbox in PostgreSQL, by %s", (driver) => {
  let store: Store;
  beforeAll(async () => {
    const make = stores[driver];
    if (make === undefined) throw new Error("no such driver");
    store = make();
    await store.inbox.migrate();
    await store.inbox.migrate();
    await sql`CREATE TABLE IF NOT EXISTS shop.line (text text)`;
    await pglite.exec("CREATE TABLE IF NOT EXISTS shop.line (text text)");
  });

  it("writes the effect once, however many handle the event at a time", async () => {
    const ran = await Promise.all(
      Array.from({ length: 20 }, () => store.inbox.once("e1", async (tx) => void (await store.write(tx, "one")))),
    );
    expect(ran.filter(Boolean)).toHaveLength(1);
    expect(await store.lines()).toEqual(["one"]);
  });

  it("keeps neither the effect nor the key of a handler that fails, and takes it when it comes again", async () => {
    const failing = store.inbox.once("e2", async (tx) => {
      await store.write(tx, "two");
      throw new Error("after the effect");
    });
    await expect(failing).rejects.toThrow("after the effect");
    expect(await store.lines()).toEqual(["one"]);
    expect(await store.inbox.once("e2", async (tx) => void (await store.write(tx, "two")))).toBe(true);
    expect(await store.lines()).toEqual(["one", "two"]);
  });

  it("forgets what is older than anything that can still be delivered, and nothing younger", async () => {
    await store.inbox.once("old", async () => {});
    await store.age();
    expect(() => store.inbox.forget(30)).toThrow("31 days at least");
    expect(await store.inbox.forget(31)).toBe(1);
    expect(await store.inbox.once("e1", async () => {})).toBe(false);
  });
});

it("takes no table name that says more than a name", () => {
  const transaction = () => Promise.reject(new Error("never"));
  for (const table of ["inbox; DROP TABLE x", "a.b.c", "", "1st", 'in"box'])
    expect(() => postgresInbox({ consumer: "a", transaction, table })).toThrow(TypeError);
});
