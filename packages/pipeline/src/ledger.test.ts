import { asOwner } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { type Database, migrate, openPglite, run } from "@tributary/db";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { append } from "./append.ts";
import {
  countConnectionEvents,
  deleteConnectionEvents,
  eventsAfter,
  eventStrips,
  lastConnectionEvents,
} from "./ledger.ts";
import { migrations } from "./migrations.ts";
import { dropExpiredPartitions, ensurePartitions } from "./partitions.ts";
import { sampleBatch } from "./testing/sample-batch.ts";

let database: Database;
beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [migrations]);
});
afterAll(() => database.close());

const write = (...parts: Parameters<typeof sampleBatch>) =>
  asOwner(database, (tx) => append(tx, sampleBatch(...parts)));

describe("append", () => {
  it("takes sequences from 1 without a gap, each connection for itself", async () => {
    const [a, b] = [randomUUID(), randomUUID()];
    expect([await write(a, 3), await write(b, 1), await write(a, 500), await write(a, 1)]).toEqual([1n, 1n, 4n, 504n]);
    const steps = await asOwner(database, (tx) =>
      eventsAfter(tx, { organizationId: "acme", connectionId: a }, { sequence: 0n }, [], 999),
    );
    expect(steps.map(({ place }) => place.sequence)).toEqual(
      Array.from({ length: 504 }, (_, index) => BigInt(index + 1)),
    );
  });

  it("gives a sequence back when the producer's transaction fails", async () => {
    const connectionId = randomUUID();
    await write(connectionId, 2);
    const failing = asOwner(database, async (tx) => {
      await append(tx, sampleBatch(connectionId, 5));
      throw new Error("no");
    });
    await expect(failing).rejects.toThrow("no");
    expect(await write(connectionId, 1)).toBe(3n);
  });

  it("keeps every field as it was given", async () => {
    const connectionId = randomUUID();
    const batch = {
      ...sampleBatch(connectionId, 2, { types: ["a.v1.B", "a.v1.C"] }),
      backfill: true,
      traceparent: "00-1-2-01",
    };
    await asOwner(database, (tx) => append(tx, batch));
    const events = await asOwner(database, (tx) => lastConnectionEvents(tx, "acme", connectionId, 10));
    const { events: pending, ...shared } = batch;
    expect(events.map((event) => ({ ...event, payload: Buffer.from(event.payload) }))).toEqual(
      pending
        .map((event, index) => ({
          ...shared,
          ...event,
          payload: Buffer.from(event.payload),
          sequence: BigInt(index + 1),
        }))
        .toReversed(),
    );
  });

  it.each([[0], [501]])("refuses %i events in one call", async (count) => {
    await expect(write(randomUUID(), count)).rejects.toThrow(RangeError);
  });

  it("refuses a connection of another organisation", async () => {
    const connectionId = randomUUID();
    await write(connectionId, 1);
    await expect(write(connectionId, 1, { organizationId: "globex" })).rejects.toThrow("another organisation");
  });
});

