import { fromBinary } from "@bufbuild/protobuf";
import { TaskChangedSchema, TaskCompletedSchema, TaskDeletedSchema, TaskReopenedSchema } from "@tributary/contracts";
import { type Database, migrate, openPglite, openPostgres, run } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { append, ensurePartitions, lastConnectionEvents, migrations as pipelineTables } from "@tributary/pipeline";
import { type Signal, signal } from "@tributary/sdk";
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { commit, LeaseLost } from "./commit.ts";
import { claimDue, extendLease, type Lease, wake } from "./lease.ts";
import { migrations } from "./migrations.ts";
import type { Runtime } from "./runtime.ts";
import { connection, credential } from "./schema.ts";

let server: PrivatePostgres;
beforeAll(async () => {
  server = await startPrivatePostgres();
});
afterAll(() => server.stop());

const changed = (id: string, title: string, revision?: string): Signal =>
  signal(TaskChangedSchema, {
    id,
    occurredAt: new Date("2026-11-20T10:00:00Z"),
    data: { task: { id, title } },
    transition: { from: TaskCompletedSchema, as: TaskReopenedSchema },
    ...(revision === undefined ? {} : { revision }),
  });
const completed = (id: string, title: string): Signal =>
  signal(TaskCompletedSchema, { id, occurredAt: new Date("2026-11-20T11:00:00Z"), data: { task: { id, title } } });
const deleted = (id: string): Signal =>
  signal(TaskDeletedSchema, { id, occurredAt: new Date("2026-11-20T12:00:00Z"), data: { taskId: id } });

