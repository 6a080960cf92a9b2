import { TaskChangedSchema } from "@tributary/contracts";
import { acrossOrganizations, asOwner, type Database, migrate, openPglite } from "@tributary/db";
import { migrations as pipelineTables } from "@tributary/pipeline";
import { type Connector, Retryable } from "@tributary/sdk";
import { asc } from "drizzle-orm";
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { claimDue } from "./lease.ts";
import { migrations } from "./migrations.ts";
import { createRegistry } from "./registry.ts";
import type { Runtime } from "./runtime.ts";
import { run } from "./schema.ts";
import { syncRun } from "./sync-run.ts";
import { insertDueConnection } from "./testing/run-stage.ts";
import { createThrottle } from "./throttle.ts";

let database: Database;
beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [pipelineTables, migrations]);
});
afterAll(() => database.close());

const organizationId = "acme";
const connector = {
  id: "tasks",
  scopes: [],
  manifest: {
    name: "Tasks",
    hosts: ["p.example.com"],
    owner: "user",
    events: [TaskChangedSchema],
    apiVersions: [{ id: "1" }],
  },
  // eslint-disable-next-line require-yield -- a run that ends at once is all that is wanted of it
  fetchSignals: async function* () {
    throw new Retryable("not now");
  },
} as unknown as Connector;

it("a run whose worker died is ended by the next one of its connection, and no other is", async () => {
  const [id, other] = [await insertDueConnection(database), randomUUID()];
  const hourAgo = new Date(Date.now() - 3_600_000);
  const left = (connectionId: string) => ({ id: randomUUID(), organizationId, connectionId, startedAt: hourAgo });
  await asOwner(database, (tx) =>
    tx.insert(run).values([
      { ...left(id), purpose: "sync" },
      { ...left(other), purpose: "sync" },
    ]),
  );
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const runtime = {
    database,
    vault: { open: () => ({}) },
    registry: createRegistry([connector]),
    now: () => new Date(),
    uuid: randomUUID,
    random: () => 0.5,
    append: () => Promise.resolve(1n),
    committed: () => {},
    log,
  } as unknown as Runtime;
  const [lease] = await acrossOrganizations(database, "scheduler", (tx) => claimDue(tx, 1));
  if (lease === undefined) throw new Error("nothing was due");
  await syncRun(runtime, createThrottle(Date.now), lease, new AbortController().signal);
  const runs = await asOwner(database, (tx) => tx.select().from(run).orderBy(asc(run.startedAt)));
  const ends = (connectionId: string) =>
    runs.filter((one) => one.connectionId === connectionId).map(({ outcome, endedAt }) => [outcome, endedAt !== null]);
  expect(ends(id)).toEqual([
    ["abandoned", true],
    ["retryable", true],
  ]);
  expect(ends(other)).toEqual([[null, false]]);
});
