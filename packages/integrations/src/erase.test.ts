import { type Database, migrate, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { migrations as pipelineTables } from "@tributary/pipeline";
import { randomUUID } from "node:crypto";
import { channel } from "node:diagnostics_channel";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { erase, type EraseMessages, type EraseTarget, replayErasures } from "./erase.ts";
import { migrations } from "./migrations.ts";
import type { Runtime } from "./runtime.ts";
import { action, connection, credential, notice, objectState, receipt, run as runs, setting } from "./schema.ts";

let database: Database;
beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [pipelineTables, migrations]);
});
afterAll(() => database.close());
beforeEach(() =>
  asOwner(database, async (tx) => {
    for (const table of CONTENT.toReversed()) await run(tx, `DELETE FROM ${table}`);
  }),
);

const CONTENT = [
  "integrations.connection",
  "integrations.credential",
  "integrations.object_state",
  "integrations.run",
  "integrations.action",
  "integrations.receipt",
  "pipeline.event",
  "pipeline.dead_letter",
  "pipeline.consumer_position",
];

/** A connection with something of it in every table. */
async function linked(organizationId: string, ownerKind: "user" | "organization", ownerId: string): Promise<string> {
  const [id, common] = [randomUUID(), { organizationId, integration: "tasks" }];
  const owner = { ownerKind, ownerId, accountLabel: `canary-${ownerId}` };
  const of = { organizationId, connectionId: id };
  await asOwner(database, async (tx) => {
    await tx.insert(connection).values({
      ...common,
      ...owner,
      id,
      accountId: id,
      apiVersion: "1",
      state: "connected",
      backfillFrom: new Date(0),
    });
    await tx
      .insert(credential)
      .values({ ...common, id: randomUUID(), connectionId: id, secretIds: {}, grantedScopes: [], meta: { v: "1" } });
    await tx.insert(objectState).values({ ...of, key: randomBytes(id), revision: 1, mark: randomBytes(id), type: "t" });
    await tx.insert(runs).values({ ...of, id: randomUUID(), purpose: "sync" });
    await tx.insert(action).values({ ...of, idempotencyKey: randomUUID(), type: "t", inputHash: randomBytes(id) });
    await run(tx, INSERT_EVENT, [id, organizationId, `canary-${ownerId}`]);
    await run(tx, INSERT_DEAD_LETTER, [id, organizationId, `canary-${ownerId}`]);
    await run(tx, "INSERT INTO pipeline.consumer_position VALUES ($2, 'c', $1, 1)", [id, organizationId]);
  });
  return id;
}
const randomBytes = (id: string): Uint8Array => Buffer.from(id);
const INSERT_EVENT = `
INSERT INTO pipeline.event VALUES (current_date, $1, 1, $2, 'tasks', 'e', 't', 's', 'o/1', now(), false, '', now(), convert_to($3, 'UTF8'))`;
const INSERT_DEAD_LETTER = `
INSERT INTO pipeline.dead_letter (organization_id, consumer, connection_id, sequence, event_id, type, reason, died_at)
VALUES ($2, 'c', $1, 1, 'e', 't', $3, now())`;

/** How many rows each table has, and whether anything names the person. */
async function left(person: string): Promise<{ rows: number[]; named: boolean }> {
  const dumps = await asOwner(database, async (tx) => {
    const all: { row: string }[][] = [];
    for (const table of CONTENT) all.push(await run<{ row: string }>(tx, `SELECT t::text AS row FROM ${table} AS t`));
    return all;
  });
  const text = JSON.stringify(dumps);
  const encoded = Buffer.from(`canary-${person}`).toString("hex");
  return { rows: dumps.map((rows) => rows.length), named: text.includes(`canary-${person}`) || text.includes(encoded) };
}

interface Told {
  readonly steps: string[];
  readonly runtime: Runtime;
  readonly erased: (EraseTarget & { readonly id: string; readonly erasedAt: Date })[];
}

