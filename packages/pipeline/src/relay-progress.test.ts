import { type Database, migrate, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { append } from "./append.ts";
import type { Broker, StoredMessage, StreamState } from "./jetstream.ts";
import { migrations } from "./migrations.ts";
import { ensurePartitions } from "./partitions.ts";
import { lead } from "./relay-leader.ts";
import { type Leadership, LeadershipLost, reconcile } from "./relay-progress.ts";
import { sampleBatch } from "./testing/sample-batch.ts";

let database: Database;
beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [migrations]);
  await ensurePartitions(database, new Date());
});
afterAll(() => database.close());

const stream = "TRIBUTARY_EVENTS";
const holder = randomUUID();

const asHouse = <T extends object>(text: string, params: readonly unknown[] = []): Promise<T[]> =>
  asOwner(database, (tx) => run<T>(tx, text, [...params]));

async function published(connectionId: string): Promise<number | undefined> {
  const text = "SELECT published::int AS at FROM pipeline.position WHERE connection_id = $1";
  return (await asHouse<{ at: number }>(text, [connectionId]))[0]?.at;
}

/** A stream that holds these messages and is whole otherwise. */
const brokerWith = (state: Partial<StreamState>, messages: readonly StoredMessage[] = []): Broker =>
  ({
    state: async () => ({
      created: "now",
      firstSequence: 1,
      lastSequence: messages.length,
      keptMs: 0,
      drops: false,
      ...state,
    }),
    after: async function* (last: number) {
      for (const message of messages) if (message.streamSequence > last) yield await Promise.resolve(message);
    },
  }) as unknown as Broker;

async function leading(): Promise<Leadership> {
  return { stream, holder, token: (await lead(database, stream, holder)) ?? 0n };
}

it("publishes again of a stream made anew what is retained, learns what it holds already, and leaves the quiet alone", async () => {
  const [fresh, quiet] = [randomUUID(), randomUUID()];
  await asOwner(database, (tx) => append(tx, sampleBatch(fresh, 6)));
  await asHouse("UPDATE pipeline.position SET published = head");
  await asHouse(
    `INSERT INTO pipeline.position (connection_id, organization_id, head, day, published)
     VALUES ($1, 'acme', 9, (now() - interval '40 days')::date, 9)`,
    [quiet],
  );
  await asHouse(
    `INSERT INTO pipeline.ack_range (stream, first_stream_sequence, last_stream_sequence, stream_created, ranges, acked_at)
     VALUES ($1, 1, 6, 'before', '[]', now())`,
    [stream],
  );
  const told: number[][] = [];
  const messages = [1, 2].map((at) => ({ streamSequence: at, connectionId: fresh, sequence: BigInt(at) }));
  const { repair, found } = await reconcile(database, brokerWith({}, messages), await leading(), (...one) =>
    told.push(one),
  );
  expect({ repair, found }).toEqual({ repair: "recreated", found: 2 });
  expect([await published(fresh), await published(quiet)]).toEqual([2, 9]);
  expect(told).toEqual([[2, 0]]);
});

it("tells of a long look page by page, and writes nothing once another leads", async () => {
  const id = randomUUID();
  await asOwner(database, (tx) => append(tx, sampleBatch(id, 400)));
  const many = Array.from({ length: 2_500 }, (_, index) => ({
    streamSequence: index + 10,
    connectionId: id,
    sequence: BigInt(Math.min(400, index + 1)),
  }));
  const told: number[][] = [];
  const whole = { lastSequence: 2_509 };
  await reconcile(database, brokerWith(whole, many), await leading(), (...one) => told.push(one));
  expect(told).toEqual([
    [1_000, 1_500],
    [1_000, 500],
    [500, 0],
  ]);
  expect(await published(id)).toBe(400);
  const gone = { ...(await leading()), token: 999n };
  const more = [{ streamSequence: 3_000, connectionId: id, sequence: 400n }];
  await expect(reconcile(database, brokerWith({ lastSequence: 3_000 }, more), gone)).rejects.toThrow(LeadershipLost);
});
