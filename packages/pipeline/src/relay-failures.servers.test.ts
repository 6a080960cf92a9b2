import { DEAD_LETTER_STREAM, EVENT_STREAM } from "@tributary/contracts";
import { type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createHandOff } from "./hand-off.ts";
import { parkedConnections, unparkConnection } from "./relay-parked.ts";
import { createRelayStage, type RelayStage, until, upTo } from "./testing/relay-stage.ts";

let postgres: PrivatePostgres;
beforeAll(async () => {
  postgres = await startPrivatePostgres();
});
afterAll(() => postgres.stop());

let stage: RelayStage;
beforeEach(async () => {
  stage = await createRelayStage(postgres, { maxPayloadBytes: 65_536 });
});
afterEach(() => stage.stop());

describe("an event that the broker refuses", () => {
  it("is parked with its reason, listed, and goes on when the broker takes it", async () => {
    const [poisoned, healthy] = [randomUUID(), randomUUID()];
    stage.relay();
    await stage.write(poisoned, 3);
    await stage.write(poisoned, 1, { bytes: 70_000 });
    await stage.write(poisoned, 2);
    await stage.write(healthy, 400);
    await stage.drained();
    const parked = await parkedConnections(stage.database, "acme");
    expect(parked).toEqual([
      {
        organizationId: "acme",
        connectionId: poisoned,
        sequence: 4n,
        reason: "message_too_large",
        parkedAt: expect.stringMatching(/^2\d{3}-\d\d-\d\dT.*Z$/) as string,
        waiting: 3,
      },
    ]);
    expect(await parkedConnections(stage.database, "globex")).toEqual([]);
    expect(await parkedConnections(stage.database)).toEqual(parked);
    expect((await stage.streamed()).get(healthy)).toEqual(upTo(400));
    // Nothing changed at the broker: it is parked again.
    expect(await unparkConnection(stage.database, { organizationId: "acme", connectionId: poisoned })).toBe(true);
    await until("it is parked again", async () => (await parkedConnections(stage.database)).length === 1);
    expect((await stage.streamed()).get(poisoned)).toEqual(upTo(3));
    const skipping = { organizationId: "acme", connectionId: poisoned, skip: true };
    expect(await unparkConnection(stage.database, skipping)).toBe(true);
    await stage.drained();
    expect((await stage.streamed()).get(poisoned)).toEqual([1, 2, 3, 5, 6]);
    expect(await unparkConnection(stage.database, skipping)).toBe(false);
  });

  it("cannot be let go by another organisation", async () => {
    const connectionId = randomUUID();
    stage.relay();
    await stage.write(connectionId, 1, { bytes: 70_000 });
    await until("it is parked", async () => (await parkedConnections(stage.database)).length === 1);
    expect(await unparkConnection(stage.database, { organizationId: "globex", connectionId, skip: true })).toBe(false);
    expect(await parkedConnections(stage.database)).toHaveLength(1);
  });

  it("stops its own connection and no other, and goes out as soon as the broker takes it", async () => {
    await stage.onBroker((jsm) => jsm.streams.add({ name: EVENT_STREAM, subjects: ["evt.v1.*.todoist.>"] }));
    // In the order in which a backlog is read the refused one comes first, so every window begins with it.
    const [refused, healthy] = ["00000000", "ffffffff"].map((begin) => begin + randomUUID().slice(8)) as [
      string,
      string,
    ];
    await stage.write(refused, 5, { connector: "stripe", announce: false });
    await stage.write(healthy, 200, { announce: false });
    const relay = stage.relay();
    await until("what waited is through", async () => (await stage.streamed()).get(healthy)?.length === 200, 20);
    for (let turn = 0; turn < 10; turn++) {
      await stage.write(healthy, 30);
      await stage.write(refused, 1, { connector: "stripe" });
      await sleep(30);
    }
    await until("the healthy one is through", async () => (await stage.streamed()).get(healthy)?.length === 500, 20);
    expect((await stage.streamed()).get(refused)).toBeUndefined();
    expect(relay.status()).toMatchObject({ state: "leading", held: 1 });
    await stage.onBroker((jsm) => jsm.streams.update(EVENT_STREAM, { subjects: ["evt.v1.>", "sys.v1.>"] }));
    await stage.drained(40);
    const all = await stage.streamed();
    expect(all.get(refused)).toEqual(upTo(15));
    expect(all.get(healthy)).toEqual(upTo(500));
    expect(relay.status().held).toBe(0);
  });
});

