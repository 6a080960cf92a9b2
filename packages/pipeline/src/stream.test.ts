import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { asOwner } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { type Database, run } from "@tributary/db";
import { describe, expect, it } from "vitest";
import { append } from "./append.ts";
import { deleteConnectionEvents } from "./ledger.ts";
import { createEventStream, type StreamedEvent } from "./stream.ts";
import { sampleBatch } from "./testing/sample-batch.ts";
import { type Reader, type ReadOptions, type StreamStage } from "./testing/stream-stage.ts";
import { useStreamStage } from "./testing/use-stream-stage.ts";

let database: Database;
let stage: StreamStage;
let organizationId = "";
useStreamStage((on) => ({ database, stage, organizationId } = on));

const write: StreamStage["write"] = (...what) => stage.write(...what);
const read = (options: ReadOptions = {}): Reader => stage.read({ fate: () => "none", ...options });

const sequences = (events: readonly StreamedEvent[], connectionId?: string): number[] =>
  events
    .filter((event) => connectionId === undefined || event.connectionId === connectionId)
    .map((e) => Number(e.sequence));
const upTo = (count: number, from = 1): number[] => Array.from({ length: count }, (_, index) => index + from);

describe("a stream", () => {
  it("gives a new consumer what is retained, and then what is committed, in order within each connection", async () => {
    const [a, b] = [randomUUID(), randomUUID()];
    await write(a, 450);
    await write(b, 3);
    const reader = read({ window: 1000 });
    await reader.until(453);
    await write(a, 2);
    await write(b, 1);
    await reader.until(456);
    await reader.close();
    expect(sequences(reader.got, a)).toEqual(upTo(452));
    expect(sequences(reader.got, b)).toEqual(upTo(4));
  });

  it("resumes behind what was settled without a gap, and says that it sends again", async () => {
    const a = randomUUID();
    await write(a, 5);
    const first = read();
    await first.until(5);
    for (const index of [0, 1, 3]) await first.settle(first.got[index] as StreamedEvent);
    await first.close();
    const second = read();
    await second.until(3);
    await second.close();
    expect(second.got.map(({ sequence, attempt }) => [Number(sequence), attempt])).toEqual([
      [3, 2],
      [4, 1],
      [5, 2],
    ]);
  });

  it("looks for what nobody told it of after a minute at most, however long a look once took", async () => {
    const [a, b] = [randomUUID(), randomUUID()];
    let nowMs = 0;
    let sleepMs = 600_000;
    // The machine sleeps in the middle of the first look.
    const slow: Database = {
      ...database,
      transaction: async (work) => {
        const result = await database.transaction(work);
        nowMs += sleepMs;
        return result;
      },
    };
    const stream = await createEventStream({ database: slow, handOff: stage.handOff, clock: () => nowMs });
    const wish = { organizationId, consumer: "sleepy", types: [], window: 10, signal: AbortSignal.timeout(40_000) };
    const events = stream.subscribe(wish);
    const first = events.next();
    await sleep(100);
    sleepMs = 0;
    await asOwner(database, (tx) => append(tx, sampleBatch(a, 1, { organizationId })));
    nowMs += 60_001;
    await write(b, 1);
    const got = [(await first).value?.connectionId, (await events.next()).value?.connectionId];
    await events.return(undefined);
    await stream.stop();
    expect(new Set(got)).toEqual(new Set([a, b]));
  });

  it("never has more outstanding than its window, and goes on when one is settled", async () => {
    const connections = [randomUUID(), randomUUID(), randomUUID()];
    for (const id of connections) await write(id, 4);
    const reader = read({ window: 2 });
    for (let count = 1; count <= 12; count++) {
      await reader.until(Math.min(12, count + 1));
      expect(reader.got.length).toBeLessThanOrEqual(count + 1);
      await reader.settle(reader.got[count - 1] as StreamedEvent);
    }
    await reader.close();
    for (const id of connections) expect(sequences(reader.got, id)).toEqual(upTo(4));
  });

  it("passes over types that the consumer did not ask for, and remembers that it did", async () => {
    const a = randomUUID();
    for (const count of [300, 300]) await write(a, count, ["a.v1.Other", "a.v1.Other", "a.v1.Wanted"]);
    const reader = read({ types: ["a.v1.Wanted"], fate: () => "handled" });
    await reader.until(200);
    await write(a, 1, ["a.v1.Other"]);
    await write(a, 1, ["a.v1.Wanted"]);
    await reader.until(201);
    await reader.close();
    expect(sequences(reader.got)).toEqual([...upTo(200).map((n) => n * 3), 602]);
    const [row] = await asOwner(database, (tx) =>
      run<{ settled: bigint }>(tx, "SELECT settled FROM pipeline.consumer_position WHERE organization_id = $1", [
        organizationId,
      ]),
    );
    expect(row?.settled).toBe(602n);
  });

  it("hears within a second or so of a commit that nobody announced", async () => {
    const reader = read();
    await sleep(50);
    const a = randomUUID();
    await asOwner(database, (tx) => append(tx, sampleBatch(a, 2, { organizationId })));
    await reader.until(2);
    await reader.close();
    expect(sequences(reader.got)).toEqual([1, 2]);
  });

  it("loses and repeats nothing while its subscriber comes and goes", async () => {
    const connections = Array.from({ length: 4 }, () => randomUUID());
    const effects = new Map<string, number[]>(connections.map((id) => [id, []]));
    const writer = (async () => {
      for (let turn = 0; turn < 40; turn++) {
        await write(connections[turn % 4] ?? "", 1 + Math.floor(turn / 4));
        await sleep(5);
      }
    })();
    const done = (): number => [...effects.values()].reduce((sum, one) => sum + one.length, 0);
    for (const end = performance.now() + 40_000; done() < 220 && performance.now() < end;) {
      const reader = read({ window: 7 });
      await reader.until(5, 200);
      for (const event of reader.got) {
        effects.get(event.connectionId)?.push(Number(event.sequence));
        await reader.settle(event);
      }
      await reader.close();
    }
    await writer;
    for (const id of connections) expect(effects.get(id)).toEqual(upTo(55));
  });

  const commits = fc.array(
    fc.record({ one: fc.nat(1), count: fc.integer({ min: 1, max: 20 }), told: fc.boolean(), pauseMs: fc.nat(4) }),
    { minLength: 20, maxLength: 50 },
  );

  it("gives every event once and in order to a reader that falls behind, whoever commits, told or not", async () => {
    await fc.assert(
      fc.asyncProperty(commits, fc.integer({ min: 1, max: 60 }), async (drawn, window) => {
        const connections = [randomUUID(), randomUUID()];
        const written = [0, 0];
        const reader = read({ window, fate: () => "handled", types: ["a.v1.Wanted"] });
        for (const { one, count, told, pauseMs } of drawn) {
          const id = connections[one] as string;
          const batch = sampleBatch(id, count, { organizationId, types: ["a.v1.Wanted"] });
          // What another process commits is not told here.
          if (told) await write(id, count);
          else await asOwner(database, (tx) => append(tx, batch));
          written[one] = (written[one] ?? 0) + count;
          if (pauseMs > 0) await sleep(pauseMs);
        }
        await reader.until((written[0] ?? 0) + (written[1] ?? 0));
        await reader.close();
        for (const [one, id] of connections.entries())
          expect(sequences(reader.got, id)).toEqual(upTo(written[one] ?? 0));
      }),
      { numRuns: 6 },
    );
    // Thousands of events in PGlite, which a machine that is busy with others has taken a minute for.
  }, 600_000);

  it("serves one subscriber of a name at a time; the next begins when the first leaves", async () => {
    const a = randomUUID();
    await write(a, 1);
    const first = read();
    await first.until(1);
    const second = read();
    await sleep(400);
    expect(second.got).toEqual([]);
    await first.close();
    await second.until(1);
    await second.close();
    expect(sequences(second.got)).toEqual([1]);
  });

  it("passes over what was erased", async () => {
    const a = randomUUID();
    await write(a, 5);
    await asOwner(database, (tx) => deleteConnectionEvents(tx, organizationId, a));
    await write(a, 1);
    const reader = read();
    await reader.until(1);
    await reader.close();
    expect(sequences(reader.got)).toEqual([6]);
  });

  it.each([[[] as string[]], [["a.v1.Wanted"]]])(
    "is not behind for what was erased or dropped with its day, wanted types %j",
    async (types) => {
      const [erased, cut] = [randomUUID(), randomUUID()];
      await write(erased, 5);
      await write(cut, 5);
      await asOwner(database, (tx) => deleteConnectionEvents(tx, organizationId, erased));
      await asOwner(database, (tx) =>
        run(tx, "DELETE FROM pipeline.event WHERE connection_id = $1 AND sequence > 2", [cut]),
      );
      const reader = read({ fate: () => "handled", types });
      await reader.until(2);
      const lag = async () => (await stage.consumers.get(organizationId, "billing"))?.consumer.lag;
      for (let turn = 0; turn < 2_000 && (await lag()) !== 0; turn++) await sleep(10);
      expect(await lag()).toBe(0);
      await write(erased, 1);
      await write(cut, 1);
      await reader.until(4);
      await reader.close();
      expect([sequences(reader.got, erased), sequences(reader.got, cut)]).toEqual([[6], [1, 2, 6]]);
    },
  );
});

