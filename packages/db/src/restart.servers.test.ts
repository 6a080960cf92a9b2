import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
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

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 60_000; performance.now() < end; await sleep(20)) if (await condition()) return;
  throw new Error(`not within 60 s: ${what}`);
}

/** Resolves when a statement that sleeps so long is under way. */
const sleeps = (seconds: number): Promise<void> =>
  until(`pg_sleep(${seconds}) runs`, async () => {
    const text = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = $1";
    return (await run(database.query, text, [`SELECT pg_sleep(${seconds})`])).length > 0;
  });

const tell = (tx: Queryable, what: string) => run(tx, "INSERT INTO told VALUES ($1)", [what]);

/** The driver once ended the process here, or sent the rest on the connection that took the lost one's place. */
it.each([
  ["while it waits for an answer", async (tx: Queryable) => run(tx, "SELECT pg_sleep(30)")],
  ["between two statements", (_: Queryable, gone: Promise<unknown>) => gone],
])("a transaction whose server restarts %s fails as a whole, and nothing of it comes later", async (_, middle) => {
  const [told, gone] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const failing = database.transaction(async (tx) => {
    await tell(tx, "before");
    told.resolve();
    await Promise.resolve(middle(tx, gone.promise)).catch(() => {});
    await sleep(1_000);
    await tell(tx, "after").catch(() => {});
    await tell(tx, "long after").catch(() => {});
  });
  const failure = failing.then(
    () => "committed",
    (error: unknown) => String(error),
  );
  await told.promise;
  await sleep(200);
  await server.crash();
  gone.resolve();
  expect(await failure).toContain("CONNECTION_CLOSED");
  await server.restart();
  await until("it answers", () =>
    run(database.query, "SELECT 1").then(
      () => true,
      () => false,
    ),
  );
  await sleep(1_500);
  expect(await run(database.query, "SELECT what FROM told")).toEqual([]);
});

