import { migrations as authTables } from "@tributary/auth";
import { asOwner, type Database, migrate, openPostgres, run } from "@tributary/db";
import { type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { migrations as integrationTables } from "@tributary/integrations";
import { migrations as pipelineTables } from "@tributary/pipeline";
import { migrations as vaultTables } from "@tributary/vault";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

/** What the catalog says of all our tables together, under a login as an operator would have it: no superuser. */
const PACKAGES = [authTables, vaultTables, pipelineTables, integrationTables];
const SCHEMAS = PACKAGES.map(({ schema }) => schema);
let server: PrivatePostgres;
let database: Database;
beforeAll(async () => {
  server = await startPrivatePostgres();
  const admin = openPostgres({ url: server.url, connectionsMax: 1 });
  await admin.query.execute("CREATE ROLE operator LOGIN CREATEROLE PASSWORD 'operator'");
  await admin.query.execute("CREATE DATABASE hub OWNER operator");
  await admin.close();
  const url = Object.assign(new URL(server.url), { username: "operator", password: "operator", pathname: "/hub" });
  database = openPostgres({ url: url.href });
  await migrate(database, PACKAGES);
});
afterAll(async () => {
  await database.close();
  await server.stop();
});

const rows = <T>(text: string): Promise<T[]> => asOwner(database, (tx) => run<T>(tx, text, [SCHEMAS]));

const POLICIES = `
SELECT schemaname || '.' || tablename AS table, unnest(roles)::text AS role, coalesce(qual, with_check, '') AS shown, cmd
FROM pg_policies WHERE schemaname = ANY ($1::text[])`;

const GRANTS = `
SELECT n.nspname || '.' || c.relname AS table, r.rolname AS role, acl.privilege_type AS verb
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) AS acl
JOIN pg_roles r ON r.oid = acl.grantee
WHERE n.nspname = ANY ($1::text[]) AND r.rolname LIKE 'tributary_%' ORDER BY 1, 2, 3`;

const ONE_ORGANIZATION = ["tributary_writer", "tributary_reader", "tributary_vault"];

describe("who may see what", () => {
  it("shows an organisation's roles nothing but rows of the organisation", async () => {
    const policies = await rows<{ table: string; role: string; shown: string; cmd: string }>(POLICIES);
    const own = policies.filter(({ role }) => ONE_ORGANIZATION.includes(role));
    expect(own.length).toBeGreaterThan(15);
    // INSERT may be open where reading is not: what is written there is checked by whoever takes it in.
    const open = own.filter(({ shown, cmd }) => !shown.includes("app.organization") && cmd !== "INSERT");
    expect(open).toEqual([]);
  });

  it("lets nobody read a secret but the vault, and nobody change what is written for good", async () => {
    const grants = await rows<{ table: string; role: string; verb: string }>(GRANTS);
    const who = (table: string, verb: string): string[] =>
      grants.filter((one) => one.table === table && one.verb === verb).map(({ role }) => role);
    for (const table of ["vault.secret", "vault.subject_key", "vault.credential_grant", "vault.flow"])
      expect(who(table, "SELECT")).toEqual(["tributary_keeper", "tributary_vault"]);
    expect(who("pipeline.event", "UPDATE")).toEqual([]);
    expect(grants.filter(({ role }) => role === "tributary_hub")).toEqual([]);
    expect(grants.filter(({ verb }) => verb === "TRUNCATE" || verb === "TRIGGER" || verb === "REFERENCES")).toEqual([]);
    const reader = grants.filter(({ role, verb }) => role === "tributary_reader" && verb !== "SELECT");
    expect(reader).toEqual([]);
    const relay = grants.filter(({ role, table }) => role === "tributary_relay" && !table.startsWith("pipeline."));
    expect(relay).toEqual([]);
  });

  it("starts every key of a tenant's rows with something that no other tenant can guess or collide with", async () => {
    const keys = await rows<{ table: string; columns: string[] }>(`
      SELECT n.nspname || '.' || c.relname AS table, array_agg(a.attname::text ORDER BY k.place) AS columns
      FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      CROSS JOIN LATERAL unnest(i.indkey::int[]) WITH ORDINALITY AS k (attribute, place)
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attribute
      WHERE n.nspname = ANY ($1::text[]) AND i.indisunique AND NOT c.relispartition
        AND EXISTS (SELECT FROM pg_attribute o WHERE o.attrelid = c.oid AND o.attname = 'organization_id')
      GROUP BY i.indexrelid, 1`);
    // A UUID of ours, or a hash: what a tenant chooses never stands first.
    const opaque = [
      "organization_id",
      "id",
      "key_id",
      "connection_id",
      "state_hash",
      "hash",
      "token_hash",
      "context_id",
      "replay_id",
    ];
    const guessable = keys.filter(({ columns: [first = ""] }) => !opaque.includes(first));
    expect(guessable).toEqual([]);
  });
});
