import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Database, type Queryable, run, runAhead, runLast } from "./database.ts";
import { openPglite } from "./pglite.ts";
import { openPostgres } from "./postgres.ts";
import { countingWire, type Wire } from "./testing/counting-wire.ts";
import { type PrivatePostgres, startPrivatePostgres } from "./testing/private-postgres.ts";

let server: PrivatePostgres;
beforeAll(async () => {
  server = await startPrivatePostgres();
});
afterAll(() => server.stop());

const TABLE = `CREATE TABLE noted (what text PRIMARY KEY);
CREATE TABLE checked (what text REFERENCES noted DEFERRABLE INITIALLY DEFERRED)`;
const note = (on: Queryable, what: string) => run(on, "INSERT INTO noted VALUES ($1)", [what]);
const noteLast = (on: Queryable, what: string) => runLast(on, "INSERT INTO noted VALUES ($1)", [what]);
const number = (on: Queryable, text: string) => run<{ n: number }>(on, text).then(([row]) => row?.n);
const noted = async (database: Database) =>
  (await run<{ what: string }>(database.query, "SELECT what FROM noted ORDER BY what")).map(({ what }) => what);
const told = (outcome: Promise<unknown>): Promise<string> =>
  outcome.then(
    (value) => `committed ${JSON.stringify(value)}`,
    (error: unknown) => String(error),
  );