/** A wire to the server that can be cut with a reset, as a server that is shut down at once does to who is in its midst. */
async function cuttableWire() {
  const { hostname, port } = new URL(server.url);
  const ends = new Set<Socket>();
  const proxy: Server = createServer((near) => {
    const far = connect(Number(port), hostname);
    ends.add(near.on("close", () => far.destroy() && ends.delete(near)).on("error", () => {}));
    far.on("error", () => {}).on("close", () => near.destroy());
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const url = new URL(server.url);
  url.port = String((proxy.address() as { port: number }).port);
  return { url: String(url), cut: () => ends.forEach((end) => end.resetAndDestroy()), close: () => proxy.close() };
}

/**
 * The driver is told of a reset a turn of the event loop before it takes the connection out of use. What was asked in
 * between once stayed without an answer for ever, or took the answers of whoever came next.
 */
it("what is asked while a connection is being lost is refused, and what comes next is answered", async () => {
  const wire = await cuttableWire();
  const narrow = openPostgres({ url: wire.url, connectionsMax: 1 });
  const two = (tx: Queryable) => run(tx, "SELECT 1").then(() => run(tx, "SELECT 2 AS two"));
  for (let round = 0; round < 3; round++) {
    const refused = (): string => "refused";
    const transaction = narrow.transaction((tx) => run(tx, `SELECT pg_sleep(${30 + round})`)).catch(refused);
    await sleeps(30 + round);
    wire.cut();
    expect(await transaction).toBe("refused");
    expect(await narrow.transaction(two)).toEqual([{ two: 2 }]);

    const plain = run(narrow.query, `SELECT pg_sleep(${40 + round})`).catch(() =>
      narrow.transaction(two).catch(refused),
    );
    await sleeps(40 + round);
    wire.cut();
    expect(["refused", [{ two: 2 }]]).toContainEqual(await plain);
    expect(await narrow.transaction(two)).toEqual([{ two: 2 }]);
  }
  await narrow.close();
  wire.close();
});

/** A server that takes the connection and the first packet, and closes: a proxy whose database is away. */
async function closingServer() {
  let connects = 0;
  const closing = createServer((near) => {
    connects++;
    near.on("error", () => {}).once("data", () => near.end());
  });
  await new Promise<void>((resolve) => closing.listen(0, "127.0.0.1", resolve));
  const { port } = closing.address() as { port: number };
  const url = `postgres://somebody@127.0.0.1:${port}/somewhere?connect_timeout=3`;
  return { url, connects: () => connects, close: () => closing.close() };
}

/** The driver once asked such a server again without a pause, some seven hundred times a second, and for ever. */
it("a server that accepts and closes is asked again with pauses, and who waits is refused in the end", async () => {
  const away = await closingServer();
  const waiting = openPostgres({ url: away.url, connectionsMax: 1 });
  const since = performance.now();
  const outcome = waiting
    .transaction((tx) => run(tx, "SELECT 1"))
    .then(
      () => "committed",
      (error: unknown) => String(error),
    );
  expect(await Promise.race([outcome, sleep(40_000, "still waiting")])).toContain("CONNECTION_CLOSED");
  expect(performance.now() - since).toBeGreaterThan(2_900);
  // After 50, 100, 200, 400, 800 and 1600 ms.
  expect(away.connects()).toBeGreaterThan(2);
  expect(away.connects()).toBeLessThan(10);
  await waiting.close();
  away.close();
});

describe("a server that is away", () => {
  const two = (tx: Queryable) => run(tx, "SELECT $1::int AS two", [2]);

  it("is waited for while it is down and while it starts up, by all who ask", async () => {
    const refusals = new Set<string>();
    const waiting = openPostgres({
      url: server.url,
      connectionsMax: 2,
      waitSeconds: 100,
      onRefused: (code) => refusals.add(code),
    });
    await waiting.transaction(two);
    await server.crash();
    let answered = 0;
    const asked = Array.from({ length: 20 }, (_, index) =>
      (index % 2 === 0 ? waiting.transaction(two) : two(waiting.query)).finally(() => answered++),
    );
    await until("it is told that nobody is there", () => refusals.has("ECONNREFUSED"));
    const finish = server.restartSlowly();
    await until("it is told that the server starts up", () => refusals.has("57P03"));
    expect(answered).toBe(0);
    finish();
    expect(await Promise.all(asked)).toEqual(asked.map(() => [{ two: 2 }]));
    await waiting.close();
  });

  it("is waited for so long and no longer, by each from when it asked", async () => {
    await server.crash();
    const impatient = openPostgres({ url: server.url, connectionsMax: 1, waitSeconds: 1 });
    const since = performance.now();
    const asked = await Promise.all(
      Array.from({ length: 10 }, () =>
        impatient.transaction(two).then(
          () => "answered",
          (error: unknown) => String(error),
        ),
      ),
    );
    // One after the other would have taken ten seconds.
    expect(performance.now() - since).toBeLessThan(8_000);
    expect(performance.now() - since).toBeGreaterThan(950);
    for (const outcome of asked) expect(outcome).toContain("ECONNREFUSED");
    const finish = server.restartSlowly();
    // Until the server listens at all, nobody is there.
    await until("it is refused by a server that starts up", () =>
      impatient.transaction(two).then(
        () => false,
        (error: { code?: string }) => error.code === "57P03",
      ),
    );
    finish();
    await until("it is answered", () =>
      impatient.transaction(two).then(
        (rows) => rows.length === 1,
        () => false,
      ),
    );
    await impatient.close();
  });

  it("is no reason to wait when it is there and refuses for good", async () => {
    const wrong = openPostgres({ url: server.url.replace(/\/postgres$/, "/nowhere"), connectionsMax: 1 });
    const since = performance.now();
    await expect(wrong.transaction(two)).rejects.toMatchObject({ code: "3D000" });
    // It would wait for ten seconds.
    expect(performance.now() - since).toBeLessThan(8_000);
    await wrong.close();
  });
});

it("a pool that is closed while it pauses does not connect again", async () => {
  const away = await closingServer();
  const sql = postgres(away.url, { max: 1, backoff: () => 1.5 });
  const refused = sql`SELECT 1`.catch(String);
  await until("it has asked twice", () => away.connects() === 2);
  await sleep(50);
  await sql.end({ timeout: 0 });
  expect(await refused).toContain("CONNECTION_DESTROYED");
  await sleep(2_000);
  expect(away.connects()).toBe(2);
  away.close();
});

it("a listener hears again after a restart", async () => {
  const heard: string[] = [];
  const stop = await database.listen("restart_test", (payload) => heard.push(payload));
  const hears = async (what: string): Promise<void> => {
    await until(`it hears "${what}"`, async () => {
      await run(database.query, "SELECT pg_notify('restart_test', $1)", [what]).catch(() => {});
      return heard.includes(what);
    });
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
