import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Database, type Queryable, run } from "./database.ts";
import { openPostgres } from "./postgres.ts";
import { type PrivatePostgres, startPrivatePostgres } from "./testing/private-postgres.ts";

let server: PrivatePostgres;
let database: Database;
beforeAll(async () => {
  server = await startPrivatePostgres();
  database = openPostgres({ url: server.url, connectionsMax: 1 });
  await run(database.query, "CREATE TABLE told (what text)");
});
afterAll(async () => {
  await database.close();
  await server.stop();
});

const tell = (tx: Queryable, what: string) => run(tx, "INSERT INTO told VALUES ($1)", [what]);

/** The driver once ended the process here, or sent the rest on the connection that took the lost one's place. */
it.each([
  ["while it waits for an answer", async (tx: Queryable) => run(tx, "SELECT pg_sleep(5)")],
  ["between two statements", () => sleep(1_500)],
])("a transaction whose server restarts %s fails as a whole, and nothing of it comes later", async (_, middle) => {
  const failing = database.transaction(async (tx) => {
    await tell(tx, "before");
    await Promise.resolve(middle(tx)).catch(() => sleep(1_000));
    await tell(tx, "after").catch(() => {});
    await tell(tx, "long after").catch(() => {});
  });
  const failure = failing.then(
    () => "committed",
    (error: unknown) => String(error),
  );
  await sleep(200);
  await server.crash();
  expect(await failure).toContain("CONNECTION_CLOSED");
  await server.restart();
  const since = performance.now();
  while (
    !(await run(database.query, "SELECT 1").then(
      () => true,
      () => false,
    ))
  )
    expect(performance.now() - since).toBeLessThan(5_000);
  await sleep(1_500);
  expect(await run(database.query, "SELECT what FROM told")).toEqual([]);
});

it("a listener hears again after a restart", async () => {
  const heard: string[] = [];
  const stop = await database.listen("restart_test", (payload) => heard.push(payload));
  const hears = async (what: string): Promise<void> => {
    for (let turn = 0; turn < 100 && !heard.includes(what); turn++) {
      await run(database.query, "SELECT pg_notify('restart_test', $1)", [what]).catch(() => {});
      await sleep(50);
    }
    expect(heard).toContain(what);
  };
  await hears("before");
  await server.crash();
  await sleep(700);
  await server.restart();
  await hears("after");
  await stop();
  heard.length = 0;
  await run(database.query, "SELECT pg_notify('restart_test', 'stopped')");
  await sleep(100);
  expect(heard).toEqual([]);
});