/** A vault and a provider that write down, in order, what they are asked. */
function recording(revoke: () => Promise<void> = async () => {}): Told {
  const told: string[] = [];
  const erased: Told["erased"] = [];
  const vault = {
    open: (scope: { owner: { id: string } }) => ({ revoke: async () => told.push(`revoke ${scope.owner.id}`) }),
    erase: async (target: EraseTarget) => {
      told.push(`shred ${target.organizationId} ${target.userId ?? "all"}`);
      const entry = { ...target, id: randomUUID(), erasedAt: new Date(Date.now() + 1000) };
      erased.push(entry);
      return { ...entry, keys: 1, credentials: 1 };
    },
    erasures: async () => erased,
  };
  const connector = {
    auth: { revocation: "https://provider.example.com/revoke" },
    manifest: { hosts: [], rateLimit: { requests: 1, perMs: 1, scope: "connection" } },
    revoke: async (user: { id: string }) => {
      told.push(`revoke ${user.id}`);
      await revoke();
    },
  };
  const log = { info: () => {}, warn: (_: object, text: string) => told.push(text), error: () => {} };
  const runtime = { database, vault, registry: { get: () => connector }, now: () => new Date(), log };
  return { steps: told, runtime: runtime as unknown as Runtime, erased };
}

describe("erasing a person", () => {
  it("stops, withdraws consent, shreds, and only then deletes: theirs in this organisation, and nobody else's", async () => {
    await linked("acme", "user", "mia");
    await linked("acme", "user", "mia");
    await linked("acme", "user", "noa");
    await linked("acme", "organization", "acme");
    await linked("globex", "user", "mia");
    const { steps, runtime } = recording(async () => {
      const rows = await asOwner(database, (tx) =>
        run<{ n: number }>(
          tx,
          "SELECT count(*)::int AS n FROM integrations.connection WHERE state = 'connected' AND organization_id = 'acme' AND owner_id = 'mia'",
        ),
      );
      expect(rows).toEqual([{ n: 0 }]);
    });
    const report = await erase(runtime, { organizationId: "acme", userId: "mia" });
    expect(report).toMatchObject({
      connections: 2,
      revoked: 2,
      notRevoked: 0,
      keys: 1,
      events: 2,
      messages: undefined,
    });
    expect(steps).toEqual(["revoke mia", "revoke mia", "shred acme mia"]);
    expect((await left("mia")).rows).toEqual([3, 3, 3, 3, 3, 0, 3, 3, 3]);
    expect((await left("noa")).named).toBe(true);
    await erase(runtime, { organizationId: "globex", userId: "mia" });
    expect((await left("mia")).named).toBe(false);
  });

  it("goes on when a provider refuses or is away, and says so", async () => {
    await linked("acme", "user", "mia");
    const { steps, runtime } = recording(() => Promise.reject(new Error("canary-token")));
    expect(await erase(runtime, { organizationId: "acme", userId: "mia" })).toMatchObject({
      revoked: 0,
      notRevoked: 1,
    });
    expect(steps.join()).toContain("could not be withdrawn");
    expect(steps.join()).not.toContain("canary-token");
    expect((await left("mia")).named).toBe(false);
  });

  it("deletes receipts of connections that ended before, and withdraws what is still pending there", async () => {
    const id = await linked("acme", "user", "mia");
    await asOwner(database, async (tx) => {
      await tx.delete(credential);
      await tx.insert(receipt).values({
        id: randomUUID(),
        organizationId: "acme",
        connectionId: id,
        integration: "tasks",
        ownerKind: "user",
        ownerId: "mia",
        accountLabel: "canary-mia",
        credentialId: randomUUID(),
        revocation: "pending",
        nextAttemptAt: new Date(),
        eventsKept: 0,
        eventsDeleted: 0,
      });
    });
    const { steps, runtime } = recording();
    await erase(runtime, { organizationId: "acme", userId: "mia" });
    expect(steps).toEqual(["revoke mia", "shred acme mia"]);
    expect((await left("mia")).rows).toEqual(CONTENT.map(() => 0));
  });
});

