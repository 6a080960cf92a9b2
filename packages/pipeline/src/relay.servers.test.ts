import { connect, type NatsConnection } from "@nats-io/transport-node";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { EVENT_STREAM, parseEventHeaders } from "@tributary/contracts";
import { type Database, migrate, openPostgres, run } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { append } from "./append.ts";
import { createHandOff, type HandOff } from "./hand-off.ts";
import { migrations } from "./migrations.ts";
import { ensurePartitions } from "./partitions.ts";
import { type Relay, type RelayOptions, startRelay } from "./relay.ts";
import { type PrivateNats, startPrivateNats } from "./testing/private-nats.ts";
import { leadLeftMs, leads } from "./testing/relay-stage.ts";
import { sampleBatch } from "./testing/sample-batch.ts";

let postgres: PrivatePostgres;
beforeAll(async () => {
  postgres = await startPrivatePostgres();
});
afterAll(() => postgres.stop());

let database: Database;
let nats: PrivateNats;
let handOff: HandOff;
const relays: Relay[] = [];
beforeEach(async () => {
  database = openPostgres({ url: await postgres.createDatabase() });
  await migrate(database, [migrations]);
  await ensurePartitions(database, new Date());
  nats = await startPrivateNats({ maxPayloadBytes: 65_536 });
  handOff = await createHandOff({ database, process: randomUUID() });
});
afterEach(async () => {
  await Promise.all(relays.splice(0).map((one) => one.stop()));
  await handOff.stop();
  await nats.stop();
  await database.close();
});

function relay(options: Partial<RelayOptions> = {}): Relay {
  const started = startRelay({ database, handOff, servers: nats.url, ...options });
  relays.push(started);
  return started;
}

async function write(connectionId: string, count: number, options: { announce?: boolean; bytes?: number } = {}) {
  const batch = sampleBatch(connectionId, count, options);
  const first = await asOwner(database, (tx) => append(tx, batch));
  if (options.announce !== false) handOff.committed(batch, first);
}

async function until(what: string, condition: () => boolean | Promise<boolean>, seconds = 60): Promise<void> {
  const end = performance.now() + seconds * 1_000;
  for (; performance.now() < end; await sleep(20)) if (await condition()) return;
  throw new Error(`not within ${seconds} s: ${what}`);
}

const unpublished = async (): Promise<number> =>
  (
    await asOwner(database, (tx) =>
      run(tx, "SELECT 1 FROM pipeline.position WHERE head > published AND parked_sequence IS NULL"),
    )
  ).length;
const drained = () => until("everything is published", async () => (await unpublished()) === 0);

/** Every message of the stream, by connection. */
async function streamed(): Promise<Map<string, number[]>> {
  const nc: NatsConnection = await connect({ servers: nats.url });
  const { state } = await (await jetstreamManager(nc)).streams.info(EVENT_STREAM);
  const byConnection = new Map<string, number[]>();
  if (state.messages > 0) {
    const consumer = await jetstream(nc).consumers.get(EVENT_STREAM, {});
    for await (const message of await consumer.consume()) {
      const { connectionId, sequence } = parseEventHeaders((name) => message.headers?.get(name));
      byConnection.set(connectionId, [...(byConnection.get(connectionId) ?? []), Number(sequence)]);
      if (message.info.pending === 0) break;
    }
  }
  await nc.close();
  return byConnection;
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);

