import { TaskChangedSchema } from "@tributary/contracts";
import {
  acrossOrganizations,
  asOwner,
  type Database,
  DatabaseUnavailable,
  migrate,
  openPglite,
  run as runSql,
} from "@tributary/db";
import { ensurePartitions, migrations as pipelineTables } from "@tributary/pipeline";
import { checkpoint, type Connector, Retryable, signal, type User } from "@tributary/sdk";
import { VaultError } from "@tributary/vault";
import { eq } from "drizzle-orm";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { claimDue } from "./lease.ts";
import { migrations } from "./migrations.ts";
import { connection } from "./schema.ts";
import { syncRun } from "./sync-run.ts";
import { insertDueConnection, runtimeOf } from "./testing/run-stage.ts";
import { createThrottle } from "./throttle.ts";

let real: Database;
beforeAll(async () => {
  real = await openPglite();
  await migrate(real, [pipelineTables, migrations]);
  await ensurePartitions(real, new Date());
});
afterAll(() => real.close());
afterEach(() => void vi.useRealTimers());

const away = new DatabaseUnavailable("CONNECTION_CLOSED", new Error("write CONNECTION_CLOSED"));
function lose(now: boolean): void {
  if (now) throw away;
}
const unrecorded = Object.assign(new VaultError("audit_unavailable", "not recorded"), { cause: away });
const said: Record<string, unknown>[] = [];
let fetchSignals: Connector["fetchSignals"];
/** Called with the number of each transaction of a run: before it, and after it was committed. */
let around: { before?: (n: number) => void; after?: (n: number) => void };
let id: string;

beforeEach(async () => {
  [said.length, around] = [0, {}];
  await asOwner(real, (tx) => runSql(tx, "UPDATE integrations.connection SET due_at = NULL"));
  id = await insertDueConnection(real, 2);
});

/** Makes the connection due, and runs it. @returns the outcome, and the connection's row afterwards. */
async function runOnce() {
  let n = 0;
  const database: Database = {
    ...real,
    transaction: async (work) => {
      const number = ++n;
      around.before?.(number);
      const result = await real.transaction(work);
      around.after?.(number);
      return result;
    },
  };
  const connector = {
    id: "tasks",
    scopes: [],
    manifest: {
      hosts: ["p.example.com"],
      events: [TaskChangedSchema],
      apiVersions: [{ id: "1" }],
      pollIntervalMs: 9e5,
    },
    fetchSignals: (user: User, since: unknown) => fetchSignals(user, since as never),
  } as unknown as Connector;
  const vault = { open: () => ({ fetch: () => Promise.reject(unrecorded) }) };
  const runtime = runtimeOf(database, connector, vault, said);
  await asOwner(real, async (tx) => {
    await tx
      .update(connection)
      .set({ dueAt: new Date(0) })
      .where(eq(connection.id, id));
    // However coarse the clock is, no two runs of a connection begin at the same time.
    await runSql(tx, "UPDATE integrations.run SET started_at = started_at - interval '1 minute'");
  });
  const [lease] = await acrossOrganizations(real, "scheduler", (tx) => claimDue(tx, 1));
  if (lease === undefined) throw new Error("nothing was due");
  const result = await syncRun(runtime, createThrottle(Date.now), lease, new AbortController().signal);
  const [row] = await asOwner(real, (tx) => tx.select().from(connection).where(eq(connection.id, id)));
  const [next] = await asOwner(real, (tx) =>
    runSql<{ seconds: number | null }>(
      tx,
      "SELECT date_part('epoch', due_at - (SELECT max(ended_at) FROM integrations.run WHERE connection_id = $1)) AS seconds FROM integrations.connection WHERE id = $1",
      [id],
    ),
  );
  return { ...result, row, pauseSeconds: next?.seconds };
}

const titled = (title: string) =>
  signal(TaskChangedSchema, { id: "1", occurredAt: new Date(), data: { task: { id: "1", title } } });

