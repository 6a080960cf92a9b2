import { setTimeout as sleep } from "node:timers/promises";
import { randomUUID } from "node:crypto";
import { type Database, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startReplayRunner } from "./replay-runner.ts";
import { createReplays, trimReplays } from "./replays.ts";
import type { StreamedEvent } from "./stream.ts";
import type { StreamStage } from "./testing/stream-stage.ts";
import { useStreamStage } from "./testing/use-stream-stage.ts";

let database: Database;
let stage: StreamStage;
let organizationId = "";
useStreamStage((on) => ({ database, stage, organizationId } = on));

let stopRunner: () => Promise<void>;
beforeEach(() => {
  stopRunner = startReplayRunner({ database, holder: randomUUID() });
});
afterEach(() => stopRunner());

const replays = () => createReplays({ database, uuid: randomUUID });
const consumers = () => stage.consumers;

const write: StreamStage["write"] = (...what) => stage.write(...what);
const read: StreamStage["read"] = (options) => stage.read(options);

const start = (more: Partial<Parameters<ReturnType<typeof replays>["start"]>[0]> = {}) =>
  replays().start({
    organizationId,
    types: [],
    connectionIds: [],
    createdBy: "test",
    eventsPerSecond: 100_000,
    ...more,
  });

async function ended(id: string) {
  for (const end = performance.now() + 40_000; performance.now() < end;) {
    const replay = await replays().get(organizationId, id);
    if (replay?.state !== "running") return replay;
    await sleep(10);
  }
  return replays().get(organizationId, id);
}

const marks = (events: readonly StreamedEvent[]) =>
  events.map(({ sequence, replayId, redrive }) => [Number(sequence), replayId, redrive]);

