import { migrations as authTables } from "@tributary/auth";
import { type Database, migrate, openPglite, type Queryable, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { migrations as integrationTables, listNotices } from "@tributary/integrations";
import { migrations as pipelineTables } from "@tributary/pipeline";
import { migrations as vaultTables, openAuditor } from "@tributary/vault";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCommandLine } from "./command-line.ts";
import { JSON_COLUMNS, repairCommand } from "./repair.ts";

const dataDir = mkdtempSync(join(tmpdir(), "tributary-repair-"));
afterAll(() => rmSync(dataDir, { recursive: true }));

const TABLES = [authTables, vaultTables, pipelineTables, integrationTables];
const UUID = "0198f3a2-7c1e-7d7b-9f41-2a4b5c6d7e8f";

async function onData<T>(work: (database: Database) => Promise<T>): Promise<T> {
  const database = await openPglite({ dataDir: join(dataDir, "database") });
  try {
    await migrate(database, TABLES);
    return await work(database);
  } finally {
    await database.close();
  }
}
const owner = <T>(work: (tx: Queryable) => Promise<T>) => onData((database) => asOwner(database, work));

describe("a JSON column", () => {
  let database: Database;
  beforeAll(async () => {
    database = await openPglite();
    await migrate(database, TABLES);
  });
  afterAll(() => database.close());

  it("has a shape that every write is asked for, and a way to be mended: each one that the catalog knows", async () => {
    const schemas = TABLES.map(({ schema }) => schema);
    const unguarded = () => asOwner(database, (tx) => run<{ name: string; checked: boolean }>(tx, COLUMNS, [schemas]));
    const columns = await unguarded();
    expect(columns.filter(({ checked }) => !checked)).toEqual([]);
    expect(columns.map(({ name }) => name)).toEqual(
      JSON_COLUMNS.map(({ table, column }) => `${table}.${column}`).toSorted(),
    );
    await asOwner(database, (tx) => run(tx, "ALTER TABLE integrations.run ADD COLUMN planted jsonb"));
    expect(await unguarded()).toContainEqual({ name: "integrations.run.planted", checked: false });
    await asOwner(database, (tx) => run(tx, "ALTER TABLE integrations.run DROP COLUMN planted"));
  });

  const shapes: readonly [shape: string, good: readonly unknown[], bad: readonly unknown[]][] = [
    [
      "integrations.credential_meta",
      [{ v: "1" }, { v: "1", cursor: null }, { v: "1", cursor: { any: [1] }, backfilling: true }],
      [{}, [], null, "v", { v: 1 }, { v: "2" }, { v: "1", more: 1 }, { v: "1", backfilling: false }, { v: null }],
    ],
    [
      "integrations.credential_secret_ids",
      [{}, { access_token: UUID }],
      [[], null, { a: 1 }, { a: "x" }, { a: null }, { a: UUID, b: {} }, UUID],
    ],
    ["vault.credential_grant_secret_ids", [{}, { access_token: UUID }], [[], null, { a: "x" }, { a: null }]],
    ["vault.credential_grant_scopes", [[], ["a", "b"]], [{}, null, [1], [["a"]], [null], "a"]],
    [
      "integrations.run_log",
      [[], [{ at: "t", message: "m" }], [{ at: "t", message: "m", fields: { n: 1 } }]],
      [{}, null, [1], [{}], [{ at: "t" }], [{ at: 1, message: "m" }], [{ at: "t", message: "m", fields: [] }]],
    ],
    [
      "integrations.action_outcome",
      [{}, { id: "1" }, { rejected: "no" }],
      [[], "x", null, { id: 1 }, { rejected: 1 }, { rejected: null }, { id: "1", rejected: "no" }, { other: 1 }],
    ],
    [
      "pipeline.ack_range_ranges",
      [[], [[UUID, "1", "9223372036854775807"]]],
      [{}, null, [1], [[]], [[UUID, "1"]], [["x", "1", "2"]], [[UUID, "-1", "2"]], [[UUID, "1", null]]],
    ],
    [
      "integrations.setting_config",
      [{ v: 1 }, { v: 1, region: "eu", limits: [1] }],
      [{}, [], null, { v: "1" }, { v: 2 }, { v: 1, long: "x".repeat(20_000) }],
    ],
  ];
  it.each(shapes)("%s takes what has its shape and nothing else", async (name, good, bad) => {
    const ask = async (value: unknown) => {
      const [row] = await asOwner(database, (tx) =>
        run<{ fits: boolean | null }>(tx, `SELECT ${name}_shape($1::jsonb) AS fits`, [JSON.stringify(value)]),
      );
      return row?.fits;
    };
    for (const value of good) expect(await ask(value), JSON.stringify(value)).toBe(true);
    for (const value of bad) expect(await ask(value), JSON.stringify(value).slice(0, 80)).toBe(false);
  });
});

