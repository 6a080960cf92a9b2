import { type Database, migrate, openPostgres, run } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { append } from "./append.ts";
import { createHandOff } from "./hand-off.ts";
import { CONNECTIONS_AFTER, EVENTS_AFTER } from "./ledger.ts";
import { migrations } from "./migrations.ts";
import { ensurePartitions } from "./partitions.ts";
import { UNREAD_CONNECTIONS } from "./positions.ts";
import { UNPUBLISHED } from "./relay-source.ts";
import { createEventStream, type StreamedEvent } from "./stream.ts";
import { until } from "./testing/relay-stage.ts";
import { sampleBatch } from "./testing/sample-batch.ts";

let postgres: PrivatePostgres;
let database: Database;
let url: string;
beforeAll(async () => {
  postgres = await startPrivatePostgres();
  url = await postgres.createDatabase();
  database = openPostgres({ url });
  await migrate(database, [migrations]);
  await ensurePartitions(database, new Date());
  await asOwner(database, (tx) =>
    run(
      tx,
      `INSERT INTO pipeline.position (connection_id, organization_id, head, day, published)
     SELECT gen_random_uuid(), 'org' || n % 100, 1, current_date, CASE WHEN n % 100 = 0 THEN 0 ELSE 1 END
     FROM generate_series(1, 20000) AS n`,
    ),
  );
  await asOwner(database, (tx) =>
    run(
      tx,
      `INSERT INTO pipeline.event (day, connection_id, sequence, organization_id, connector, id, type, subject, object_key,
       time, backfill, traceparent, committed_at, payload)
     SELECT (now() AT TIME ZONE 'UTC')::date, connection_id, 1, organization_id, 'todoist', connection_id::text, 'a.v1.B',
       'evt.v1.a', 'task/1', now(), false, '', now(), '' FROM pipeline.position`,
    ),
  );
  await asOwner(database, (tx) => run(tx, "ANALYZE"));
  await database.close();
  // What its connections have scanned is counted when they end.
  const others =
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
  database = openPostgres({ url });
  await until("they have ended", async () => (await run(database.query, others)).length === 0);
});
afterAll(async () => {
  await database.close();
  await postgres.stop();
});

/** Sequential scans of the ledger's partitions and of positions so far, by this test's only connection. */
async function scans(on: Database): Promise<number> {
  await run(on.query, "SELECT pg_stat_force_next_flush()");
  const [row] = await run<{ scans: string }>(
    on.query,
    `SELECT coalesce(sum(seq_scan), 0)::text AS scans FROM pg_stat_user_tables
     WHERE schemaname = 'pipeline' AND (relname LIKE 'event%' OR relname = 'position')`,
  );
  return Number(row?.scans);
}

describe("queries that run for every event", () => {
  const FIRST = "00000000-0000-0000-0000-000000000000";
  it.each([
    ["reads a connection on", EVENTS_AFTER, (id: string) => [id, "org1", 0n, "-infinity", null, 200]],
    ["reads many connections on", CONNECTIONS_AFTER, (id: string) => [[id], ["0"], ["-infinity"], 16]],
    ["finds connections to publish", UNPUBLISHED, () => [FIRST]],
    ["finds connections to read", UNREAD_CONNECTIONS, () => ["org1", "billing", FIRST, 500]],
  ])("scan nothing: %s", async (_, text, params) => {
    // What another connection has scanned is counted some time later.
    const alone = openPostgres({ url, connectionsMax: 1 });
    const [row] = await asOwner(alone, (tx) =>
      run<{ id: string }>(
        tx,
        "SELECT connection_id AS id FROM pipeline.position WHERE organization_id = 'org1' LIMIT 1",
      ),
    );
    const before = await scans(alone);
    // More than five times: then the server may settle for a plan that does not look at the parameters.
    for (let turn = 0; turn < 8; turn++)
      expect((await asOwner(alone, (tx) => run(tx, text, params(row?.id ?? "")))).length).toBeGreaterThan(0);
    expect(await scans(alone)).toBe(before);
    await alone.close();
  });
});

describe("on PostgreSQL", () => {
  it("gives concurrent appends of one connection sequences without a gap, in the order of their commits", async () => {
    const connectionId = randomUUID();
    const firsts = await Promise.all(
      Array.from({ length: 24 }, (_, index) =>
        asOwner(database, (tx) => append(tx, sampleBatch(connectionId, 1 + (index % 3)))).then(Number),
      ),
    );
    expect(firsts.toSorted((a, b) => a - b)[0]).toBe(1);
    const rows = await asOwner(database, (tx) =>
      run<{ sequence: bigint }>(tx, "SELECT sequence FROM pipeline.event WHERE connection_id = $1 ORDER BY sequence", [
        connectionId,
      ]),
    );
    expect(rows.map(({ sequence }) => Number(sequence))).toEqual(Array.from({ length: 48 }, (_, index) => index + 1));
  });

  it("carries a commit to a stream of another process, and a settlement back, without waiting for the poll", async () => {
    const here = await createHandOff({ database, process: randomUUID() });
    const there = await createHandOff({ database, process: randomUUID() });
    const [mine, theirs] = [
      await createEventStream({ database, handOff: here }),
      // Its time stands still, so that it never looks by itself.
      await createEventStream({ database, handOff: there, clock: () => 0 }),
    ];
    const organizationId = "acme-notify";
    const connectionId = randomUUID();
    const abort = new AbortController();
    const wish = { organizationId, consumer: "billing", types: [], window: 1, signal: abort.signal };
    const got: bigint[] = [];
    const reading = (async () => {
      for await (const event of theirs.subscribe(wish) as AsyncIterable<StreamedEvent>) {
        got.push(event.sequence);
        if (event.sequence === 4n) return;
        await mine.settle({ ...event, consumer: "billing", outcome: "handled" });
      }
    })();
    const batch = sampleBatch(connectionId, 4, { organizationId });
    const first = await asOwner(database, (tx) => append(tx, batch));
    here.committed(batch, first);
    await reading;
    expect(got).toEqual([1n, 2n, 3n, 4n]);
    for (const one of [mine, theirs, here, there]) await one.stop();
  });
});
