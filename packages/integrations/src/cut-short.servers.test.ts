import { TaskChangedSchema } from "@tributary/contracts";
import { type Database, migrate, openPostgres, run as runSql } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { ensurePartitions, migrations as pipelineTables } from "@tributary/pipeline";
import { checkpoint, type Connector, type Json, signal, type User } from "@tributary/sdk";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { migrations } from "./migrations.ts";
import { type Scheduler, startScheduler } from "./scheduler.ts";
import { insertDueConnection, runtimeOf } from "./testing/run-stage.ts";

let server: PrivatePostgres;
let url: string;
let database: Database;
let operator: Database;
let scheduler: Scheduler | undefined;
const said: Readonly<Record<string, unknown>>[] = [];
beforeAll(async () => {
  server = await startPrivatePostgres();
  url = await server.createDatabase();
  database = openPostgres({ url });
  await migrate(database, [pipelineTables, migrations]);
  await ensurePartitions(database, new Date());
  operator = openPostgres({ url, connectionsMax: 2 });
});
afterEach(async () => {
  await scheduler?.stop();
  scheduler = undefined;
});
afterAll(async () => {
  await operator.close();
  await database.close();
  await server.stop();
});

const PAGES = 6;
/** What happens before a page is said; before the one behind the last, a run is about to be settled. */
let before: (page: number) => Promise<void> = async () => {};
/** Says six changes, a page each, and begins with what it said last, as providers do. */
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
  fetchSignals: async function* (_user: User, since?: Json) {
    for (let page = Number(since ?? 1); page <= PAGES; page++) {
      const task = { id: String(page), title: `task ${page}` };
      yield signal(TaskChangedSchema, { id: task.id, occurredAt: new Date(0), data: { task } });
      await before(page);
      yield checkpoint(page);
    }
    await before(PAGES + 1);
  },
} as unknown as Connector;

function start(): void {
  const vault = { open: () => ({}), renewDue: async () => [], sweep: async () => {} };
  const runtime = runtimeOf(database, connector, vault, said);
  scheduler = startScheduler(runtime, { pollMs: 50 });
}

const ask = <T>(text: string, params: readonly unknown[] = []): Promise<T[]> =>
  asOwner(operator, (tx) => runSql<T>(tx, text, params));
async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  for (let turn = 0; turn < 1_500; turn++) {
    const found = await look();
    if (found !== undefined) return found;
    await sleep(20);
  }
  throw new Error(`not within 30 s: ${what}`);
}

const WAITING = `
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'tributary' AND wait_event_type = 'Lock' AND query LIKE $1`;

/**
 * Locks a connection's row, and goes on until a statement of a run waits for it: that one's session is ended.
 * @returns when the row is locked; then, when the session is gone.
 */
async function endSession(id: string, statement: string): Promise<{ readonly ended: Promise<void> }> {
  const locked = Promise.withResolvers<void>();
  const ended = operator.transaction(async (tx) => {
    await runSql(tx, "SELECT 1 FROM integrations.connection WHERE id = $1 FOR UPDATE", [id]);
    locked.resolve();
    const { pid } = await until("a statement that waits", async () => {
      const [found] = await ask<{ pid: number }>(WAITING, [statement]);
      return found;
    });
    await runSql(tx, "SELECT pg_terminate_backend($1, 10000)", [pid]);
  });
  ended.catch(locked.reject);
  await locked.promise;
  return { ended };
}

/** By page: the statement whose session is ended there, once. */
const FATAL = new Map([
  [2, "%UPDATE integrations.credential%"],
  [4, "%UPDATE integrations.credential%"],
  [PAGES + 1, "%for update%"],
]);

it("a session that PostgreSQL ends in the middle of a run costs a pause, and nothing else", async () => {
  const id = await insertDueConnection(database);
  const ended: Promise<void>[] = [];
  before = async (page) => {
    const statement = FATAL.get(page);
    FATAL.delete(page);
    if (statement !== undefined) ended.push((await endSession(id, statement)).ended);
  };
  start();
  const last = await until("a run that comes to its end", async () => {
    const runs = await ask<{ outcome: string | null }>(
      "SELECT outcome FROM integrations.run WHERE connection_id = $1 ORDER BY started_at",
      [id],
    );
    return runs.at(-1)?.outcome === "ok" ? runs : undefined;
  });
  expect(await Promise.all(ended)).toHaveLength(3);
  expect(last.map(({ outcome }) => outcome)).toEqual(["database_unavailable", "database_unavailable", "ok"]);
  const [row] = await ask(
    "SELECT state, failures, lease_until, reason_code FROM integrations.connection WHERE id = $1",
    [id],
  );
  expect(row).toEqual({ state: "connected", failures: 0, lease_until: null, reason_code: null });
  const events = await ask(
    "SELECT sequence::int AS sequence, object_key AS object FROM pipeline.event WHERE connection_id = $1 ORDER BY sequence",
    [id],
  );
  expect(events).toEqual(
    Array.from({ length: PAGES }, (_, index) => ({ sequence: index + 1, object: `task/${index + 1}` })),
  );
  const code = expect.stringMatching(/^(57P01|CONNECTION_CLOSED)$/) as string;
  const lines = said.filter(({ outcome }) => outcome === "database_unavailable");
  expect(lines).toEqual([1, 2].map(() => expect.objectContaining({ connection: id, code })));
});
