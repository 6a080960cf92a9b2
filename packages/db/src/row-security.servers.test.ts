import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Database, migrate, openPostgres, run, withOrganization } from "./index.ts";
import { rowSecurityFaults } from "./row-security.ts";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "./testing/index.ts";

const OWN = "organization_id = (SELECT nullif(current_setting('app.organization', true), ''))";
const MIGRATION = `
CREATE TABLE demo.note (organization_id text NOT NULL, id bigint NOT NULL, PRIMARY KEY (organization_id, id));
ALTER TABLE demo.note ENABLE ROW LEVEL SECURITY;
ALTER TABLE demo.note FORCE ROW LEVEL SECURITY;
CREATE POLICY organization ON demo.note TO tributary_writer USING (${OWN}) WITH CHECK (${OWN});
GRANT USAGE ON SCHEMA demo TO tributary_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON demo.note TO tributary_writer;`;

let server: PrivatePostgres;
let database: Database;
const folder = mkdtempSync(join(tmpdir(), "tributary-migrations-"));
beforeAll(async () => {
  mkdirSync(join(folder, "meta"));
  const entry = { idx: 0, version: "7", when: 1, tag: "0000_note", breakpoints: true };
  writeFileSync(
    join(folder, "meta/_journal.json"),
    JSON.stringify({ version: "7", dialect: "postgresql", entries: [entry] }),
  );
  writeFileSync(join(folder, "0000_note.sql"), MIGRATION);
  server = await startPrivatePostgres();
  // A login that owns the tables and is no superuser, as an operator would have it.
  const admin = openPostgres({ url: server.url, connectionsMax: 1 });
  await admin.query.execute("CREATE ROLE operator LOGIN CREATEROLE CREATEDB PASSWORD 'operator'");
  await admin.query.execute("CREATE DATABASE demo OWNER operator");
  await admin.close();
  const url = new URL(server.url);
  url.username = "operator";
  url.password = "operator";
  url.pathname = "/demo";
  database = openPostgres({ url: url.href, connectionsMax: 2 });
  await migrate(database, [{ schema: "demo", folder }]);
});
afterAll(async () => {
  await database.close();
  await server.stop();
  rmSync(folder, { recursive: true });
});

const READ = "SELECT organization_id AS organization, id FROM demo.note";

describe("row-level security", () => {
  it("holds for the tables' owner too", async () => {
    await withOrganization(database, "acme", (tx) => run(tx, "INSERT INTO demo.note VALUES ('acme', 1)"));
    expect(await asOwner(database, (tx) => run(tx, READ))).toEqual([]);
    expect(await withOrganization(database, "acme", (tx) => run(tx, READ))).toHaveLength(1);
    expect(await withOrganization(database, "umbrella", (tx) => run(tx, READ))).toEqual([]);
    expect(await withOrganization(database, "", (tx) => run(tx, READ))).toEqual([]);
  });

  it("lets nobody write for another organisation, and no key tell what another one has", async () => {
    await expect(
      withOrganization(database, "umbrella", (tx) => run(tx, "INSERT INTO demo.note VALUES ('acme', 2)")),
    ).rejects.toThrow("row-level security policy");
    await withOrganization(database, "umbrella", (tx) => run(tx, "INSERT INTO demo.note VALUES ('umbrella', 1)"));
    const moved = withOrganization(database, "umbrella", (tx) =>
      run(tx, "UPDATE demo.note SET organization_id = 'acme', id = 9"),
    );
    await expect(moved).rejects.toThrow("row-level security policy");
    expect(
      await withOrganization(database, "umbrella", (tx) =>
        run(tx, "DELETE FROM demo.note WHERE organization_id = 'acme' RETURNING id"),
      ),
    ).toEqual([]);
  });

  it("leaks nothing in 10,000 requests of 50 organisations over two connections", async () => {
    const organizations = Array.from({ length: 50 }, (_, index) => `org${index}`);
    await Promise.all(
      organizations.map((id) =>
        withOrganization(database, id, (tx) => run(tx, "INSERT INTO demo.note VALUES ($1, 1)", [id])),
      ),
    );
    let next = 0;
    let leaks = 0;
    let answers = 0;
    const worker = async (): Promise<void> => {
      for (let request = next++; request < 10_000; request = next++) {
        const own = organizations[(request * 7) % organizations.length] ?? "";
        const failing = request % 10 === 9;
        const rows = await withOrganization(database, own, async (tx) => {
          const found = await run<{ organization: string }>(tx, READ);
          if (failing) throw new Error("rolled back");
          return found;
        }).catch(() => undefined);
        if (rows === undefined) continue;
        answers += rows.length;
        leaks += rows.filter(({ organization }) => organization !== own).length;
      }
    };
    await Promise.all(Array.from({ length: 16 }, worker));
    expect({ answers, leaks }).toEqual({ answers: 9_000, leaks: 0 });
  });
});

const PLANTED: readonly (readonly [string, string, string])[] = [
  [
    "a table without row-level security",
    "CREATE TABLE demo.open (id int)",
    "demo.open has no forced row-level security",
  ],
  [
    "one that its owner sees past",
    "CREATE TABLE demo.open (id int); ALTER TABLE demo.open ENABLE ROW LEVEL SECURITY",
    "demo.open has no forced row-level security",
  ],
  ["a table without a policy", "DROP POLICY organization ON demo.note", "demo.note has no policy"],
  [
    "a view with its owner's rights",
    "CREATE VIEW demo.notes AS SELECT * FROM demo.note",
    "demo.notes is a view with its owner's rights",
  ],
  [
    "a materialized view",
    "CREATE MATERIALIZED VIEW demo.copy AS SELECT * FROM demo.note",
    "demo.copy is a materialized view, which knows no policies",
  ],
  [
    "a role that may truncate",
    "GRANT TRUNCATE ON demo.note TO tributary_writer",
    "demo.note lets tributary_writer past its policies by TRUNCATE",
  ],
  ["a table for everybody", "GRANT SELECT ON demo.note TO PUBLIC", "demo.note is open to everybody"],
  [
    "a function that lends its owner's rights to any search path",
    "CREATE FUNCTION demo.peek() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    "demo.peek() runs with its owner's rights and an open search path",
  ],
];

describe("the catalog's check", () => {
  it("finds nothing in tables as they should be", async () => {
    expect(await asOwner(database, (tx) => rowSecurityFaults(tx, ["demo"]))).toEqual([]);
  });

  it.each(PLANTED)("finds %s", async (_, plant, fault) => {
    const undo = new Error("undo");
    let found: string[] = [];
    const planted = asOwner(database, async (tx) => {
      for (const statement of plant.split(";")) await run(tx, statement);
      found = await rowSecurityFaults(tx, ["demo"]);
      throw undo;
    });
    await expect(planted).rejects.toThrow(undo);
    expect(found).toContain(fault);
  });

  it("finds a role that may do more", async () => {
    const admin = openPostgres({ url: server.url, connectionsMax: 1 });
    await admin.query.execute("ALTER ROLE tributary_reader BYPASSRLS");
    expect(await asOwner(database, (tx) => rowSecurityFaults(tx, ["demo"]))).toEqual([
      "tributary_reader may do more than a role should",
    ]);
    await expect(migrate(database, [{ schema: "demo", folder }])).rejects.toMatchObject({ name: "RowSecurityError" });
    await admin.query.execute("ALTER ROLE tributary_reader NOBYPASSRLS");
    await admin.close();
  });
});
