import { type Database, openPostgres, run, withOrganization } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { appendAudit } from "./audit.ts";
import { openAuditor } from "./auditor.ts";
import { openOnce, readGrant, writeGeneration } from "./grants.ts";
import { makeVaultParts } from "./testing/vault-parts.ts";

let server: PrivatePostgres;
beforeAll(async () => {
  server = await startPrivatePostgres({ max_connections: "120" });
});
afterAll(() => server.stop());

/** A login that administers nothing but its own database, as a hosted PostgreSQL gives one. */
async function ownDatabase(): Promise<string> {
  const name = "hosted";
  const url = new URL(await server.createDatabase(name));
  const admin = openPostgres({ url: url.href, connectionsMax: 1 });
  await run(admin.query, "CREATE ROLE hoster LOGIN CREATEROLE NOSUPERUSER");
  await run(admin.query, `ALTER DATABASE ${name} OWNER TO hoster`);
  await admin.close();
  url.username = "hoster";
  return url.href;
}

describe("sixty-four writers", () => {
  it("make one chain without a gap and without a fork, and so does every organisation beside", async () => {
    const database = openPostgres({ url: await server.createDatabase(), connectionsMax: 64 });
    const { keyFile, remove } = await makeVaultParts(database);
    const entry = { action: "permission.grant", actor: "user-1" };
    const sequences = await Promise.all(
      Array.from({ length: 64 }, async (_, writer) => {
        const own: number[] = [];
        for (let n = 0; n < 20; n++) {
          const organizationId = n % 4 === 3 ? "globex" : "acme";
          const sequence = await withOrganization(
            database,
            organizationId,
            (tx) => appendAudit(tx, { ...entry, organizationId, detail: `${writer}` }),
            "vault",
          );
          if (organizationId === "acme") own.push(sequence);
        }
        return own;
      }),
    );
    const all = sequences.flat().toSorted((a, b) => a - b);
    expect(all).toEqual(Array.from({ length: 64 * 15 }, (_, n) => n + 1));
    for (const own of sequences) expect(own).toEqual(own.toSorted((a, b) => a - b));
    const auditor = await openAuditor({ database, keys: { file: keyFile } });
    expect(await auditor.verify()).toEqual({ organizations: 2, entries: 64 * 20, heads: 0, faults: [] });
    remove();
    await database.close();
  });
});

describe("a login that is no superuser", () => {
  let database: Database;
  beforeAll(async () => {
    database = openPostgres({ url: await ownDatabase(), connectionsMax: 3 });
  });
  afterAll(() => database.close());

  it("installs the functions and uses them, and can take the recorder's role no longer", async () => {
    const { parts, remove } = await makeVaultParts(database);
    const scope = {
      organizationId: "acme",
      integration: "tasks",
      owner: { kind: "user", id: "u1" },
      credentialId: "c1",
    } as const;
    const tokens = { fields: new Map([["access_token", "canary-at"]]), scopes: undefined, expiresInSeconds: 60 };
    for (const generation of [1, 2]) {
      await writeGeneration(parts, scope, await readGrant(parts, scope), tokens, []);
      const access = { purpose: "sync", correlationId: "run-1" } as const;
      expect(await openOnce(parts, scope, "access_token", generation, access)).toBe("canary-at");
    }
    for (const statement of [
      "SET ROLE tributary_recorder",
      "UPDATE vault.audit SET detail = 'x'",
      "DELETE FROM vault.audit",
    ]) {
      const asVault = withOrganization(database, "acme", (tx) => run(tx, statement), "vault");
      await expect(asVault, statement).rejects.toMatchObject({ code: "42501" });
    }
    const [row] = await asOwner(database, (tx) =>
      run<{ member: boolean }>(tx, "SELECT pg_has_role(current_user, 'tributary_recorder', 'MEMBER') AS member"),
    );
    expect(row).toEqual({ member: false });
    remove();
  });
});

it("an audit that cannot be written lets nothing be opened, and the row of an opening is committed before it", async () => {
  const database = openPostgres({ url: await server.createDatabase(), connectionsMax: 3 });
  const { parts, remove } = await makeVaultParts(database);
  const owner = { kind: "user", id: "u1" } as const;
  const scope = { organizationId: "acme", integration: "tasks", owner, credentialId: "c1" };
  const tokens = { fields: new Map([["access_token", "canary-at"]]), scopes: undefined, expiresInSeconds: 60 };
  await writeGeneration(parts, scope, undefined, tokens, []);
  const open = (correlationId: string) => openOnce(parts, scope, "access_token", 1, { purpose: "sync", correlationId });
  const change = (statement: string) => asOwner(database, (tx) => run(tx, statement));
  for (const [spoil, mend] of [
    ["ALTER TABLE vault.audit RENAME TO away", "ALTER TABLE vault.away RENAME TO audit"],
    ["REVOKE INSERT ON vault.audit FROM tributary_recorder", "GRANT INSERT ON vault.audit TO tributary_recorder"],
    [
      "ALTER TABLE vault.audit ADD CONSTRAINT full_disk CHECK (false) NOT VALID",
      "ALTER TABLE vault.audit DROP CONSTRAINT full_disk",
    ],
  ] as const) {
    await change(spoil);
    await expect(open("run-1"), spoil).rejects.toMatchObject({ code: "audit_unavailable" });
    await change(mend);
  }
  expect(await open("run-1")).toBe("canary-at");
  // A deferred check is the last thing that can fail: at the commit, after the row was read.
  await change("CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE disk_full; END'");
  await change(
    "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON vault.audit DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.refuse()",
  );
  await expect(open("run-2")).rejects.toMatchObject({ code: "audit_unavailable" });
  remove();
  await database.close();
});

it("an opening looks into two indexes, however long the chain is", async () => {
  const database = openPostgres({ url: await server.createDatabase(), connectionsMax: 3 });
  const { remove } = await makeVaultParts(database);
  await asOwner(database, async (tx) => {
    await run(tx, FILL);
    await run(tx, "ANALYZE vault.audit");
  });
  for (const [lookup, index] of LOOKUPS) {
    const plan = await asOwner(database, (tx) => run<{ "QUERY PLAN": string }>(tx, `EXPLAIN ${lookup}`));
    const text = plan.map((row) => row["QUERY PLAN"]).join("\n");
    expect(text).toContain(`using ${index}`);
    expect(text).not.toContain("Seq Scan");
  }
  remove();
  await database.close();
});

/** Ten credentials, each of which is opened again and again. */
const FILL = `
INSERT INTO vault.audit (organization_id, sequence, at, action, actor, credential_id, secret_id, revision, detail, correlation_id, hash)
SELECT 'acme', n, now(), 'credential.open', 'vault', 'c' || n % 10, CASE WHEN n % 100 < 10 THEN gen_random_uuid() END, 1, 'sync', 'run-' || n, sha256('')
FROM generate_series(1, 20000) n`;

/** As the functions ask. */
const LOOKUPS = [
  [
    `SELECT FROM vault.audit e WHERE e.organization_id = 'acme' AND e.credential_id = 'c1' AND e.at > now() - interval '1 hour'
      AND e.action = 'credential.open' AND e.detail = 'sync' AND e.correlation_id = 'run-1'`,
    "audit_credential",
  ],
  [
    `SELECT e.revision FROM vault.audit e WHERE e.organization_id = 'acme'
      AND e.secret_id = '0198f3a2-7c1e-7d7b-9f41-2a4b5c6d7e8f' ORDER BY e.sequence DESC LIMIT 1`,
    "audit_secret",
  ],
] as const;