describe("the relay", () => {
  it("publishes a backlog and what is committed meanwhile, each event once, in order for each connection", async () => {
    const connections = Array.from({ length: 5 }, (): string => randomUUID());
    for (const id of connections) for (const count of [500, 300, 1]) await write(id, count, { announce: false });
    const one = relay();
    for (let turn = 0; turn < 40; turn++)
      await write(connections[turn % 5] ?? "", 1 + turn, { announce: turn % 7 !== 0 });
    await drained();
    const all = await streamed();
    for (const [index, id] of connections.entries()) {
      const more = upTo(40).filter((n) => (n - 1) % 5 === index);
      expect(all.get(id)).toEqual(upTo(801 + more.reduce((sum, n) => sum + n, 0)));
    }
    expect(one.status()).toMatchObject({ state: "leading", published: 5 * 801 + 820 });
  });

  it("loses, repeats and reorders nothing when the broker is killed in the middle of windows", async () => {
    relay();
    const connections = Array.from({ length: 3 }, (): string => randomUUID());
    const enough = new AbortController();
    const totals = new Map(connections.map((id) => [id, 0]));
    const writer = (async () => {
      for (let turn = 0; !enough.signal.aborted; turn++) {
        const id = connections[turn % 3] ?? "";
        await write(id, 200);
        totals.set(id, (totals.get(id) ?? 0) + 200);
        await sleep(5);
      }
    })();
    for (const away of [0, 300, 1_200]) {
      await sleep(400);
      await nats.kill();
      await sleep(away);
      await nats.restart();
    }
    await sleep(300);
    enough.abort();
    await writer;
    await drained();
    const all = await streamed();
    for (const [id, total] of totals) expect(all.get(id)).toEqual(upTo(total));
  });

  it("learns from the stream what a relay published before it died without marking it", async () => {
    const connectionId = randomUUID();
    const died = Promise.withResolvers<void>();
    const first = relay({
      beforeRecord: () => {
        died.resolve();
        return Promise.reject(new Error("killed"));
      },
    });
    await write(connectionId, 300);
    await died.promise;
    await first.stop();
    expect(await unpublished()).toBe(1);
    // The stream has forgotten the message ids: only its content tells.
    const nc = await connect({ servers: nats.url });
    const jsm = await jetstreamManager(nc);
    await jsm.streams.update(EVENT_STREAM, { duplicate_window: 100_000_000 });
    await nc.close();
    await sleep(300);
    relay();
    await write(connectionId, 10);
    await drained();
    expect((await streamed()).get(connectionId)).toEqual(upTo(310));
  });

  it("has one leader; another takes over within five seconds of its death", async () => {
    const connectionId = randomUUID();
    const first = relay();
    await until("the first leads", () => first.status().state === "leading");
    const second = relay();
    await until("the second stands by", () => second.status().state === "standby");
    await write(connectionId, 50);
    await drained();
    expect(second.status().published).toBe(0);
    // Whoever stands by looks every 375 ms: that makes five seconds on a machine that has them.
    expect(await leadLeftMs(database)).toBeLessThanOrEqual(3_000);
    // A process that died renews nothing and resigns nothing.
    await asOwner(database, (tx) =>
      run(tx, "UPDATE pipeline.relay_leader SET holder = $1, token = token + 1, until = now() + interval '4 seconds'", [
        randomUUID(),
      ]),
    );
    const since = performance.now();
    await write(connectionId, 50);
    await drained();
    expect(performance.now() - since).toBeLessThan(20_000);
    expect((await streamed()).get(connectionId)).toEqual(upTo(100));
  });

  it("takes over at once from a leader that stops", async () => {
    const [connectionId, holder] = [randomUUID(), randomUUID()];
    const first = relay({ holder });
    await until("the first leads", () => first.status().state === "leading");
    const second = relay();
    await write(connectionId, 5);
    await drained();
    expect(await leads(database, holder)).toBe(true);
    await first.stop();
    // Nobody waits for what it held to run out.
    expect(await leads(database, holder)).toBe(false);
    await write(connectionId, 5);
    await until("the second leads", () => second.status().state === "leading");
    await drained();
    expect((await streamed()).get(connectionId)).toEqual(upTo(10));
  });

  it("parks only the connection whose event the broker refuses", async () => {
    const [poisoned, healthy] = [randomUUID(), randomUUID()];
    relay();
    await write(poisoned, 3);
    await write(poisoned, 1, { bytes: 70_000 });
    await write(poisoned, 2);
    await write(healthy, 400);
    await drained();
    const all = await streamed();
    expect(all.get(poisoned)).toEqual(upTo(3));
    expect(all.get(healthy)).toEqual(upTo(400));
    const parked = await asOwner(database, (tx) =>
      run(
        tx,
        "SELECT connection_id, parked_sequence, parked_reason FROM pipeline.position WHERE parked_sequence IS NOT NULL",
      ),
    );
    expect(parked).toEqual([{ connection_id: poisoned, parked_sequence: 4n, parked_reason: "message_too_large" }]);
  });

  it("waits for a broker that is not there yet, and drains in order", async () => {
    await nats.kill();
    const connectionId = randomUUID();
    relay();
    for (let turn = 0; turn < 5; turn++) await write(connectionId, 500);
    await nats.restart();
    await drained();
    expect((await streamed()).get(connectionId)).toEqual(upTo(2_500));
  });
});

describe("a stream that lost events", () => {
  it("gets them again when its store went back in time", async () => {
    const connectionId = randomUUID();
    const first = relay();
    await write(connectionId, 100);
    await drained();
    await first.stop();
    await nats.kill();
    nats.saveStore();
    await nats.restart();
    const second = relay();
    await write(connectionId, 150);
    await drained();
    await second.stop();
    await nats.kill();
    nats.restoreStore();
    await nats.restart();
    relay();
    await write(connectionId, 5);
    await until("the lost are back", async () => (await streamed()).get(connectionId)?.length === 255);
    expect((await streamed()).get(connectionId)).toEqual(upTo(255));
  });

  it("gets everything that is retained when it was made anew", async () => {
    const connectionId = randomUUID();
    const first = relay();
    await write(connectionId, 120);
    await drained();
    await first.stop();
    const nc = await connect({ servers: nats.url });
    await (await jetstreamManager(nc)).streams.delete(EVENT_STREAM);
    await nc.close();
    relay();
    await until("the relay republished", async () => {
      await sleep(100);
      return (await streamed().catch(() => new Map<string, number[]>())).get(connectionId)?.length === 120;
    });
    expect((await streamed()).get(connectionId)).toEqual(upTo(120));
  });
});