describe("a replay over HTTP", () => {
  it("brings the same events again, marked, in order, and leaves the positions of live events alone", async () => {
    const a = randomUUID();
    await write(a, 450);
    const reader = read();
    await reader.until(450);
    const before = await stage.position();
    const replay = await start();
    await reader.until(900);
    await write(a, 1);
    await reader.until(901);
    const again = reader.got.filter(({ replayId }) => replayId !== "");
    expect(again.map(({ id }) => id)).toEqual(reader.got.slice(0, 450).map(({ id }) => id));
    expect(new Set(again.map(({ replayId }) => replayId))).toEqual(new Set([replay.id]));
    const done = await ended(replay.id);
    expect(done).toMatchObject({ state: "done", total: 450, done: 450 });
    await reader.close();
    expect(before).toEqual([{ settled: 450n }]);
    expect(await stage.position()).toEqual([{ settled: 451n }]);
    expect(reader.got.at(-1)).toMatchObject({ sequence: 451n, replayId: "" });
  });

  it("is of a time, of types, of connections, and for one consumer", async () => {
    const [a, b] = [randomUUID(), randomUUID()];
    await write(a, 4, ["a.v1.Wanted", "a.v1.Other"]);
    await sleep(20);
    const from = Date.now();
    await write(a, 4, ["a.v1.Wanted", "a.v1.Other"]);
    await write(b, 2);
    const [one, other] = [read(), read({ consumer: "audit" })];
    await one.until(10);
    await other.until(10);
    const replay = await start({ consumer: "billing", fromMs: from, types: ["a.v1.Other"], connectionIds: [a] });
    expect(await ended(replay.id)).toMatchObject({ state: "done", total: 2, done: 2 });
    await one.close();
    await other.close();
    expect(marks(one.got.slice(10))).toEqual([
      [6, replay.id, 0],
      [8, replay.id, 0],
    ]);
    expect(other.got).toHaveLength(10);
  });

  it("goes on where it stood when the subscriber or the hub comes back, and settles what another process heard", async () => {
    const a = randomUUID();
    await write(a, 300);
    const first = read();
    await first.until(300);
    await first.close();
    const replay = await start();
    let seen = 0;
    const second = read({ window: 8, fate: ({ replayId }) => (replayId !== "" && ++seen > 100 ? "none" : "handled") });
    await second.until(101);
    await second.close();
    await stage.restart();
    const third = read();
    await ended(replay.id);
    await third.close();
    const sequences = third.got.map(({ sequence }) => Number(sequence));
    expect(sequences[0]).toBe(101);
    expect(sequences.at(-1)).toBe(300);
    expect(sequences).toHaveLength(200);
  });

  it("goes no faster than it may", async () => {
    await write(randomUUID(), 60);
    const reader = read();
    await reader.until(60);
    const began = performance.now();
    const replay = await start({ eventsPerSecond: 50 });
    expect(await ended(replay.id)).toMatchObject({ state: "done" });
    // A tenth of a second's worth may come at once.
    expect(performance.now() - began).toBeGreaterThan(1_000);
    await reader.close();
    expect(reader.got).toHaveLength(120);
  });

  it("shares the window with live events, even one of a single event: neither starves the other", async () => {
    const a = randomUUID();
    await write(a, 50);
    const reader = read({ window: 1 });
    await reader.until(50);
    await write(a, 50);
    await start();
    await reader.until(60);
    const early = reader.got.slice(50, 60);
    await reader.until(200);
    await reader.close();
    expect(early.some(({ replayId }) => replayId === "")).toBe(true);
    expect(reader.got.slice(50).filter(({ replayId }) => replayId !== "").length).toBeGreaterThanOrEqual(100);
  });

  it("is cancelled, and brings nothing more", async () => {
    await write(randomUUID(), 200);
    const reader = read();
    await reader.until(200);
    const replay = await start({ eventsPerSecond: 5 });
    await reader.until(202);
    expect(await replays().cancel(organizationId, replay.id)).toMatchObject({ state: "cancelled" });
    await sleep(1_500);
    const count = reader.got.length;
    await sleep(300);
    expect(reader.got).toHaveLength(count);
    expect(count).toBeLessThan(260);
    expect(await replays().cancel(organizationId, replay.id)).toMatchObject({ state: "cancelled" });
    await reader.close();
  });

  it("starts once for one key, and not without anybody to go to, nor beside too many others", async () => {
    await expect(start()).rejects.toMatchObject({ code: "no_consumers" });
    await consumers().create(stage.wish("billing"));
    await expect(start({ consumer: "nobody" })).rejects.toMatchObject({ code: "unknown_consumer" });
    await write(randomUUID(), 1);
    const one = await start({ idempotencyKey: "k1" });
    expect((await start({ idempotencyKey: "k1" })).id).toBe(one.id);
    await expect(start({ idempotencyKey: "k1", consumer: "billing" })).rejects.toMatchObject({ code: "conflict" });
    await start();
    await start();
    await expect(start()).rejects.toMatchObject({ code: "too_many_replays" });
    expect((await replays().list(organizationId, { limit: 2 })).replays).toHaveLength(2);
    const { next = "" } = await replays().list(organizationId, { limit: 2 });
    expect((await replays().list(organizationId, { limit: 2, after: next })).replays.map(({ id }) => id)).toEqual([
      one.id,
    ]);
  });

  it("takes a key that belongs to another wish for a mistake, not for the same wish", async () => {
    await consumers().create(stage.wish("billing"));
    const types = ["a.v1.Wanted", "a.v1.Other"];
    const { id } = await start({ idempotencyKey: "k2", types });
    expect((await start({ idempotencyKey: "k2", types: types.toReversed() })).id).toBe(id);
    for (const other of [{ types: [] }, { types, connectionIds: [randomUUID()] }])
      await expect(start({ idempotencyKey: "k2", ...other })).rejects.toMatchObject({ code: "conflict" });
  });

  it("fails when the only consumer that it was for is removed, and says how far it had come", async () => {
    await write(randomUUID(), 20);
    const reader = read();
    await reader.until(20);
    const other = read({ consumer: "audit" });
    await other.until(20);
    await consumers().create(stage.wish("idle"));
    const before = await start({ consumer: "billing" });
    expect(await ended(before.id)).toMatchObject({ state: "done" });
    await reader.close();
    const [alone, all] = [await start({ consumer: "idle" }), await start()];
    await consumers().remove(organizationId, "idle", "http");
    expect(await ended(alone.id)).toMatchObject({
      state: "failed",
      reason: "consumer_removed",
      done: 0,
      targets: [{ consumer: "idle", done: 0, ended: false }],
    });
    // Nobody hears as "billing" any more: the one that is for all waits for it, and ends without it.
    await sleep(1_500);
    expect(await replays().get(organizationId, all.id)).toMatchObject({ state: "running" });
    await consumers().remove(organizationId, "billing", "http");
    expect(await ended(all.id)).toMatchObject({ state: "done", targets: [{ consumer: "audit", done: 20 }] });
    expect(await replays().get(organizationId, before.id)).toMatchObject({
      state: "done",
      targets: [{ consumer: "billing", done: 20, ended: true }],
    });
    await other.close();
  });

  it("is looked after however many others wait for consumers that are away, and whoever held it before", async () => {
    await asOwner(database, async (tx) => {
      await run(
        tx,
        `INSERT INTO pipeline.replay (organization_id, id, types, connection_ids, until_at, events_per_second, total, created_by,
           created_at, holder, lease_until)
         SELECT 'waiting', gen_random_uuid(), '{}', '{}', now(), 1, 1, 'test', now() - interval '1 day', gen_random_uuid(),
           now() - interval '1 hour' FROM generate_series(1, 150)`,
      );
      await run(
        tx,
        `INSERT INTO pipeline.replay_target (organization_id, replay_id, road, consumer)
         SELECT organization_id, id, 'http', 'away' FROM pipeline.replay WHERE organization_id = 'waiting'`,
      );
    });
    await sleep(1_100);
    await write(randomUUID(), 5);
    const reader = read();
    await reader.until(5);
    const replay = await start();
    await reader.until(10);
    await asOwner(database, (tx) =>
      run(
        tx,
        `UPDATE pipeline.replay SET total = 5, holder = gen_random_uuid(), lease_until = now() + interval '1 hour'
         WHERE id = $1`,
        [replay.id],
      ),
    );
    expect(await ended(replay.id)).toMatchObject({ state: "done", total: 5, done: 5 });
    await reader.close();
    await asOwner(database, (tx) => run(tx, "DELETE FROM pipeline.replay WHERE organization_id = 'waiting'"));
  });

  it("that nobody hears fails after a week, and is forgotten a month later", async () => {
    await consumers().create(stage.wish("billing"));
    await write(randomUUID(), 1);
    const replay = await start();
    const age = (column: string, days: number) =>
      asOwner(database, (tx) =>
        run(tx, `UPDATE pipeline.replay SET ${column} = now() - make_interval(days => $2) WHERE id = $1`, [
          replay.id,
          days,
        ]),
      );
    await age("created_at", 8);
    await trimReplays(database);
    expect(await replays().get(organizationId, replay.id)).toMatchObject({ state: "failed", reason: "expired" });
    await age("ended_at", 31);
    expect(await trimReplays(database)).toBe(1);
    expect(await replays().get(organizationId, replay.id)).toBeUndefined();
  });
});
