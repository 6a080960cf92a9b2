import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type Database, migrate, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createDeadLetters, trimDeadLetters } from "./dead-letters.ts";
import { migrations } from "./migrations.ts";
import { startReplayRunner } from "./replay-runner.ts";
import { createReplays, trimReplays } from "./replays.ts";
import type { StreamedEvent } from "./stream.ts";
import { openStreamStage, type StreamStage } from "./testing/stream-stage.ts";

let database: Database;
let stage: StreamStage;
let stopRunner: () => Promise<void>;
let organizationId = "";
let organizations = 0;

beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [migrations]);
});
afterAll(() => database.close());
beforeEach(async () => {
  organizationId = `organisation-${organizations++}`;
  stage = await openStreamStage(database, organizationId);
  stopRunner = startReplayRunner({ database, holder: randomUUID() });
});
afterEach(async () => {
  await stopRunner();
  await stage.stop();
});

const replays = () => createReplays({ database, uuid: randomUUID, clock: () => Date.now() });
const letters = () => createDeadLetters(database);
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

async function ended(id: string, turns = 600) {
  for (let turn = 0; turn < turns; turn++) {
    const replay = await replays().get(organizationId, id);
    if (replay?.state !== "running") return replay;
    await sleep(10);
  }
  return replays().get(organizationId, id);
}

const position = (consumer = "billing") =>
  asOwner(database, (tx) =>
    run<{ settled: bigint }>(
      tx,
      "SELECT settled FROM pipeline.consumer_position WHERE organization_id = $1 AND consumer = $2",
      [organizationId, consumer],
    ),
  );

const marks = (events: readonly StreamedEvent[]) =>
  events.map(({ sequence, replayId, redrive }) => [Number(sequence), replayId, redrive]);

describe("a replay over HTTP", () => {
  it("brings the same events again, marked, in order, and leaves the positions of live events alone", async () => {
    const a = randomUUID();
    await write(a, 450);
    const reader = read();
    await reader.until(450);
    const before = await position();
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
    expect(await position()).toEqual([{ settled: 451n }]);
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
    await second.until(104);
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
    expect(await ended(replay.id, 1_000)).toMatchObject({ state: "done" });
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
    const replay = await start({ eventsPerSecond: 20 });
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
    await consumers().create(wish("billing"));
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

  it("that nobody hears fails after a week, and is forgotten a month later", async () => {
    await consumers().create(wish("billing"));
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

const wish = (name: string) => ({
  organizationId,
  name,
  road: "http" as const,
  types: [] as string[],
  afterDeadLetter: "continue" as "continue" | "hold",
  start: "oldest" as "oldest" | "now",
});

describe("a dead letter", () => {
  it("is shown with its event, delivered again to its consumer alone, marked, and is none when it was handled", async () => {
    const a = randomUUID();
    await write(a, 3);
    let dying = true;
    const reader = read({ fate: ({ sequence }) => (sequence === 2n && dying ? "dead_letter" : "handled") });
    const other = read({ consumer: "audit" });
    await reader.until(3);
    await other.until(3);
    await sleep(50);
    const {
      letters: [letter],
    } = await letters().list({ organizationId, limit: 10 });
    expect(letter).toMatchObject({ consumer: "billing", road: "http", sequence: 2n, reason: "why", state: "dead" });
    expect((await letters().get(organizationId, letter?.letterId ?? ""))?.payload.length).toBeGreaterThan(0);
    await letters().redrive(organizationId, { consumer: "billing" });
    await reader.until(4);
    await sleep(1_200);
    // Given up again: the same letter, once more dead.
    expect((await letters().list({ organizationId, limit: 10 })).letters).toMatchObject([
      { state: "dead", redrives: 1 },
    ]);
    dying = false;
    await letters().redrive(organizationId, { id: letter?.letterId ?? "" });
    await reader.until(5);
    await sleep(50);
    expect((await letters().list({ organizationId, limit: 10 })).letters).toEqual([]);
    await reader.close();
    await other.close();
    expect(marks(reader.got.slice(3))).toEqual([
      [2, "", 1],
      [2, "", 2],
    ]);
    expect(reader.got[3]?.id).toBe(reader.got[1]?.id);
    expect(other.got).toHaveLength(3);
    expect(await position()).toEqual([{ settled: 3n }]);
  });

  it("keeps its event when the ledger has dropped it, goes with the connection's erasure, and after 90 days", async () => {
    const a = randomUUID();
    await write(a, 2);
    const reader = read({ fate: () => "dead_letter" });
    await reader.until(2);
    await sleep(50);
    await reader.close();
    await asOwner(database, (tx) =>
      run(tx, "DELETE FROM pipeline.event WHERE connection_id = $1 AND sequence = 1", [a]),
    );
    const page = await letters().list({ organizationId, limit: 1 });
    expect(page.next).toBeDefined();
    const all = [
      ...page.letters,
      ...(await letters().list({ organizationId, limit: 5, after: page.next ?? "" })).letters,
    ];
    expect(new Set(all.map(({ sequence }) => sequence))).toEqual(new Set([1n, 2n]));
    for (const { letterId } of all)
      expect((await letters().get(organizationId, letterId))?.payload.length).toBeGreaterThan(0);
    await asOwner(database, (tx) =>
      run(
        tx,
        "UPDATE pipeline.dead_letter SET died_at = now() - interval '91 days' WHERE sequence = 1 AND connection_id = $1",
        [a],
      ),
    );
    expect(await trimDeadLetters(database)).toBe(1);
    expect(await letters().drop(organizationId, { consumer: "billing", type: "a.v1.Nothing" })).toEqual({
      count: 0,
      more: false,
    });
    expect(await letters().drop(organizationId, { consumer: "billing" })).toEqual({ count: 1, more: false });
  });

  it("of a consumer that holds keeps the rest of its connection waiting, and no other, until it is handled or dropped", async () => {
    await consumers().create({ ...wish("billing"), afterDeadLetter: "hold" });
    const [a, b] = [randomUUID(), randomUUID()];
    await write(a, 5);
    await write(b, 3);
    const reader = read({
      fate: ({ connectionId, sequence, redrive }) =>
        connectionId === a && redrive === 0 && (sequence === 2n || sequence === 4n) ? "dead_letter" : "handled",
    });
    await reader.until(5);
    await sleep(1_300);
    const ofA = () =>
      reader.got.filter(({ connectionId }) => connectionId === a).map(({ sequence }) => Number(sequence));
    expect(ofA()).toEqual([1, 2]);
    expect(reader.got).toHaveLength(5);
    expect((await consumers().get(organizationId, "billing"))?.behind).toMatchObject([{ connectionId: a, held: true }]);
    await letters().redrive(organizationId, { consumer: "billing" });
    await reader.until(8, 300);
    await sleep(1_300);
    expect(ofA()).toEqual([1, 2, 2, 3, 4]);
    await letters().drop(organizationId, { consumer: "billing" });
    await reader.until(9, 300);
    expect(ofA()).toEqual([1, 2, 2, 3, 4, 5]);
    await reader.close();
  });
});
