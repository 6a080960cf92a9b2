import { mkdtempSync, rmSync, writeFileSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  acrossOrganizations,
  assertOutsideTransaction,
  type Database,
  migrate,
  openPglite,
  openPostgres,
  type Queryable,
  run,
  withOrganization,
} from "./index.ts";
import { type PrivatePostgres, startPrivatePostgres } from "./testing/index.ts";

let server: PrivatePostgres;
beforeAll(async () => {
  server = await startPrivatePostgres();
});
afterAll(() => server.stop());

const folder = mkdtempSync(join(tmpdir(), "tributary-migrations-"));
mkdirSync(join(folder, "meta"));
writeFileSync(
  join(folder, "meta/_journal.json"),
  JSON.stringify({
    version: "7",
    dialect: "postgresql",
    entries: [{ idx: 0, version: "7", when: 1, tag: "0000_first", breakpoints: true }],
  }),
);
writeFileSync(
  join(folder, "0000_first.sql"),
  `CREATE TABLE demo.thing (id int8 PRIMARY KEY, at timestamptz NOT NULL, body bytea NOT NULL, meta jsonb NOT NULL);
--> statement-breakpoint
ALTER TABLE demo.thing ENABLE ROW LEVEL SECURITY;
--> statement-breakpoint
ALTER TABLE demo.thing FORCE ROW LEVEL SECURITY;
--> statement-breakpoint
CREATE POLICY anything ON demo.thing TO tributary_writer USING (true);
--> statement-breakpoint
GRANT USAGE ON SCHEMA demo TO tributary_writer;
--> statement-breakpoint
GRANT SELECT, INSERT, DELETE ON demo.thing TO tributary_writer;`,
);
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(["pglite", "postgres"] as const)("one face over %s", (engine) => {
  let database: Database;
  beforeAll(async () => {
    database = engine === "pglite" ? await openPglite() : openPostgres({ url: await server.createDatabase() });
  });
  afterAll(() => database.close());

  it("applies each migration once, also when two start together", async () => {
    const packages = [{ schema: "demo", folder }];
    expect(
      (await Promise.all([migrate(database, packages), migrate(database, packages)])).toSorted(
        (one, other) => one - other,
      ),
    ).toEqual([0, 1]);
  });

  it("gives and takes the same values", async () => {
    const body = new Uint8Array([0, 1, 255]);
    const params = [9_007_199_254_740_993n, "2026-11-21T00:00:00.123Z", body, JSON.stringify({ cursor: 1 })];
    const [row] = await withOrganization(database, "acme", (tx) =>
      run<{ id: bigint; at: string; body: Uint8Array; meta: unknown }>(
        tx,
        "INSERT INTO demo.thing VALUES ($1, $2, $3, $4) RETURNING *",
        params,
      ),
    );
    expect(row?.id).toBe(9_007_199_254_740_993n);
    expect(row?.at).toBe("2026-11-21 00:00:00.123+00");
    expect(new Uint8Array(row?.body ?? [])).toEqual(body);
    expect(row?.meta).toEqual({ cursor: 1 });
  });

  it("rolls back what throws, and scopes the organisation to its transaction", async () => {
    const setting = "SELECT nullif(current_setting('app.organization', true), '') AS organization";
    const read = async (on: Parameters<typeof run>[0]) =>
      (await run<{ organization: string | null }>(on, setting))[0]?.organization ?? null;
    expect(await withOrganization(database, "acme", read)).toBe("acme");
    expect(await read(database.query)).toBeNull();
    await expect(
      withOrganization(database, "acme", async (tx) => {
        await run(tx, "DELETE FROM demo.thing");
        throw new Error("no");
      }),
    ).rejects.toThrow("no");
    expect(await withOrganization(database, "acme", (tx) => run(tx, "SELECT 1 FROM demo.thing"))).toHaveLength(1);
  });

  it("has no rights outside a scope, and takes no further ones inside", async () => {
    const read = (on: Queryable) => run(on, "SELECT 1 FROM demo.thing");
    await expect(read(database.query)).rejects.toThrow("permission denied for schema demo");
    await expect(database.transaction(read)).rejects.toThrow("permission denied for schema demo");
    await expect(withOrganization(database, "acme", read, "reader")).rejects.toThrow("permission denied");
    await expect(acrossOrganizations(database, "relay", read)).rejects.toThrow("permission denied");
    await expect(withOrganization(database, "acme", (tx) => run(tx, "TRUNCATE demo.thing"))).rejects.toThrow(
      "permission denied",
    );
    const role = "SELECT current_user AS name";
    expect(await run(database.query, role)).toEqual([{ name: "tributary_hub" }]);
    expect(await withOrganization(database, "acme", (tx) => run(tx, role))).toEqual([{ name: "tributary_writer" }]);
    expect(await run(database.query, role)).toEqual([{ name: "tributary_hub" }]);
  });

  it("refuses a provider call inside a transaction", async () => {
    await expect(database.transaction(async () => assertOutsideTransaction("a provider call"))).rejects.toThrow(
      "a provider call inside a database transaction",
    );
    expect(() => assertOutsideTransaction("a provider call")).not.toThrow();
  });

  it("hears a NOTIFY", async () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    const stop = await database.listen("demo", resolve);
    await run(database.query, "SELECT pg_notify('demo', 'hello')");
    expect(await promise).toBe("hello");
    await stop();
  });
});
