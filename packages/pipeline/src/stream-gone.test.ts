import { randomUUID } from "node:crypto";
import { type Database, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { describe, expect, it } from "vitest";
import { createConsumerStream } from "./consumer-stream.ts";
import { eraseEvents } from "./erase-events.ts";
import { deleteConnectionEvents } from "./ledger.ts";
import { createPositionWriter } from "./positions.ts";
import { createEventStream, type StreamedEvent } from "./stream.ts";
import type { StreamStage } from "./testing/stream-stage.ts";
import { useStreamStage } from "./testing/use-stream-stage.ts";

let database: Database;
let stage: StreamStage;
let organizationId = "";
useStreamStage((on) => ({ database, stage, organizationId } = on));

/** Sequence of what came, and how many events up to it are gone; 0 for an event. */
const told = (events: readonly StreamedEvent[]) =>
  events.map(({ sequence, gone = 0n }) => [Number(sequence), Number(gone)]);

/** Settles the first events of a connection, and goes away. */
async function readFirst(connectionId: string, count: number): Promise<void> {
  await stage.write(connectionId, count);
  const reader = stage.read();
  await reader.until(count);
  await settled(count);
  await reader.close();
}

async function settled(sequence: number, consumer = "billing"): Promise<void> {
  for (let turn = 0; turn < 4_000; turn++) {
    const behind = (await stage.consumers.get(organizationId, consumer))?.consumer.lag;
    const [row] = await stage.position(consumer);
    if (behind === 0 && row?.settled === BigInt(sequence)) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`not settled within 40 s: ${sequence}`);
}

async function caughtUp(): Promise<void> {
  for (let turn = 0; turn < 4_000; turn++) {
    if ((await stage.consumers.get(organizationId, "billing"))?.consumer.lag === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("not caught up within 40 s");
}

describe("what the retention took before a consumer came to it", () => {
  it("is told in its place, with how many there were, until that is settled, and not again", async () => {
    const a = randomUUID();
    await readFirst(a, 2);
    await stage.write(a, 4);
    await stage.expire(a, 5);
    const silent = stage.read({ tellGone: true, fate: () => "none" });
    await silent.until(2);
    await silent.close();
    const reader = stage.read({ tellGone: true });
    await reader.until(2);
    await settled(6);
    await reader.close();
    const after = stage.read({ tellGone: true });
    await stage.write(a, 1);
    await after.until(1);
    await settled(7);
    await after.close();
    expect([silent, reader, after].map(({ got }) => told(got))).toEqual([
      [
        [5, 3],
        [6, 0],
      ],
      [
        [5, 3],
        [6, 0],
      ],
      [[7, 0]],
    ]);
  });

  it("is told where nothing follows it", async () => {
    const a = randomUUID();
    await readFirst(a, 1);
    await stage.write(a, 3);
    await stage.expire(a, 4);
    const reader = stage.read({ tellGone: true });
    await reader.until(1);
    await settled(4);
    await reader.close();
    expect(told(reader.got)).toEqual([[4, 3]]);
  });

  it("is told where an event follows that is committed while nothing is found", async () => {
    const a = randomUUID();
    await readFirst(a, 2);
    await stage.write(a, 3);
    await stage.expire(a, 5);
    const abort = new AbortController();
    let committed = false;
    const stream = createConsumerStream({
      organizationId,
      consumer: "billing",
      types: [],
      window: 10,
      hold: false,
      tellGone: true,
      outlived: false,
      database: {
        ...database,
        // The first look that finds nothing is the one into the ledger.
        transaction: async (work) => {
          const found = await database.transaction(work);
          if (committed || !Array.isArray(found) || found.length > 0) return found;
          committed = true;
          await stage.write(a, 1);
          return found;
        },
      },
      positions: createPositionWriter(database),
      clock: () => performance.now(),
      signal: abort.signal,
    });
    const got: [number, number][] = [];
    for await (const { sequence, gone = 0n } of stream.events()) {
      got.push([Number(sequence), Number(gone)]);
      if (sequence === 6n) abort.abort();
    }
    expect(committed).toBe(true);
    expect(got).toEqual([
      [5, 3],
      [6, 0],
    ]);
  });

  it("is settled by way of another hub as well, and leaves out what was settled ahead of it", async () => {
    const a = randomUUID();
    await readFirst(a, 1);
    await stage.write(a, 3);
    const first = stage.read({ fate: () => "none" });
    await first.until(3);
    await first.settle(first.got[1] as StreamedEvent);
    await first.close();
    // Settled by whoever has no stream of it.
    const other = await createEventStream({ database, handOff: stage.handOff });
    await other.settle({ organizationId, consumer: "billing", connectionId: a, sequence: 3n, outcome: "handled" });
    await stage.expire(a, 4);
    const reader = stage.read({ tellGone: true, fate: () => "none" });
    await reader.until(1);
    await other.settle({ ...(reader.got[0] as StreamedEvent), consumer: "billing", outcome: "handled" });
    await settled(4);
    await reader.close();
    await other.stop();
    expect(told(reader.got)).toEqual([[4, 2]]);
  });

  it("is passed over for whoever does not ask for it, and for a consumer that is new", async () => {
    const a = randomUUID();
    await readFirst(a, 1);
    await stage.write(a, 3);
    await stage.expire(a, 3);
    const silent = stage.read();
    const newcomer = stage.read({ consumer: "new", tellGone: true });
    await silent.until(1);
    await newcomer.until(1);
    await settled(4);
    await settled(4, "new");
    await Promise.all([silent.close(), newcomer.close()]);
    expect([silent, newcomer].map(({ got }) => told(got))).toEqual([[[4, 0]], [[4, 0]]]);
  });

  it("is told to a consumer that has settled nothing and is older than all that is retained", async () => {
    const [a, b, erased] = [randomUUID(), randomUUID(), randomUUID()];
    await stage.consumers.create(stage.wish("billing"));
    const AGE = "UPDATE pipeline.consumer SET created_at = now() - interval '50 days' WHERE organization_id = $1";
    await asOwner(database, (tx) => run(tx, AGE, [organizationId]));
    await stage.write(a, 3);
    await stage.write(b, 2);
    await stage.expire(a, 2);
    await stage.expire(b, 2);
    await stage.write(erased, 2);
    await asOwner(database, (tx) => eraseEvents(tx, organizationId, [erased]));
    await stage.expire(erased, 2);
    const reader = stage.read({ tellGone: true });
    await reader.until(3);
    await caughtUp();
    await reader.close();
    const of = (id: string) => told(reader.got.filter(({ connectionId }) => connectionId === id));
    expect([of(a), of(b), of(erased)]).toEqual([
      [
        [2, 2],
        [3, 0],
      ],
      [[2, 2]],
      [],
    ]);
  });

  it("is not what was erased: of that nothing is said, though an event follows that says of the end", async () => {
    const a = randomUUID();
    await readFirst(a, 1);
    await stage.write(a, 3);
    // Days are dropped, but not those of this connection.
    await stage.expire(randomUUID(), 1);
    await asOwner(database, (tx) => deleteConnectionEvents(tx, organizationId, a));
    await stage.write(a, 1);
    const reader = stage.read({ tellGone: true });
    await reader.until(1);
    await settled(5);
    await reader.close();
    expect(told(reader.got)).toEqual([[5, 0]]);
  });

  it("begins behind what was erased", async () => {
    const a = randomUUID();
    await readFirst(a, 1);
    await stage.write(a, 2);
    await asOwner(database, (tx) => deleteConnectionEvents(tx, organizationId, a));
    await stage.write(a, 3);
    await stage.expire(a, 5);
    const reader = stage.read({ tellGone: true });
    await reader.until(2);
    await reader.close();
    expect(told(reader.got)).toEqual([
      [5, 2],
      [6, 0],
    ]);
  });

  it("is not what was erased of a connection that had been idle for longer than the retention", async () => {
    const [a, b] = [randomUUID(), randomUUID()];
    await readFirst(a, 1);
    await stage.write(a, 3);
    await asOwner(database, (tx) => deleteConnectionEvents(tx, organizationId, a));
    await stage.expire(a, 4);
    const reader = stage.read({ tellGone: true });
    await settled(4);
    await stage.write(b, 1);
    await reader.until(1);
    await reader.close();
    expect(reader.got.map(({ connectionId }) => connectionId)).toEqual([b]);
  });

  it("takes its turn with a consumer that holds its connections behind dead letters", async () => {
    const a = randomUUID();
    await readFirst(a, 1);
    await stage.consumers.update(organizationId, "billing", { types: [], afterDeadLetter: "hold" });
    await stage.write(a, 4);
    await stage.expire(a, 3);
    const reader = stage.read({ tellGone: true, window: 1 });
    await reader.until(3);
    await settled(5);
    await reader.close();
    expect(told(reader.got)).toEqual([
      [3, 2],
      [4, 0],
      [5, 0],
    ]);
  });
});
