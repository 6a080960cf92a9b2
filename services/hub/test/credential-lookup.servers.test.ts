import { createGuard, createServiceKeys, migrations as authTables } from "@tributary/auth";
import { type Database, migrate, openPostgres, run, withOrganization } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { migrations as integrationTables } from "@tributary/integrations";
import { migrations as pipelineTables } from "@tributary/pipeline";
import { migrations as vaultTables } from "@tributary/vault";
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

let server: PrivatePostgres;
let database: Database;
const [OURS, THEIRS] = ["org-7", "org-8"];
beforeAll(async () => {
  server = await startPrivatePostgres();
  database = openPostgres({ url: await server.createDatabase() });
  await migrate(database, [authTables, vaultTables, pipelineTables, integrationTables]);
  await asOwner(database, (tx) => run(tx, FILL, [20_000]));
  await asOwner(database, (tx) => tx.execute("ANALYZE integrations.connection, integrations.credential"));
});
afterAll(async () => {
  await database?.close();
  await server?.stop();
});

/** 20 integrations of each of 1,000 organisations. */
const FILL = `
WITH made AS (
  INSERT INTO integrations.connection (id, organization_id, integration, owner_kind, owner_id, account_id, account_label,
    api_version, state, backfill_from)
  SELECT gen_random_uuid(), 'org-' || n % 1000, 'integration-' || n / 1000, 'organization', 'org-' || n % 1000, 'a', 'x', 'v1', 'connected', now()
  FROM generate_series(0, $1::int - 1) AS n
  RETURNING id, organization_id, integration
)
INSERT INTO integrations.credential (id, connection_id, organization_id, integration, secret_ids, granted_scopes, meta)
SELECT gen_random_uuid(), id, organization_id, integration, '{}', '{}', '{"v": "1"}' FROM made`;

/** The organisation's credential of one integration: the organisation is the proof's, and a condition of the statement. */
const LOOKUP = `
SELECT c.id, c.organization_id FROM integrations.connection n
JOIN integrations.credential c ON c.connection_id = n.id AND c.organization_id = n.organization_id
WHERE n.organization_id = $1 AND n.owner_kind = 'organization' AND n.owner_id = $1 AND n.integration = $2 AND n.state <> 'disconnected'`;

interface Plan {
  readonly "Node Type": string;
  readonly "Index Name"?: string;
  readonly "Index Cond"?: string;
  readonly "Actual Rows": number;
  readonly Plans?: readonly Plan[];
}
const flat = (plan: Plan): readonly Plan[] => [plan, ...(plan.Plans ?? []).flatMap(flat)];

describe("the look-up of a credential behind the guard", () => {
  it("is one statement on the index of organisation and integration, and touches one row of each table", async () => {
    const [row] = await withOrganization(database, OURS, (tx) =>
      run<{ "QUERY PLAN": readonly [{ Plan: Plan }] }>(tx, `EXPLAIN (ANALYZE, FORMAT JSON) ${LOOKUP}`, [
        OURS,
        "integration-3",
      ]),
    );
    const nodes = row === undefined ? [] : flat(row["QUERY PLAN"][0].Plan);
    expect(nodes.filter((node) => node["Node Type"] === "Seq Scan")).toEqual([]);
    const scans = nodes.filter((node) => node["Index Name"] !== undefined);
    expect(scans.map((node) => node["Index Name"])).toEqual(["connection_account", "credential_connection_id_key"]);
    expect(scans[0]?.["Index Cond"]).toMatch(/organization_id = .*integration = /);
    expect(nodes.map((node) => node["Actual Rows"])).toEqual(nodes.map(() => 1));
  });

  it("gives the proof's organisation's, whatever the request asks for", async () => {
    const { verifyRequest } = createGuard({
      serviceKeys: createServiceKeys([{ name: "scheduler", organizationId: OURS, key: "k".repeat(32) }]),
      log: () => {},
      now: () => new Date(),
      uuid: randomUUID,
    });
    let lookups = 0;
    const sync = async (request: Request): Promise<unknown> => {
      const answer = await verifyRequest(request);
      if (answer instanceof Response) return answer.json();
      lookups++;
      return withOrganization(database, answer.orgId, (tx) => run(tx, LOOKUP, [answer.orgId, "integration-3"]));
    };
    const ask = (body: string) =>
      sync(
        new Request("https://hub.example.com/sync", {
          method: "POST",
          body,
          headers: { authorization: `Bearer ${"k".repeat(32)}` },
        }),
      );
    expect(await ask(JSON.stringify({ org_id: OURS }))).toEqual([{ id: expect.any(String), organization_id: OURS }]);
    expect(await ask(JSON.stringify({ org_id: THEIRS }))).toEqual({ error: "org_scope_violation" });
    expect(await ask(JSON.stringify({ a: [{ org_id: THEIRS }] }))).toEqual({ error: "org_scope_violation" });
    expect(lookups).toBe(1);
    // Row-level security would not have shown it either.
    expect(await withOrganization(database, OURS, (tx) => run(tx, LOOKUP, [THEIRS, "integration-3"]))).toEqual([]);
  });
});
