import { type Database, migrate, openPostgres, run, withOrganization } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { append } from "./append.ts";
import { lastConnectionEvents } from "./ledger.ts";
import { migrations } from "./migrations.ts";
import { ensurePartitions } from "./partitions.ts";
import { createEventReader, EVENTS } from "./read-events.ts";
import { sampleBatch } from "./testing/sample-batch.ts";

let postgres: PrivatePostgres;
let database: Database;
beforeAll(async () => {
  postgres = await startPrivatePostgres();
  database = openPostgres({ url: await postgres.createDatabase() });
  await migrate(database, [migrations]);
  await ensurePartitions(database, new Date());
});
afterAll(async () => {
  await database.close();
  await postgres.stop();
});

describe("looking an event up", () => {
  it("reads the few pages that may hold it, by its id or by when it was committed", async () => {
    const connectionIds = Array.from({ length: 20 }, () => randomUUID());
    for (let turn = 0; turn < 60; turn++)
      await withOrganization(database, "plans", (tx) =>
        append(tx, sampleBatch(connectionIds[turn % 20] ?? "", 500, { organizationId: "plans", bytes: 300 })),
      );
    await asOwner(database, async (tx) => {
      const [{ name } = { name: "" }] = await run<{ name: string }>(
        tx,
        "SELECT indexrelid::regclass::text AS name FROM pg_index WHERE indrelid = ('pipeline.event_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD'))::regclass AND indexrelid::regclass::text LIKE '%committed_at%'",
      );
      await run(tx, `SELECT brin_summarize_new_values('${name}'::regclass)`);
      await run(tx, "ANALYZE pipeline.event");
    });
    const [known] = await withOrganization(
      database,
      "plans",
      (tx) => lastConnectionEvents(tx, "plans", connectionIds[3] ?? "", 1),
      "reader",
    );
    const today = new Date();
    const minute = new Date(today.getTime() + 60_000).toISOString();
    const plan = (text: string, params: readonly unknown[], seqscan = "on") =>
      withOrganization(
        database,
        "plans",
        async (tx) => {
          await run(tx, "SELECT set_config('enable_seqscan', $1, true)", [seqscan]);
          const lines = await run<Record<string, string>>(tx, `EXPLAIN (ANALYZE, BUFFERS) ${text}`, params);
          return lines.map((line) => line["QUERY PLAN"]).join("\n");
        },
        "reader",
      );
    // As the function has it.
    const ofId = "SELECT * FROM pipeline.event WHERE organization_id = $1 AND id = $2 LIMIT 1";
    const byId = await plan(ofId, ["plans", known?.id], "off");
    expect(byId).toMatch(/Bitmap Index Scan on event_\d+_committed_at_id_idx/);
    expect(Number(/Rows Removed by Index Recheck: (\d+)/.exec(byId)?.[1] ?? 0)).toBeLessThan(5_000);
    const recent = await plan(EVENTS, [
      "plans",
      new Date(today.getTime() - 50).toISOString(),
      minute,
      null,
      "infinity",
      connectionIds[0],
      0,
      10,
    ]);
    expect(recent).toMatch(/Bitmap Index Scan on event_\d+_committed_at_id_idx/);
    const reader = createEventReader(database, () => Date.now());
    expect((await reader.get("plans", known?.id ?? ""))?.sequence).toBe(known?.sequence);
    expect(await reader.get("globex", known?.id ?? "")).toBeUndefined();
  });
});