it("erasing an organisation takes all of its people, and no other organisation", async () => {
  await linked("acme", "user", "mia");
  await linked("acme", "organization", "acme");
  await linked("globex", "user", "mia");
  await asOwner(database, async (tx) => {
    for (const organizationId of ["acme", "globex"]) {
      await tx
        .insert(setting)
        .values({ organizationId, integration: "tasks", updatedBy: "mia", updatedAt: new Date() });
      await tx
        .insert(notice)
        .values({ organizationId, id: randomUUID(), code: "record_reset", place: "run.log", rowKey: "mia" });
    }
  });
  const report = await erase(recording().runtime, { organizationId: "acme" });
  expect(report).toMatchObject({ connections: 2, revoked: 2, events: 2 });
  expect((await left("mia")).rows).toEqual([1, 1, 1, 1, 1, 0, 1, 1, 1]);
  const kept = await asOwner(database, async (tx) => [
    ...(await tx.select().from(setting)),
    ...(await tx.select().from(notice)),
  ]);
  expect(kept.map(({ organizationId }) => organizationId)).toEqual(["globex", "globex"]);
});

describe("an erasure that was cut short", () => {
  const cuts = ["erase.stopped", "erase.revoked", "erase.shredded", "erase.deleted", "erase.unpublished"];
  it.each(cuts)("at %s is finished by erasing again", async (cut) => {
    await linked("acme", "user", "mia");
    const { runtime } = recording();
    const messages: string[][] = [];
    const eraseMessages: EraseMessages = async ({ connectionIds }) => messages.push([...connectionIds]);
    const options = { messages: { servers: "nats://127.0.0.1:1", erase: eraseMessages } };
    await expect(cutAt(cut, () => erase(runtime, { organizationId: "acme", userId: "mia" }, options))).rejects.toThrow(
      "cut",
    );
    await erase(runtime, { organizationId: "acme", userId: "mia" }, options);
    expect((await left("mia")).rows).toEqual(CONTENT.map(() => 0));
    expect(new Set(messages.flat()).size).toBe(1);
  });

  it("after the keys were destroyed is finished at the next start, and what was made later stays", async () => {
    await linked("acme", "user", "mia");
    const { runtime, erased } = recording();
    await expect(
      cutAt("erase.shredded", () => erase(runtime, { organizationId: "acme", userId: "mia" })),
    ).rejects.toThrow("cut");
    const [entry] = erased;
    erased.splice(0, 1, { ...entry!, erasedAt: new Date(Date.now() - 1) });
    const again = await linked("acme", "user", "mia");
    expect(await replayErasures(runtime)).toBe(1);
    expect(await replayErasures(runtime)).toBe(0);
    const rows = await asOwner(database, (tx) => tx.select({ id: connection.id }).from(connection));
    expect(rows).toEqual([{ id: again }]);
  });

  it("by a broker that is away remembers whose messages there are", async () => {
    const id = await linked("acme", "user", "mia");
    const { runtime } = recording();
    const away: EraseMessages = () => Promise.reject(new Error("away"));
    const target = { organizationId: "acme", userId: "mia" };
    await expect(erase(runtime, target, { messages: { servers: "x", erase: away } })).rejects.toMatchObject({
      code: "temporarily_unavailable",
    });
    expect((await left("mia")).rows).toEqual([1, 0, 0, 0, 0, 0, 0, 0, 0]);
    // A start is not stopped by it, and forgets nothing either.
    expect(await replayErasures(runtime, { messages: { servers: "x", erase: away } })).toBe(0);
    expect((await left("mia")).rows[0]).toBe(1);
    const asked: string[] = [];
    const back: EraseMessages = async ({ connectionIds }) => asked.push(...connectionIds);
    expect(await erase(runtime, target, { messages: { servers: "x", erase: back } })).toMatchObject({ messages: 1 });
    expect(asked).toEqual([id]);
  });
});

/** Ends the work at a step as a killed process would: nothing after it happens. */
async function cutAt(step: string, work: () => Promise<unknown>): Promise<unknown> {
  const steps = channel("tributary:step");
  const cut = Promise.withResolvers<never>();
  const reached = (name: unknown): void => {
    if (name !== step) return;
    dead = true;
    cut.reject(new Error("cut"));
  };
  let dead = false;
  const original = database.transaction;
  Object.assign(database, {
    transaction: (inner: Parameters<Database["transaction"]>[0]) =>
      dead ? new Promise(() => {}) : original.call(database, inner),
  });
  steps.subscribe(reached);
  try {
    return await Promise.race([work(), cut.promise]);
  } finally {
    steps.unsubscribe(reached);
    Object.assign(database, { transaction: original });
  }
}