describe("settling", () => {
  it("keeps a dead letter with its reason, and goes on behind it", async () => {
    const a = randomUUID();
    await write(a, 2);
    const reader = read({ window: 1 });
    await reader.until(1);
    await reader.settle(reader.got[0] as StreamedEvent, "dead_letter");
    await reader.settle(reader.got[0] as StreamedEvent, "dead_letter");
    await reader.until(2);
    await reader.close();
    expect(sequences(reader.got)).toEqual([1, 2]);
    const letters = await asOwner(database, (tx) =>
      run(tx, "SELECT connection_id, sequence, event_id, reason FROM pipeline.dead_letter WHERE organization_id = $1", [
        organizationId,
      ]),
    );
    expect(letters).toEqual([{ connection_id: a, sequence: 1n, event_id: reader.got[0]?.id, reason: "why" }]);
  });

  it("through another process, in any order, moves the position and frees the window", async () => {
    const a = randomUUID();
    await write(a, 6, ["a.v1.Wanted", "a.v1.Other"]);
    const reader = read({ window: 3, types: ["a.v1.Wanted"] });
    await reader.until(3);
    const other = await createEventStream({ database, handOff: stage.handOff });
    // Making a stream on PGlite takes it for the only one; the lease is the reader's still as far as it is concerned.
    for (const index of [2, 1, 0, 0]) {
      const event = reader.got[index] as StreamedEvent;
      await other.settle({ ...event, consumer: "billing", outcome: "handled" });
    }
    await write(a, 1, ["a.v1.Wanted"]);
    await reader.until(4);
    await reader.close();
    expect(sequences(reader.got)).toEqual([1, 3, 5, 7]);
    await other.stop();
  });

  it.each([
    ["an unknown consumer", { consumer: "nobody" }],
    ["an event that is not there", { sequence: 99n }],
    ["a sequence past all", { sequence: 2n ** 64n - 1n }],
    ["what is no connection", { connectionId: "c1" }],
    ["a foreign connection", { organizationId: "globex" }],
  ])("refuses %s", async (_, change) => {
    const a = randomUUID();
    await write(a, 1);
    const reader = read();
    await reader.until(1);
    const settlement = {
      ...(reader.got[0] as StreamedEvent),
      consumer: "billing",
      outcome: "handled" as const,
      ...change,
    };
    await expect(stage.stream.settle(settlement)).rejects.toThrow("unknown_consumer_or_event");
    await reader.close();
  });
});