describe("what wakes the relay", () => {
  it("is nothing but its own look each second when every notification is lost", async () => {
    const connectionId = randomUUID();
    const deaf = await createHandOff({
      database: { ...stage.database, query: stage.database.query, listen: async () => async () => {} },
      process: randomUUID(),
    });
    const relay = stage.relay({ handOff: deaf });
    await until("it leads", () => relay.status().state === "leading");
    const waits: number[] = [];
    for (let turn = 1; turn <= 5; turn++) {
      const since = performance.now();
      await stage.write(connectionId, 20);
      await stage.drained();
      waits.push(performance.now() - since);
    }
    // Half a second on average; the median does not mind that the machine stands still once.
    expect(waits.toSorted((a, b) => a - b)[2]).toBeLessThan(2_500);
    expect((await stage.streamed()).get(connectionId)).toEqual(upTo(100));
    await relay.stop();
    await deaf.stop();
  });

  it("is a notification of another process, long before its own look", async () => {
    const connectionId = randomUUID();
    const other = await createHandOff({ database: stage.database, process: randomUUID() });
    const relay = stage.relay({ handOff: other });
    await until("it leads", () => relay.status().state === "leading");
    await stage.write(connectionId, 1);
    await stage.drained();
    const waits: number[] = [];
    for (let turn = 0; turn < 15; turn++) {
      const since = performance.now();
      const { published } = relay.status();
      await stage.write(connectionId, 1);
      await until("it is published", () => relay.status().published > published);
      waits.push(performance.now() - since);
    }
    // A look alone would take half a second on average.
    expect(waits.toSorted((a, b) => a - b)[7]).toBeLessThan(350);
    await relay.stop();
    await other.stop();
  });
});

describe("PostgreSQL that restarts", () => {
  it("in the middle of commits and windows loses, repeats and reorders nothing", async () => {
    const server = await startPrivatePostgres();
    const own = await createRelayStage(server);
    const committed = new Map<string, number>();
    const connections = [randomUUID(), randomUUID(), randomUUID()];
    const enough = new AbortController();
    try {
      own.relay();
      const writing = connections.map(async (id) => {
        while (!enough.signal.aborted) {
          // A commit whose answer was lost may have happened: the ledger says so below.
          await own.write(id, 50).catch(() => sleep(20));
        }
      });
      for (let turn = 0; turn < 2; turn++) {
        await sleep(700);
        await server.crash();
        await server.restart();
      }
      await sleep(500);
      enough.abort();
      await Promise.all(writing);
      await own.drained(30);
      const all = await own.streamed();
      for (const id of connections) {
        const head = all.get(id)?.length ?? 0;
        committed.set(id, head);
        expect(all.get(id)).toEqual(upTo(head));
      }
      expect([...committed.values()].every((head) => head >= 50)).toBe(true);
    } finally {
      enough.abort();
      await own.stop();
      await server.stop();
    }
  });
});

describe("the streams", () => {
  it("are made by the relay when they are missing, and made again when they vanish while it idles", async () => {
    const connectionId = randomUUID();
    const relay = stage.relay();
    await stage.write(connectionId, 10);
    await stage.drained();
    const names = await stage.onBroker(async (jsm) => {
      const found: string[] = [];
      for await (const name of jsm.streams.names()) found.push(name);
      return found;
    });
    expect(names).toEqual(expect.arrayContaining([EVENT_STREAM, DEAD_LETTER_STREAM]));
    await stage.onBroker((jsm) => jsm.streams.delete(EVENT_STREAM));
    await until(
      "its events are back, although nothing was committed",
      async () => (await stage.streamed().catch(() => undefined))?.get(connectionId)?.length === 10,
    );
    expect(relay.status().state).toBe("leading");
  });
});