// Each command opens the data folder anew.
describe("tributary repair", () => {
  async function tributary(...argv: readonly string[]) {
    let stdout = "";
    const code = await runCommandLine(["repair", ...argv], [repairCommand], {
      env: { TRIBUTARY_DATA_DIR: dataDir },
      integrations: [],
      stdout: { write: (text: string) => (stdout += text) },
      stderr: { write: () => true },
      now: () => new Date(),
    });
    return { code, stdout };
  }

  it("finds nothing where nothing is damaged", async () => {
    await owner(async (tx) => {
      for (const statement of PLANT) await run(tx, statement);
    });
    expect(await tributary()).toEqual({ code: 0, stdout: "every record has its shape\n" });
  });

  it("shows what is damaged by place and row, without its value, and changes nothing", async () => {
    await owner(async (tx) => {
      for (const statement of DAMAGE) await run(tx, statement);
    });
    const { code, stdout } = await tributary();
    expect(code).toBe(1);
    for (const { table, column } of JSON_COLUMNS) expect(stdout).toContain(`${table}.${column}, row `);
    expect(stdout).toContain(`integrations.credential.meta, row ${UUID} of acme; resetting loses the cursor`);
    expect(stdout).not.toContain("canary");
    const json = JSON.parse((await tributary("--json")).stdout) as { found: object[]; reset: number };
    expect(json.found).toHaveLength(JSON_COLUMNS.length);
    expect(json.reset).toBe(0);
    expect(JSON.stringify(json)).not.toContain("canary");
  });

  it("resets on confirmation, tells the organisation's admins, and leaves an entry in the audit", async () => {
    const { code, stdout } = await tributary("--yes");
    expect({ code, last: stdout.trim().split("\n").at(-1) }).toEqual({
      code: 0,
      last: `${JSON_COLUMNS.length} of ${JSON_COLUMNS.length} were reset, and the admins of their organisations are told`,
    });
    const places = JSON_COLUMNS.filter(({ ofOrganization }) => ofOrganization)
      .map(({ table, column }) => `${table}.${column}`)
      .toSorted();
    await onData(async (database) => {
      const rows = await asOwner(database, (tx) => run<{ place: string; row_key: string }>(tx, NOTICES));
      expect(rows.map(({ place }) => place)).toEqual(places);
      const told = await listNotices(database, "acme");
      expect(told.map(({ place }) => place).toSorted()).toEqual(places);
      expect(await listNotices(database, "globex")).toEqual([]);
      const audited = await asOwner(database, (tx) => run<{ detail: string }>(tx, ENTRIES));
      expect(audited.map(({ detail }) => detail)).toEqual(rows.map(({ place, row_key: key }) => `${place} ${key}`));
      const [ids] = await asOwner(database, (tx) => run(tx, "SELECT secret_ids FROM vault.credential_grant"));
      expect(ids).toEqual({ secret_ids: { access_token: UUID } });
      const auditor = await openAuditor({ database, keys: { file: join(dataDir, "vault-keys.json") } });
      expect((await auditor.verify()).faults).toEqual([]);
    });
    expect(await tributary()).toEqual({ code: 0, stdout: "every record has its shape\n" });
  });
});