const PAUSES = [1, 2, 4, 8, 16];
const reading = async function* () {
  yield titled("a");
  yield checkpoint("c1");
};
const opening = async function* (user: User) {
  await user.fetch("https://p.example.com/");
  yield checkpoint("c1");
};
const rephrasing = async function* (user: User) {
  await user.fetch("https://p.example.com/").catch((cause: unknown) => {
    throw new Retryable("that did not work", { cause });
  });
  yield checkpoint("c1");
};

it.each([
  // The start of the run, loading, a commit.
  ["in a commit", 3, reading, PAUSES],
  ["while the cursor is loaded", 2, reading, PAUSES],
  // Nothing tells how often, and a second is enough where claiming waits as well.
  ["before the run is written down", 1, reading, PAUSES.map(() => null)],
  ["where the opening of a credential is recorded", undefined, opening, PAUSES],
  ["where a connector makes its own of that", undefined, rephrasing, PAUSES],
])("a database that is unavailable %s is held against nobody, and the pauses grow", async (_, failing, how, pauses) => {
  fetchSignals = how;
  // Four runs that a bug ended would have stopped the connection.
  for (const pause of pauses) {
    around = { before: (n) => lose(n === failing) };
    const { outcome, row, pauseSeconds } = await runOnce();
    expect(outcome).toBe("database_unavailable");
    expect(row).toMatchObject({ state: "connected", failures: 2, leaseUntil: null, reasonCode: null });
    expect(pauseSeconds).toBe(pause);
    expect(said.at(-1)).toMatchObject({ outcome, connection: id, code: "CONNECTION_CLOSED" });
  }
  [around, fetchSignals] = [{}, reading];
  expect(await runOnce()).toMatchObject({ outcome: "ok", events: 1, row: { state: "connected", failures: 0 } });
  fetchSignals = opening;
  expect(await runOnce()).toMatchObject({ outcome: "database_unavailable", pauseSeconds: 1 });
});

it("a database that is unavailable as a run is settled is asked once more, and the run counts once", async () => {
  // The fourth is the settling; of the first try nothing is left, or only its answer got lost.
  for (const [tries, lost] of [
    [1, { before: (n: number) => lose(n === 4) }],
    [2, { after: (n: number) => lose(n === 4) }],
  ] as const) {
    around = lost;
    fetchSignals = async function* () {
      yield titled(`${tries}`);
      yield checkpoint("c1");
      throw new Retryable("not now");
    };
    const { outcome, row, pauseSeconds } = await runOnce();
    expect(outcome).toBe("retryable");
    expect(row).toMatchObject({ state: "error", failures: 2 + tries, leaseUntil: null, eventsRead: tries });
    expect(pauseSeconds).toBeGreaterThan(0);
  }
});

it("a run that takes too long goes on behind its last checkpoint, as often as it gets on", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const wait = (user: User): void => {
    vi.advanceTimersByTime(15 * 60_000);
    user.signal.throwIfAborted();
  };
  const places: unknown[] = [];
  fetchSignals = async function* (user, since) {
    places.push(since);
    yield titled(`${places.length}`);
    yield checkpoint(`c${places.length}`);
    wait(user);
  };
  // Four that a bug ended would have stopped the connection.
  for (let turn = 1; turn <= 5; turn++) {
    const { outcome, events, row, pauseSeconds } = await runOnce();
    expect({ outcome, events, pauseSeconds }).toEqual({ outcome: "continues", events: 1, pauseSeconds: 0 });
    expect(row).toMatchObject({ state: "connected", failures: 0, leaseUntil: null, reasonCode: null });
  }
  expect(places).toEqual([undefined, "c1", "c2", "c3", "c4"]);
  // One that reaches no checkpoint in all that time, or the same one again and again, would never end.
  fetchSignals = async function* (user) {
    wait(user);
    yield checkpoint("never");
  };
  expect(await runOnce()).toMatchObject({ outcome: "bug", row: { state: "error", failures: 1 } });
  fetchSignals = async function* (user) {
    yield checkpoint("c5");
    wait(user);
  };
  expect(await runOnce()).toMatchObject({ outcome: "bug", row: { state: "error", failures: 2 } });
  fetchSignals = async function* (user) {
    yield checkpoint("c6");
    wait(user);
  };
  expect(await runOnce()).toMatchObject({ outcome: "continues", row: { state: "syncing", failures: 0 } });
});
