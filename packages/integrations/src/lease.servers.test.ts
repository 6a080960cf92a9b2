import { type Database, migrate, openPostgres, run } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { migrations as pipelineTables } from "@tributary/pipeline";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CLAIM, LEASE_SECONDS } from "./lease.ts";
import { migrations } from "./migrations.ts";

let server: PrivatePostgres;
let database: Database;
beforeAll(async () => {
  server = await startPrivatePostgres();
  database = openPostgres({ url: server.url });
  await migrate(database, [pipelineTables, migrations]);
  await asOwner(database, (tx) => run(tx, FILL, [20_000]));
  await asOwner(database, (tx) => tx.execute("ANALYZE integrations.connection, integrations.credential"));
});
afterAll(async () => {
  await database.close();
  await server.stop();
});

/** One connection in a hundred is due. */
const FILL = `
WITH made AS (
  INSERT INTO integrations.connection (id, organization_id, integration, owner_kind, owner_id, account_id, account_label,
    api_version, state, backfill_from, due_at)
  SELECT gen_random_uuid(), 'org-' || n % 100, 'todoist', 'user', 'u' || n, 'a' || n, 'x', 'v1', 'connected', now(),
    now() + CASE WHEN n % 100 = 0 THEN interval '-1 s' ELSE interval '1 h' END
  FROM generate_series(1, $1::int) AS n
  RETURNING id, organization_id
)
INSERT INTO integrations.credential (id, connection_id, organization_id, integration, secret_ids, granted_scopes, meta)
SELECT gen_random_uuid(), id, organization_id, 'todoist', '{}', '{}', '{"v": "1"}' FROM made`;

describe("the plan of the claim", () => {
  it.each([
    ["planned for its parameters", "force_custom_plan", 500],
    ["planned once for any parameters", "force_generic_plan", 500],
    ["for a few", "force_custom_plan", 16],
  ])("reads connections by index alone, %s", async (_which, mode, max) => {
    const plan = await asOwner(database, async (tx) => {
      await run(tx, "SELECT set_config('plan_cache_mode', $1, true)", [mode]);
      return run<{ "QUERY PLAN": string }>(tx, `EXPLAIN ${CLAIM}`, [max, LEASE_SECONDS]);
    });
    const text = plan.map((row) => row["QUERY PLAN"]).join("\n");
    expect(text).toContain("connection_due");
    expect(text).not.toContain("Seq Scan on connection");
  });
});