describe.each(["pglite", "postgres"] as const)("a transaction on %s", (engine) => {
  let database: Database;
  beforeAll(async () => {
    database =
      engine === "pglite"
        ? await openPglite()
        : openPostgres({ url: await server.createDatabase(), connectionsMax: 2 });
    for (const statement of TABLE.split(";")) await run(database.query, statement);
  });
  afterAll(() => database.close());
  beforeEach(() => run(database.query, "TRUNCATE noted, checked"));

  it("commits what it wrote, whichever statement was its first", async () => {
    expect(
      await database.transaction(async (tx) => {
        await note(tx, "first");
        await note(tx, "second");
        return "result";
      }),
    ).toBe("result");
    await database.transaction((tx) => run(tx, "INSERT INTO noted VALUES ('without parameters')"));
    await database.transaction((tx) => tx.execute("INSERT INTO noted VALUES ('by drizzle')"));
    await database.transaction(async () => {});
    expect(await noted(database)).toEqual(["by drizzle", "first", "second", "without parameters"]);
  });

  it("says the error of its first statement, and keeps nothing of what follows", async () => {
    const outcome = database.transaction(async (tx) => {
      await run(tx, "INSERT INTO nowhere VALUES ($1)", ["x"]).catch(() => {});
      await note(tx, "after");
    });
    // PGlite says the last error of those that a transaction had, PostgreSQL the first.
    expect(await told(outcome)).toMatch(
      engine === "pglite" ? /transaction is aborted/ : /relation "nowhere" does not exist/,
    );
    await note(database.query, "once");
    expect(await told(database.transaction((tx) => note(tx, "once")))).toContain("duplicate key");
    expect(await told(database.transaction((tx) => run(tx, "SELECT 1 / 0")))).toContain("division by zero");
    expect(await noted(database)).toEqual(["once"]);
  });

  it("rolls back what its work throws, with whatever was asked and not waited for", async () => {
    const outcome = database.transaction(async (tx) => {
      void note(tx, "forgotten").catch(() => {});
      throw new Error("no");
    });
    expect(await told(outcome)).toBe("Error: no");
    expect(await noted(database)).toEqual([]);
  });

  it("runs what goes ahead before the next statement, which is not run when that fails", async () => {
    const set = "SELECT set_config('app.demo', $1, true)";
    const shown = "SELECT current_setting('app.demo') AS n";
    expect(
      await database.transaction(async (tx) => {
        await runAhead(tx, set, ["one"]);
        return run(tx, "SELECT current_setting('app.demo') AS n, $1::text AS m", ["m"]);
      }),
    ).toEqual([{ n: "one", m: "m" }]);
    // Without parameters the next statement has a packet of its own.
    expect(await database.transaction((tx) => runAhead(tx, set, ["two"]).then(() => number(tx, shown)))).toBe("two");
    expect(await number(database.query, "SELECT current_setting('app.demo', true) AS n")).toBeOneOf([null, ""]);
    for (const text of ["INSERT INTO noted VALUES ($1)", "INSERT INTO noted SELECT 'x'"]) {
      const failing = database.transaction(async (tx) => {
        await runAhead(tx, "SELECT set_config('role', $1, true)", ["nobody_at_all"]);
        await run(tx, text, text.includes("$1") ? ["x"] : []);
      });
      expect(await told(failing)).toContain('role "nobody_at_all" does not exist');
    }
    expect(await noted(database)).toEqual([]);
  });

  it("commits with its last statement, or says that statement's error", async () => {
    expect(
      await database.transaction((tx) => runLast(tx, "INSERT INTO noted VALUES ($1) RETURNING what", ["a"])),
    ).toEqual([{ what: "a" }]);
    await database.transaction(async (tx) => {
      await note(tx, "b");
      await noteLast(tx, "c");
    });
    for (const last of ["a", "b"]) {
      const outcome = database.transaction((tx) => note(tx, `before ${last}`).then(() => noteLast(tx, last)));
      expect(await told(outcome)).toContain("duplicate key");
      expect(await told(database.transaction((tx) => noteLast(tx, last)))).toContain("duplicate key");
    }
    expect(await noted(database)).toEqual(["a", "b", "c"]);
  });

  it("commits nothing with a last statement behind one that failed", async () => {
    const outcome = database.transaction(async (tx) => {
      await note(tx, "before");
      await run(tx, "SELECT 1 / 0").catch(() => {});
      return noteLast(tx, "last").catch(() => "unheard");
    });
    expect(await told(outcome)).toMatch(engine === "pglite" ? /rolled back instead of committed/ : /division by zero/);
    expect(await noted(database)).toEqual([]);
  });

  it("says what COMMIT refused", async () => {
    const dangling = "INSERT INTO checked VALUES ($1)";
    expect(await told(database.transaction((tx) => run(tx, dangling, ["x"])))).toContain("violates foreign key");
    expect(await told(database.transaction((tx) => runLast(tx, dangling, ["x"])))).toContain("violates foreign key");
    expect(await run(database.query, "SELECT 1 FROM checked")).toEqual([]);
  });

  it("undoes a nested one alone, also when that begins it and says that it is the last", async () => {
    await database.transaction(async (tx) => {
      const nested = tx.transaction(async (inner) => {
        await noteLast(inner, "undone");
        throw new Error("undo");
      });
      expect(await told(nested)).toBe("Error: undo");
      await tx.transaction((inner) => note(inner, "kept"));
      await note(tx, "outer");
    });
    expect(await noted(database)).toEqual(["kept", "outer"]);
  });

  it("serves many at once over few connections, each with what it wrote itself", async () => {
    const each = (index: number) =>
      database.transaction(async (tx) => {
        await runAhead(tx, "SELECT set_config('app.demo', $1, true)", [String(index)]);
        if (index % 3 === 0) await run(tx, "SELECT $1::text", ["first"]);
        const write = "INSERT INTO noted SELECT current_setting('app.demo') || $1 RETURNING what";
        if (index % 2 === 0) return runLast<{ what: string }>(tx, write, [""]);
        const rows = await run<{ what: string }>(tx, write, [""]);
        if (index % 5 === 0) throw new Error(`no ${index}`);
        return rows;
      });
    const plain = (index: number) => run<{ n: number }>(database.query, "SELECT $1::int AS n", [index]);
    const indexes = Array.from({ length: 300 }, (_, index) => index);
    const [written, read] = await Promise.all([
      Promise.all(indexes.map((index) => told(each(index)))),
      Promise.all(indexes.map(plain)),
    ]);
    const fails = (index: number): boolean => index % 2 === 1 && index % 5 === 0;
    for (const index of indexes)
      expect(written[index]).toBe(fails(index) ? `Error: no ${index}` : `committed [{"what":"${index}"}]`);
    expect(read).toEqual(indexes.map((n) => [{ n }]));
    expect((await noted(database)).toSorted()).toEqual(
      indexes
        .filter((index) => !fails(index))
        .map(String)
        .toSorted(),
    );
  });
});

