import { run } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { createRelayStage, type RelayStage } from "@tributary/pipeline/testing";
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startUpkeep } from "./upkeep.ts";

let postgres: PrivatePostgres;
let stage: RelayStage;
beforeAll(async () => {
  postgres = await startPrivatePostgres();
  stage = await createRelayStage(postgres);
});
afterAll(async () => {
  await stage.stop();
  await postgres.stop();
});

const RETENTION_DAYS = 30;

/** Lets so many days pass for what is in the ledger: what is over, the database's clock says as well. */
const age = (days: number): Promise<unknown> =>
  asOwner(stage.database, async (tx) => {
    await run(
      tx,
      "SELECT pipeline.make_partition(day) FROM (SELECT DISTINCT day - $1::int AS day FROM pipeline.event) d",
      [days],
    );
    await run(
      tx,
      "UPDATE pipeline.event SET day = day - $1::int, committed_at = committed_at - make_interval(days => $1::int)",
      [days],
    );
    await run(tx, "UPDATE pipeline.position SET day = day - $1::int", [days]);
  });
const eventsKept = async (): Promise<number> =>
  (await asOwner(stage.database, (tx) => run(tx, "SELECT 1 FROM pipeline.event"))).length;

/** @param daysAhead of the database's clock, by this process's. */
async function upkeep(daysAhead = 0): Promise<unknown[]> {
  const said: unknown[] = [];
  const say = (fields: Readonly<Record<string, unknown>>, message: string): void =>
    void said.push({ ...fields, message });
  const stop = await startUpkeep({
    database: stage.database,
    log: { info: say, warn: say, error: say },
    now: () => new Date(Date.now() + daysAhead * 86_400_000),
    retentionDays: RETENTION_DAYS,
    relayed: true,
    sweep: () => Promise.resolve(),
  });
  await stop();
  return said;
}

it("says what a broker that is away holds back, and who misses what is dropped", async () => {
  const connectionId = randomUUID();
  await stage.write(connectionId, 12);
  await asOwner(stage.database, (tx) =>
    run(
      tx,
      `INSERT INTO pipeline.consumer (organization_id, name, types, created_at, last_seen_at, until)
       VALUES ('acme', 'slow', '{}', now(), now(), now()), ('acme', 'other', '{some.Type}', now(), now(), now()),
         ('acme', 'done', '{}', now(), now(), now())`,
    ),
  );
  await asOwner(stage.database, (tx) =>
    run(
      tx,
      `INSERT INTO pipeline.consumer_position (organization_id, consumer, connection_id, settled)
       VALUES ('acme', 'done', $1, 12), ('acme', 'slow', $1, 3)`,
      [connectionId],
    ),
  );
  await age(RETENTION_DAYS - 1);
  expect(await upkeep()).toEqual([]);
  expect(await upkeep(40), "by a clock that is ahead").toEqual([]);
  const missing = {
    organization: "acme",
    consumer: "slow",
    connections: 1,
    message: expect.stringContaining("will not get them") as string,
  };
  const held = { connections: 1, events: 12, message: expect.stringContaining("none is dropped") as string };
  await age(3);
  expect(await upkeep()).toEqual([missing, expect.objectContaining(held)]);
  expect(await eventsKept()).toBe(12);
  stage.relay();
  await stage.drained();
  const dropped = { message: "days of events were dropped" };
  expect(await upkeep()).toEqual([missing, expect.objectContaining(dropped)]);
  expect(await eventsKept()).toBe(0);
  expect(await upkeep()).toEqual([]);
});