const PLANT = [
  `INSERT INTO integrations.connection (id, organization_id, integration, owner_kind, owner_id, account_id, account_label, api_version, state, backfill_from)
   VALUES ('${UUID}', 'acme', 'todoist', 'user', 'u1', 'a', 'a', 'v1', 'connected', now())`,
  `INSERT INTO integrations.credential (id, connection_id, organization_id, integration, secret_ids, granted_scopes, meta)
   VALUES ('${UUID}', '${UUID}', 'acme', 'todoist', '{"access_token": "${UUID}"}', '{}', '{"v": "1", "cursor": "c"}')`,
  `INSERT INTO integrations.run (id, organization_id, connection_id, purpose, log)
   VALUES ('${UUID}', 'acme', '${UUID}', 'sync', '[{"at": "t", "message": "m"}]')`,
  `INSERT INTO integrations.action (organization_id, connection_id, idempotency_key, type, input_hash, outcome)
   VALUES ('acme', '${UUID}', '${UUID}', 'complete', '', '{"id": "1"}')`,
  `INSERT INTO integrations.action (organization_id, connection_id, idempotency_key, type, input_hash)
   VALUES ('globex', '${UUID}', '${UUID}', 'complete', '')`,
  `INSERT INTO integrations.setting (organization_id, integration, updated_by, updated_at) VALUES ('acme', 'todoist', 'u1', now())`,
  `INSERT INTO pipeline.ack_range (stream, last_stream_sequence, first_stream_sequence, stream_created, ranges, acked_at)
   VALUES ('EVENTS', 2, 1, '', '[["${UUID}", "1", "2"]]', now())`,
  `INSERT INTO vault.credential_grant (organization_id, credential_id, integration, owner_kind, owner_id, generation, secret_ids, scopes, created_at)
   VALUES ('acme', '${UUID}', 'todoist', 'user', 'u1', 1, '{"access_token": "${UUID}"}', '["a"]', now())`,
  `INSERT INTO vault.secret (id, revision, organization_id, credential_id, field, alg, key_id, nonce, ciphertext, sealed)
   VALUES ('${UUID}', 1, 'acme', '${UUID}', 'access_token', 'x', '${UUID}', '', '', '')`,
];

/** As a restored dump brings it: past the constraints, which come afterwards and are not asked of what is there. */
const DAMAGE = [
  ...JSON_COLUMNS.map(({ table, column }) => {
    const constraints = `SELECT conname FROM pg_constraint WHERE conrelid = '${table}'::regclass AND contype = 'c'
    AND (SELECT attnum FROM pg_attribute WHERE attrelid = conrelid AND attname = '${column}') = ANY (conkey)`;
    return `DO $$ DECLARE c text; BEGIN FOR c IN ${constraints} LOOP EXECUTE format('ALTER TABLE ${table} DROP CONSTRAINT %I', c); END LOOP; END $$`;
  }),
  ...JSON_COLUMNS.map(({ table, column }) => {
    const broken = column === "scopes" ? '{"canary": 1}' : '["canary"]';
    return `UPDATE ${table} SET ${column} = '${broken}' WHERE ${column} IS NOT NULL`;
  }),
  ...JSON_COLUMNS.map(({ table, column }) => {
    const name = `${table.split(".")[1]}_${column}_shape`;
    return `ALTER TABLE ${table} ADD CONSTRAINT ${name} CHECK (${table}_${column}_shape(${column})) NOT VALID`;
  }),
];

const NOTICES =
  "SELECT place, row_key FROM integrations.notice WHERE organization_id = 'acme' AND code = 'record_reset' ORDER BY place";
const ENTRIES =
  "SELECT detail FROM vault.audit WHERE organization_id = 'acme' AND action = 'record.reset' ORDER BY detail";

const COLUMNS = `
SELECT n.nspname || '.' || c.relname || '.' || a.attname AS name, EXISTS (
    SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c' AND a.attnum = ANY (k.conkey)
      AND pg_get_constraintdef(k.oid) LIKE '%' || n.nspname || '.' || c.relname || '_' || a.attname || '_shape(%'
  ) AS checked
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = ANY ($1::text[]) AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0
  AND NOT a.attisdropped AND a.atttypid IN ('json'::regtype, 'jsonb'::regtype)
ORDER BY name`;