describe("over the wire of PostgreSQL", () => {
  let wire: Wire;
  let database: Database;
  beforeAll(async () => {
    wire = await countingWire(await server.createDatabase());
    database = openPostgres({ url: wire.url, connectionsMax: 1 });
    for (const statement of TABLE.split(";")) await run(database.query, statement);
  });
  afterAll(async () => {
    await database.close();
    wire.close();
  });
  beforeEach(() => run(database.query, "TRUNCATE noted, checked"));

  it("a transaction takes a round trip for each statement and one for COMMIT, or none for it with the last", async () => {
    const ahead = (tx: Queryable) => runAhead(tx, "SELECT set_config('app.demo', $1, true)", ["x"]);
    const trips = async (work: (tx: Queryable) => Promise<unknown>): Promise<number> => {
      const before = wire.answers();
      await database.transaction(work);
      return wire.answers() - before;
    };
    for (const _ of ["prepared", "counted"]) {
      await trips((tx) => ahead(tx).then(() => note(tx, `a${_}`)));
      await trips((tx) => note(tx, `b${_}`).then(() => noteLast(tx, `c${_}`)));
    }
    expect(await trips((tx) => ahead(tx).then(() => note(tx, "one")))).toBe(2);
    expect(await trips((tx) => ahead(tx).then(() => noteLast(tx, "two")))).toBe(1);
    expect(await trips((tx) => note(tx, "three").then(() => noteLast(tx, "four")))).toBe(2);
    expect(await trips(async () => {})).toBe(0);
  });

  /** PostgreSQL refuses no BEGIN while it answers at all; a wire that spoils its text stands for what might. */
  it("nothing is executed behind a BEGIN that failed, and the connection serves the next", async () => {
    for (const work of [
      (tx: Queryable) => note(tx, "one"),
      (tx: Queryable) => run(tx, "INSERT INTO noted VALUES ('one')"),
      (tx: Queryable) => Promise.allSettled([note(tx, "one"), note(tx, "two"), noteLast(tx, "three")]),
    ]) {
      // On a connection of its own: BEGIN is prepared once on each.
      const fresh = openPostgres({ url: wire.url, connectionsMax: 1 });
      wire.spoil("begin ", "begun ");
      expect(await told(fresh.transaction(work))).toContain('syntax error at or near "begun"');
      expect(await noted(fresh)).toEqual([]);
      wire.spoil();
      await fresh.transaction((tx) => note(tx, "next"));
      expect(await noted(fresh)).toEqual(["next"]);
      await run(fresh.query, "TRUNCATE noted, checked");
      await fresh.close();
    }
  });

  it("refuses what is asked of a transaction that its last statement has committed", async () => {
    const outcome = database.transaction(async (tx) => {
      await noteLast(tx, "last");
      await note(tx, "after");
    });
    expect(await told(outcome)).toContain("TRANSACTION_ENDED");
    expect(await noted(database)).toEqual(["last"]);
    // Also what nobody waited for.
    await database.transaction(async (tx) => void noteLast(tx, "unheard"));
    await database.transaction((tx) => note(tx, "next"));
    expect(await noted(database)).toEqual(["last", "next", "unheard"]);
  });

  it("a connection that is lost between BEGIN and its statement's answer fails the transaction as a whole", async () => {
    const narrow = openPostgres({ url: wire.url, connectionsMax: 1 });
    await narrow.transaction((tx) => note(tx, "first"));
    for (const [index, when] of ["before the packet", "behind the packet", "in the midst of it"].entries()) {
      wire.cutAt(when === "before the packet" ? 0 : when === "in the midst of it" ? 20 : undefined);
      const outcome = narrow.transaction(async (tx) => {
        await run(tx, "INSERT INTO noted SELECT $1 FROM pg_sleep(1)", [`lost ${index}`]).catch(() => {});
        await note(tx, `later ${index}`).catch(() => {});
      });
      if (when === "behind the packet") await sleep(50).then(wire.cut);
      expect(await told(outcome), when).toMatch(/CONNECTION_CLOSED|ECONNRESET/);
      expect(await noted(narrow), when).toEqual(["first"]);
      await narrow.transaction((tx) => run(tx, "SELECT $1::text", ["next"]));
    }
    await narrow.close();
  });

  /** The driver once rejected whoever was being answered, and gave the next answers to the wrong ones. */
  it("a parameter that cannot be written fails its own statement and no other", async () => {
    const text = "SELECT $1::text AS bad";
    const bad = [
      {
        toString: () => {
          throw new Error("no text");
        },
      },
    ];
    const ask = () =>
      [
        run(database.query, "SELECT $1::int AS n", [1]),
        run(database.query, text, bad),
        run(database.query, "SELECT $1::int AS n", [2]),
      ].map(told);
    const first = ask();
    await run(database.query, text, ["prepared"]);
    const second = ask();
    const right = ['committed [{"n":1}]', "Error: no text", 'committed [{"n":2}]'];
    expect(await Promise.all([...first, ...second])).toEqual([...right, ...right]);
  });
});
