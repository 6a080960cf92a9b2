import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import type { EventBatch } from "./append.ts";
import { createRecent } from "./recent.ts";
import { sampleBatch } from "./testing/sample-batch.ts";

const CONNECTION = "00000000-0000-4000-8000-000000000001";
const OTHER = "00000000-0000-4000-8000-000000000002";

function recentAt() {
  const time = { now: 0 };
  const recent = createRecent(() => time.now);
  const sequences = (connection: string, after: bigint, limit = 1_000): bigint[] =>
    recent.after(connection, after, limit).map(({ sequence }) => sequence);
  return { recent, time, sequences };
}

const upTo = (first: number, last: number): bigint[] =>
  Array.from({ length: last - first + 1 }, (_, index) => BigInt(first + index));

describe("what was committed a moment ago", () => {
  it("is given in order, across batches, as much as is asked for, from wherever the reader stands", () => {
    const { recent, sequences } = recentAt();
    recent.offer(sampleBatch(CONNECTION, 3), 5n);
    recent.offer(sampleBatch(CONNECTION, 3), 8n);
    recent.offer(sampleBatch(OTHER, 2), 1n);
    expect(sequences(CONNECTION, 4n)).toEqual(upTo(5, 10));
    expect(sequences(CONNECTION, 5n, 4)).toEqual(upTo(6, 9));
    expect(sequences(CONNECTION, 9n)).toEqual([10n]);
    expect(sequences(CONNECTION, 10n)).toEqual([]);
    expect(sequences(OTHER, 0n)).toEqual([1n, 2n]);
  });

  it("is the event as it was committed", () => {
    const { recent } = recentAt();
    const batch = sampleBatch(CONNECTION, 1);
    recent.offer(batch, 7n);
    const { organizationId, connectionId, connector, backfill, traceparent, events } = batch;
    const shared = { organizationId, connectionId, connector, backfill, traceparent, sequence: 7n };
    expect(recent.after(CONNECTION, 6n, 10)).toEqual([{ ...shared, ...events[0] }]);
  });

  it("is left to the ledger where the reader stands further back, or a gap is between", () => {
    const { recent, sequences } = recentAt();
    recent.offer(sampleBatch(CONNECTION, 2), 5n);
    expect(sequences(CONNECTION, 2n)).toEqual([]);
    recent.offer(sampleBatch(CONNECTION, 2), 9n);
    expect(sequences(CONNECTION, 4n)).toEqual([]);
    expect(sequences(CONNECTION, 8n)).toEqual([9n, 10n]);
  });

  it("is forgotten after five seconds, when another process wrote, and whole connections when there is no room", () => {
    const { recent, time, sequences } = recentAt();
    recent.offer(sampleBatch(CONNECTION, 2), 1n);
    time.now = 5_001;
    expect(sequences(CONNECTION, 0n)).toEqual([]);
    recent.offer(sampleBatch(CONNECTION, 2), 3n);
    recent.forget(CONNECTION);
    expect(sequences(CONNECTION, 2n)).toEqual([]);

    const large = { bytes: 5 * 1024 * 1024 };
    recent.offer(sampleBatch(CONNECTION, 1, large), 5n);
    recent.offer(sampleBatch(OTHER, 1, large), 1n);
    recent.offer(sampleBatch(CONNECTION, 1, large), 6n);
    // Nothing may be missing between what is given and what comes next.
    recent.offer(sampleBatch(CONNECTION, 1, large), 7n);
    expect(sequences(CONNECTION, 4n)).toEqual([]);
    expect(sequences(OTHER, 0n)).toEqual([1n]);
    recent.offer(sampleBatch(CONNECTION, 1, large), 8n);
    expect(sequences(CONNECTION, 7n)).toEqual([8n]);
  });

  it("is let go after five seconds when something else is committed, though nobody reads", async () => {
    const { recent, time } = recentAt();
    const offered = ["a", "b"].map((connection) => {
      const batch = sampleBatch(connection, 1);
      recent.offer(batch, 1n);
      time.now += 1_000;
      return new WeakRef(batch);
    });
    const held = async (): Promise<boolean[]> => {
      await setImmediate();
      collectGarbage();
      return offered.map((batch) => batch.deref() !== undefined);
    };
    expect(await held()).toEqual([true, true]);
    time.now = 5_001;
    recent.offer(sampleBatch("c", 1), 1n);
    expect(await held()).toEqual([false, true]);
  });

  it("goes by age, not by connection: the rest of a connection stays whole", () => {
    const { recent, time, sequences } = recentAt();
    for (let turn = 0; turn < 4; turn++) {
      time.now = turn * 2_000;
      recent.offer(sampleBatch(CONNECTION, 2), BigInt(turn * 2 + 1));
      recent.offer(sampleBatch(OTHER, 1), BigInt(turn + 1));
      if (turn === 1) recent.forget(OTHER);
    }
    expect(sequences(CONNECTION, 0n)).toEqual([]);
    expect(sequences(CONNECTION, 2n)).toEqual(upTo(3, 8));
    expect(sequences(OTHER, 1n)).toEqual([]);
    expect(sequences(OTHER, 2n)).toEqual([3n, 4n]);
    time.now = 7_001;
    expect(sequences(CONNECTION, 2n)).toEqual([]);
    expect(sequences(CONNECTION, 4n)).toEqual(upTo(5, 8));
  });

  it.each([
    ["single events, each on a page of its own", 1, 300],
    ["a page for every hundred", 200, 300],
    ["events that fill their pages", 250, 65_000],
    ["a page for each of many", 20, 300],
  ])("holds no more memory than it may: %s", (_, count, length) => {
    const { recent } = recentAt();
    const connections = Array.from({ length: 1_000 }, (__, index) => `c${index}`);
    const pagesEach = Math.ceil(count / 100);
    let held = 0;
    let altered = 0;
    const buffers = new Set<ArrayBufferLike>();
    for (const connection of connections.slice(0, length > 1_000 ? 10 : 1_000))
      recent.offer(onPages(connection, count, length, pagesEach), 1n);
    for (const connection of connections)
      for (const { payload } of recent.after(connection, 0n, 1_000)) {
        held++;
        if (payload.length !== length || payload.at(0) !== 7 || payload.at(-1) !== 7) altered++;
        buffers.add(payload.buffer);
      }
    expect([...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0)).toBeLessThan(16 * 1024 * 1024);
    expect(held).toBeGreaterThan(0);
    expect(altered).toBe(0);
  });

  it("counts what stands on no page among what does", () => {
    const { recent, sequences } = recentAt();
    const batch = onPages(CONNECTION, 150, 300, 1);
    const events = batch.events.map((event, index) =>
      index === 75 ? { ...event, payload: new Uint8Array(16 * 1024 * 1024) } : event,
    );
    recent.offer({ ...batch, events }, 1n);
    expect(sequences(CONNECTION, 0n)).toEqual([]);
  });

  it("takes no more work, when there is no room, for more connections", () => {
    expect(stepsOfOfferWhenFull(1_500)).toBe(stepsOfOfferWhenFull(150));
  });
});

