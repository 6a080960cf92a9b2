import { acrossOrganizations, type Database, migrate, openPostgres, type Queryable, run } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { migrations as pipelineTables } from "@tributary/pipeline";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { CLAIM, claimDue, type Lease, LEASE_SECONDS } from "./lease.ts";
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
    expect(text.match(/connection_due/g), "what is due is read once").toHaveLength(1);
  });
});

describe("claims beside each other", () => {
  let beside: Database;
  beforeAll(async () => {
    beside = openPostgres({ url: await server.createDatabase() });
    await migrate(beside, [pipelineTables, migrations]);
  });
  afterAll(() => beside.close());
  beforeEach(async () => {
    await asOwner(beside, (tx) => run(tx, "TRUNCATE integrations.connection CASCADE"));
    // Of 100 organisations, four in each.
    await asOwner(beside, (tx) => run(tx, FILL, [400]));
    await asOwner(beside, (tx) => run(tx, "UPDATE integrations.connection SET due_at = now() - interval '1 s'"));
  });
  const claiming = <T>(work: (tx: Queryable) => Promise<T>): Promise<T> =>
    acrossOrganizations(beside, "scheduler", work);
  const claim = (max: number): Promise<Lease[]> => claiming((tx) => claimDue(tx, max));
  const organizationsOf = (leases: readonly { readonly organizationId: string }[]): number =>
    new Set(leases.map(({ organizationId }) => organizationId)).size;

  it("lock what they claim and nothing else, and wait for nobody", async () => {
    const [first, second] = await claiming(async (tx) => {
      const held = await run<Lease>(tx, CLAIM, [100, LEASE_SECONDS]);
      // Not committed yet, so the rows that are held are due still to everybody else.
      return [held, await claim(400)];
    });
    expect(organizationsOf(first)).toBe(100);
    expect(second).toHaveLength(300);
    expect(new Set([...first, ...second].map(({ connectionId }) => connectionId)).size).toBe(400);
  });

  it("give each connection to one of them, and lose none", async () => {
    const claimed: Lease[] = [];
    const claimer = async (): Promise<void> => {
      for (;;) {
        const leases = await claim(7);
        claimed.push(...leases);
        // Beside others a claim may come back empty while some is due still: the candidates were others' by then.
        if (leases.length === 0) return;
      }
    };
    for (let round = 0; round < 100 && claimed.length < 400; round++)
      await Promise.all(Array.from({ length: 8 }, claimer));
    expect(claimed).toHaveLength(400);
    expect(new Set(claimed.map(({ connectionId }) => connectionId)).size).toBe(400);
    expect(new Set(claimed.map(({ token }) => token))).toEqual(new Set([1]));
  });
});