describe.each(["pglite", "postgres"] as const)("the commit, on %s", (engine) => {
  let database: Database;
  let runtime: Runtime;
  beforeAll(async () => {
    database = engine === "pglite" ? await openPglite() : openPostgres({ url: await server.createDatabase() });
    await migrate(database, [pipelineTables, migrations]);
    await ensurePartitions(database, new Date());
    runtime = { database, append, committed: () => {}, now: () => new Date() } as unknown as Runtime;
  });
  afterAll(() => database.close());

  /** A connection with a credential, due since `dueAt`. @returns its id. */
  async function due(organizationId: string, dueAt: Date): Promise<string> {
    const id = randomUUID();
    const common = { organizationId, integration: "todoist" };
    const owner = { ownerKind: "user", ownerId: "u", accountId: id, accountLabel: "x" } as const;
    await asOwner(database, (tx) =>
      tx
        .insert(connection)
        .values({ ...common, ...owner, id, apiVersion: "v1", state: "syncing", backfillFrom: new Date(0), dueAt }),
    );
    await asOwner(database, (tx) =>
      tx
        .insert(credential)
        .values({ ...common, id: randomUUID(), connectionId: id, secretIds: {}, grantedScopes: [], meta: { v: "1" } }),
    );
    return id;
  }

  /** A connection that was due, claimed. */
  async function claimed(): Promise<Lease> {
    const id = await due("acme", new Date(0));
    const leases = await asOwner(database, (tx) => claimDue(tx, 100));
    const lease = leases.find(({ connectionId }) => connectionId === id);
    if (lease === undefined) throw new Error("not claimed");
    return lease;
  }
  const write = (lease: Lease, signals: readonly Signal[], cursor?: string) =>
    commit(runtime, { lease, signals, backfill: false, traceparent: "", ...(cursor === undefined ? {} : { cursor }) });
  const events = async (lease: Lease) =>
    (
      await asOwner(database, (tx) => lastConnectionEvents(tx, lease.organizationId, lease.connectionId, 200))
    ).toReversed();
  const types = async (lease: Lease) =>
    (await events(lease)).map(({ type }) => type.replace("tributary.task.v1.Task", ""));
  const cursorOf = async (lease: Lease) =>
    (
      await asOwner(database, (tx) =>
        run<{ cursor: unknown }>(
          tx,
          "SELECT meta -> 'cursor' AS cursor FROM integrations.credential WHERE connection_id = $1",
          [lease.connectionId],
        ),
      )
    )[0]?.cursor;

  it("publishes what is new, numbers it without gaps, and moves the cursor with it", async () => {
    const lease = await claimed();
    expect(await write(lease, [changed("1", "a"), changed("2", "b")], "c1")).toEqual({ events: 2, unchanged: 0 });
    expect(await write(lease, [changed("1", "a"), changed("2", "B"), changed("3", "c")], "c2")).toEqual({
      events: 2,
      unchanged: 1,
    });
    const all = await events(lease);
    expect(all.map(({ sequence, objectKey }) => [sequence, objectKey])).toEqual([
      [1n, "task/1"],
      [2n, "task/2"],
      [3n, "task/2"],
      [4n, "task/3"],
    ]);
    expect(fromBinary(TaskChangedSchema, all[2]?.payload ?? new Uint8Array()).task?.title).toBe("B");
    expect(all[0]?.subject).toBe("evt.v1.acme.todoist.task.changed");
    expect(await cursorOf(lease)).toBe("c2");
  });

  it("publishes nothing for what it has seen, and moves the cursor all the same", async () => {
    const lease = await claimed();
    await write(lease, [changed("1", "a"), deleted("2")], "c1");
    expect(await write(lease, [changed("1", "a"), deleted("2")], "c2")).toEqual({ events: 0, unchanged: 2 });
    expect(await cursorOf(lease)).toBe("c2");
    expect(await events(lease)).toHaveLength(2);
  });

  it("makes completing, reopening and completing again three events with ids of their own", async () => {
    const lease = await claimed();
    for (const one of [changed("1", "a"), completed("1", "a"), changed("1", "a"), completed("1", "a")])
      await write(lease, [one]);
    expect(await types(lease)).toEqual(["Changed", "Completed", "Reopened", "Completed"]);
    expect(new Set((await events(lease)).map(({ id }) => id)).size).toBe(4);
  });

  it("keeps the order of an object that changed several times in one batch", async () => {
    const lease = await claimed();
    await write(
      lease,
      [changed("1", "a"), changed("2", "b"), completed("1", "a"), changed("1", "a"), changed("2", "b"), deleted("1")],
      "c",
    );
    expect(await types(lease)).toEqual(["Changed", "Changed", "Completed", "Reopened", "Deleted"]);
  });

  it("trusts a revision over the payload, and derives the id from it", async () => {
    const [one, other] = [await claimed(), await claimed()];
    await write(one, [changed("1", "a", "r1")]);
    expect(await write(one, [changed("1", "a different text", "r1")])).toEqual({ events: 0, unchanged: 1 });
    expect(await write(one, [changed("1", "a", "r2")])).toEqual({ events: 1, unchanged: 0 });
    await write(other, [changed("1", "a", "r1")]);
    expect((await events(one))[0]?.id).not.toBe((await events(other))[0]?.id);
  });

  it.each([
    ["another worker took over", (lease: Lease) => ({ ...lease, token: lease.token - 1 })],
    ["the organisation is another", (lease: Lease) => ({ ...lease, organizationId: "globex" })],
    ["the credential was replaced", (lease: Lease) => ({ ...lease, credentialId: randomUUID() })],
  ])("writes nothing when %s", async (_why, spoil) => {
    const lease = await claimed();
    await expect(write(spoil(lease), [changed("1", "a")], "c1")).rejects.toThrow(LeaseLost);
    expect(await events(lease)).toEqual([]);
    expect(await cursorOf(lease)).toBeNull();
    expect(await write(lease, [changed("1", "a")], "c1")).toEqual({ events: 1, unchanged: 0 });
  });

  it("remembers beside the cursor that the history is still being read", async () => {
    const lease = await claimed();
    const meta = async () =>
      (
        await asOwner(database, (tx) =>
          run<{ meta: unknown }>(tx, "SELECT meta FROM integrations.credential WHERE id = $1", [lease.credentialId]),
        )
      )[0]?.meta;
    await commit(runtime, { lease, signals: [changed("1", "a")], cursor: "c1", backfill: true, traceparent: "" });
    expect(await meta()).toEqual({ v: "1", cursor: "c1", backfilling: true });
    await write(lease, [], "c2");
    expect(await meta()).toEqual({ v: "1", cursor: "c2" });
  });

  it("writes nothing when the ledger refuses: neither object state nor cursor", async () => {
    const lease = await claimed();
    const broken = { ...runtime, append: () => Promise.reject(new Error("disk full")) } as unknown as Runtime;
    await expect(
      commit(broken, { lease, signals: [changed("1", "a")], cursor: "c1", backfill: false, traceparent: "" }),
    ).rejects.toThrow("disk full");
    expect(await cursorOf(lease)).toBeNull();
    expect(await write(lease, [changed("1", "a")], "c1")).toEqual({ events: 1, unchanged: 0 });
  });

  it("claims each due connection once, organisations in turn, and again when it is woken or its lease ran out", async () => {
    // Leases of before may run out meanwhile.
    await asOwner(database, (tx) => run(tx, "UPDATE integrations.connection SET due_at = NULL"));
    for (const [index, organizationId] of ["big", "big", "big", "small"].entries())
      await due(organizationId, new Date(index));
    const first = await asOwner(database, (tx) => claimDue(tx, 2));
    expect(first.map(({ organizationId }) => organizationId).toSorted()).toEqual(["big", "small"]);
    const rest = await Promise.all([
      asOwner(database, (tx) => claimDue(tx, 10)),
      asOwner(database, (tx) => claimDue(tx, 10)),
    ]);
    expect(rest.flat()).toHaveLength(2);
    const [lease] = first;
    if (lease === undefined) throw new Error("nothing claimed");
    expect(await asOwner(database, (tx) => extendLease(tx, lease))).toBe(true);
    expect(await asOwner(database, (tx) => wake(tx, lease.organizationId, [lease.connectionId]))).toBe(1);
    expect(await asOwner(database, (tx) => claimDue(tx, 10))).toEqual([]);
    await asOwner(database, (tx) =>
      run(tx, "UPDATE integrations.connection SET lease_until = now() - interval '1 s' WHERE id = $1", [
        lease.connectionId,
      ]),
    );
    const [again] = await asOwner(database, (tx) => claimDue(tx, 10));
    expect(again?.token).toBe(lease.token + 1);
    expect(await asOwner(database, (tx) => extendLease(tx, lease))).toBe(false);
  });
});