describe("reading", () => {
  it("passes over types that were not asked for, and says where to go on", async () => {
    const connectionId = randomUUID();
    await write(connectionId, 6, { types: ["a.v1.Wanted", "a.v1.Other"] });
    const steps = await asOwner(database, (tx) =>
      eventsAfter(tx, { organizationId: "acme", connectionId }, { sequence: 1n }, ["a.v1.Wanted"], 3),
    );
    expect(steps.map(({ place, event }) => [place.sequence, event?.type])).toEqual([
      [2n, undefined],
      [3n, "a.v1.Wanted"],
      [4n, undefined],
    ]);
  });

  it("shows an organisation nothing of another's", async () => {
    const connectionId = randomUUID();
    await write(connectionId, 1);
    expect(
      await asOwner(database, (tx) =>
        eventsAfter(tx, { organizationId: "globex", connectionId }, { sequence: 0n }, [], 9),
      ),
    ).toEqual([]);
    expect(await asOwner(database, (tx) => lastConnectionEvents(tx, "globex", connectionId, 9))).toEqual([]);
    expect(await asOwner(database, (tx) => countConnectionEvents(tx, "globex", connectionId))).toBe(0);
    expect(await asOwner(database, (tx) => deleteConnectionEvents(tx, "globex", connectionId))).toBe(0);
    expect(await asOwner(database, (tx) => countConnectionEvents(tx, "acme", connectionId))).toBe(1);
  });

  it("counts the half hours of a day, the present one last", async () => {
    const connectionId = randomUUID();
    await write(connectionId, 3);
    const [row] = await asOwner(database, (tx) =>
      run<{ ms: number }>(
        tx,
        "SELECT date_part('epoch', max(committed_at)) * 1000 AS ms FROM pipeline.event WHERE connection_id = $1",
        [connectionId],
      ),
    );
    // As of the commit: a half hour may end between that and the question.
    const at = row?.ms ?? 0;
    const strips = await asOwner(database, (tx) => eventStrips(tx, "acme", [connectionId, randomUUID()], new Date(at)));
    expect([...strips.keys()]).toEqual([connectionId]);
    expect(strips.get(connectionId)).toEqual([...Array<number>(47).fill(0), 3]);
    const later = await asOwner(database, (tx) =>
      eventStrips(tx, "acme", [connectionId], new Date(at + 47 * 1_800_000)),
    );
    expect(later.get(connectionId)).toEqual([3, ...Array<number>(47).fill(0)]);
  });

  it("erases a connection's events and never uses a sequence again", async () => {
    const connectionId = randomUUID();
    await write(connectionId, 4);
    expect(await asOwner(database, (tx) => deleteConnectionEvents(tx, "acme", connectionId))).toBe(4);
    expect(await write(connectionId, 1)).toBe(5n);
  });
});

describe("partitions", () => {
  /** One for both tests, whatever the day is when they run. */
  const today = new Date();
  const later = (days: number): Date => new Date(today.getTime() + days * 86_400_000);
  const dayOf = (date: Date): string => date.toISOString().slice(0, 10);
  const count = async (table: string): Promise<number> =>
    Number(
      (await asOwner(database, (tx) => run<{ events: bigint }>(tx, `SELECT count(*) AS events FROM ${table}`)))[0]
        ?.events,
    );

  it("empties the net into the partition of its day, once", async () => {
    await write(randomUUID(), 5);
    const all = await count("pipeline.event");
    expect(await count("pipeline.event_default")).toBe(all);
    const caught = await asOwner(database, (tx) =>
      run<{ day: string }>(tx, "SELECT DISTINCT day::text AS day FROM pipeline.event"),
    );
    const ahead = Array.from({ length: 8 }, (_, index) => dayOf(later(index)));
    expect(new Set(await ensurePartitions(database, today))).toEqual(
      new Set([...ahead, ...caught.map(({ day }) => day)]),
    );
    expect(await ensurePartitions(database, today)).toEqual([]);
    expect(await count("pipeline.event_default")).toBe(0);
    expect(await count("pipeline.event")).toBe(all);
    await write(randomUUID(), 1);
    expect(await count("pipeline.event_default")).toBe(0);
  });

  it("drops whole days after the retention, but none that is still to be published when asked to keep it", async () => {
    const all = await count("pipeline.event");
    expect(await dropExpiredPartitions(database, later(100)), "by a clock that is ahead").toEqual([]);
    const day = dayOf(later(-31));
    await asOwner(database, (tx) => run(tx, "UPDATE pipeline.event SET day = $1::date", [day]));
    expect(await ensurePartitions(database, today)).toEqual([day]);
    expect(await dropExpiredPartitions(database, today, { retentionDays: 31 })).toEqual([]);
    expect(await dropExpiredPartitions(database, later(-1))).toEqual([]);
    expect(await dropExpiredPartitions(database, today, { keepUnpublished: true })).toEqual([]);
    expect(await count("pipeline.event")).toBe(all);
    await asOwner(database, (tx) => run(tx, "UPDATE pipeline.position SET published = head"));
    expect(await dropExpiredPartitions(database, today, { keepUnpublished: true })).toEqual([day]);
    expect(await count("pipeline.event")).toBe(0);
  });
});
