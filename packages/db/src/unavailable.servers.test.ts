import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Database, type Queryable, run } from "./database.ts";
import { openPostgres } from "./postgres.ts";
import { type PrivatePostgres, startPrivatePostgres } from "./testing/private-postgres.ts";
import { databaseUnavailableIn } from "./unavailable.ts";

let server: PrivatePostgres;
let operator: Database;
beforeAll(async () => {
  server = await startPrivatePostgres();
  operator = openPostgres({ url: server.url, connectionsMax: 1 });
});
afterAll(async () => {
  await operator.close();
  await server.stop();
});

const ownPid = async (tx: Queryable): Promise<number> =>
  (await run<{ pid: number }>(tx, "SELECT pg_backend_pid() AS pid"))[0]?.pid ?? 0;
const end = (pid: number): Promise<unknown> => run(operator.query, "SELECT pg_terminate_backend($1, 10000)", [pid]);
const outcomeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => "committed",
    (error: unknown) => error,
  );

describe("a transaction is refused as unavailable", () => {
  it("when its session is ended between two statements", async () => {
    const database = openPostgres({ url: server.url, connectionsMax: 1 });
    const outcome = await outcomeOf(
      database.transaction(async (tx) => {
        await end(await ownPid(tx));
        await run(tx, "SELECT 1");
      }),
    );
    expect(databaseUnavailableIn(outcome)).toBeDefined();
    expect(await database.transaction((tx) => run(tx, "SELECT 2 AS two"))).toEqual([{ two: 2 }]);
    await database.close();
  });

  it("when its session is ended while it waits for an answer", async () => {
    const database = openPostgres({ url: server.url, connectionsMax: 1 });
    const outcome = await outcomeOf(
      database.transaction(async (tx) => {
        const pid = await ownPid(tx);
        const waiting = run(tx, "SELECT pg_sleep(60)");
        await Promise.all([waiting, end(pid)]);
      }),
    );
    expect(databaseUnavailableIn(outcome)).toBeDefined();
    await database.close();
  });

  it("when there are too many connections", async () => {
    await run(operator.query, "CREATE ROLE crowded LOGIN CONNECTION LIMIT 0");
    const database = openPostgres({ url: server.url.replace("tributary@", "crowded@"), connectionsMax: 1 });
    const outcome = await outcomeOf(database.transaction((tx) => run(tx, "SELECT 1")));
    expect(outcome).toMatchObject({ code: "53300" });
    expect(databaseUnavailableIn(outcome)).toBeDefined();
    await database.close();
  });

  it("when it cannot be put in order with another", async () => {
    const database = openPostgres({ url: server.url, connectionsMax: 2 });
    await run(operator.query, "CREATE TABLE counter AS SELECT 1 AS value");
    const raise = async (tx: Queryable) => {
      await run(tx, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
      await run(tx, "SELECT value FROM counter");
      await run(operator.query, "UPDATE counter SET value = value + 1");
      await run(tx, "UPDATE counter SET value = value + 1");
    };
    const outcome = await outcomeOf(database.transaction(raise));
    expect(outcome).toMatchObject({ code: "40001" });
    expect(databaseUnavailableIn(outcome)).toBeDefined();
    await database.close();
  });

  it("and not when it asks for what is wrong", async () => {
    const wrong = await outcomeOf(operator.transaction((tx) => run(tx, "SELECT 1 / 0")));
    expect(wrong).toMatchObject({ code: "22012" });
    expect(databaseUnavailableIn(wrong)).toBeUndefined();
  });
});
