import { asOwner } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type Database, migrate, openPglite, run } from "@tributary/db";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { append } from "./append.ts";
import { createHandOff, type HandOff } from "./hand-off.ts";
import { deleteConnectionEvents } from "./ledger.ts";
import { migrations } from "./migrations.ts";
import { createEventStream, type EventStream, type StreamedEvent } from "./stream.ts";
import { sampleBatch } from "./testing/sample-batch.ts";

let database: Database;
let handOff: HandOff;
let stream: EventStream;
beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [migrations]);
});
afterAll(() => database.close());

/** A fresh organisation for every test: nobody else's events are in the way. */
let organizationId: string;
beforeEach(async () => {
  organizationId = `org${randomUUID().slice(0, 8)}`;
  handOff = await createHandOff({ database, process: randomUUID() });
  stream = await createEventStream({ database, handOff });
});
afterEach(async () => {
  await stream.stop();
  await handOff.stop();
});

async function write(connectionId: string, count: number, types?: readonly string[]): Promise<void> {
  const batch = sampleBatch(connectionId, count, { organizationId, ...(types === undefined ? {} : { types }) });
  const first = await asOwner(database, (tx) => append(tx, batch));
  handOff.committed(batch, first);
}

interface Reader {
  readonly got: StreamedEvent[];
  /** Waits for so many events, `turns` times 10 ms at most. */
  until(count: number, turns?: number): Promise<StreamedEvent[]>;
  settle(event: StreamedEvent, outcome?: "handled" | "dead_letter"): Promise<void>;
  close(): Promise<void>;
}

function read(options: { window?: number; types?: string[]; on?: EventStream; autoSettle?: boolean } = {}): Reader {
  const { window = 256, types = [], on = stream, autoSettle = false } = options;
  const abort = new AbortController();
  const got: StreamedEvent[] = [];
  const wish = { organizationId, consumer: "billing", types, window, signal: abort.signal };
  const settle = (event: StreamedEvent, outcome: "handled" | "dead_letter" = "handled") =>
    on.settle({ ...event, consumer: "billing", outcome, reason: "why" });
  const reading = (async () => {
    for await (const event of on.subscribe(wish)) {
      got.push(event);
      if (autoSettle) void settle(event);
    }
  })();
  return {
    got,
    settle,
    until: async (count, turns = 400) => {
      for (let turn = 0; got.length < count && turn < turns; turn++) await sleep(10);
      return got;
    },
    close: async () => {
      abort.abort();
      await reading;
    },
  };
}

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
    const reader = read({ types: ["a.v1.Wanted"], autoSettle: true });
    await reader.until(200);
    await write(a, 1, ["a.v1.Other"]);
    await write(a, 1, ["a.v1.Wanted"]);
    await reader.until(201);
    await sleep(30);
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
    for (let visit = 0; visit < 100 && done() < 220; visit++) {
      const reader = read({ window: 7 });
      await reader.until(5, 20);
      for (const event of reader.got) {
        effects.get(event.connectionId)?.push(Number(event.sequence));
        await reader.settle(event);
      }
      await reader.close();
    }
    await writer;
    for (const id of connections) expect(effects.get(id)).toEqual(upTo(55));
  });

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
    const other = await createEventStream({ database, handOff });
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
    await expect(stream.settle(settlement)).rejects.toThrow("unknown_consumer_or_event");
    await reader.close();
  });
});