function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
}

const PAGE_BYTES = 65_536;

/** Payloads that are parts of larger pages, as `encode` of contracts gives them. */
function onPages(connection: string, count: number, length: number, pagesMin: number): EventBatch {
  const batch = sampleBatch(connection, count, { bytes: 0 });
  const perPage = Math.max(1, Math.min(Math.floor(PAGE_BYTES / length), Math.ceil(count / pagesMin)));
  let page = new Uint8Array(0);
  const events = batch.events.map((event, index) => {
    if (index % perPage === 0) page = new Uint8Array(PAGE_BYTES).fill(7);
    const start = (index % perPage) * length;
    return { ...event, payload: page.subarray(start, start + length) };
  });
  return { ...batch, events };
}

/** How many steps through maps, sets and arrays the offer of one event takes. */
function stepsOfOfferWhenFull(connections: number): number {
  const { recent, sequences } = recentAt();
  const large = { bytes: Math.floor((15.5 * 1024 * 1024) / connections) - 4_000 };
  for (let index = 0; index < connections; index++) recent.offer(sampleBatch(`c${index}`, 1, large), 1n);
  const last = sampleBatch("last", 1, { bytes: 12 * 1024 * 1024 });
  const steps = countSteps(() => recent.offer(last, 1n));
  expect(sequences("last", 0n)).toEqual([]);
  expect(sequences("c0", 0n)).toEqual([1n]);
  return steps;
}

function countSteps(work: () => void): number {
  let steps = 0;
  const restore = [new Map().values(), new Set().values(), [].values()].map((one) => {
    const prototype = Object.getPrototypeOf(one) as { next: () => unknown };
    const { next } = prototype;
    prototype.next = function count(this: unknown) {
      steps++;
      return next.call(this);
    };
    return () => (prototype.next = next);
  });
  try {
    work();
  } finally {
    for (let index = 0; index < restore.length; index++) restore[index]?.();
  }
  return steps;
}
