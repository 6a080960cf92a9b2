import { EVENT_STREAM } from "@tributary/contracts";
import { run } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { RelayLog } from "./relay.ts";
import { createRelayStage, type RelayStage, unpublished, until, upTo } from "./testing/relay-stage.ts";

let postgres: PrivatePostgres;
beforeAll(async () => {
  postgres = await startPrivatePostgres();
});
afterAll(() => postgres.stop());

let stage: RelayStage;
beforeEach(async () => {
  stage = await createRelayStage(postgres);
});
afterEach(() => stage.stop());

const MS = 1_000_000;
const forgetIdsWithin = (ms: number) =>
  stage.onBroker((jsm) => jsm.streams.update(EVENT_STREAM, { duplicate_window: ms * MS }));

/** As after ten thousand windows. */
const rememberOnlyTheNewest = () =>
  asOwner(stage.database, (tx) =>
    run(
      tx,
      "DELETE FROM pipeline.ack_range WHERE last_stream_sequence < (SELECT max(last_stream_sequence) FROM pipeline.ack_range)",
    ),
  );

/** What the relay says it repaired. */
function repairs(): { readonly log: RelayLog; readonly said: unknown[] } {
  const said: unknown[] = [];
  const log: RelayLog = {
    info: () => {},
    warn: (fields) => {
      if ("repair" in fields) said.push(fields["repair"]);
    },
  };
  return { log, said };
}

describe("a relay that died between publishing and marking", () => {
  it("is known by what the stream holds, when the broker has long forgotten the message ids", async () => {
    const [one, other] = [randomUUID(), randomUUID()];
    const before = stage.relay();
    await stage.write(one, 20);
    await stage.drained();
    await before.stop();
    await forgetIdsWithin(200);
    let windows = 0;
    const died = Promise.withResolvers<void>();
    const buried = Promise.withResolvers<void>();
    const dying = stage.relay({
      beforeRecord: () => {
        if (windows++ < 2) return Promise.resolve();
        died.resolve();
        return buried.promise;
      },
    });
    let turns = 0;
    const commit = async (): Promise<void> => {
      turns++;
      await stage.write(one, 100);
      await stage.write(other, 50);
    };
    // However many it takes into a window: each turn makes one more at the most.
    for (const dead = died.promise.then(() => true); !(await Promise.race([dead, sleep(40, false)]));) await commit();
    await commit();
    // As a killed process: it marks nothing, renews nothing and resigns nothing.
    await asOwner(stage.database, (tx) =>
      run(tx, "UPDATE pipeline.relay_leader SET holder = $1, token = token + 1, until = now() + interval '1 second'", [
        randomUUID(),
      ]),
    );
    await sleep(1_200);
    expect(await unpublished(stage.database)).toBeGreaterThan(0);
    const after = stage.relay();
    await stage.drained();
    expect(after.status().state).toBe("leading");
    const all = await stage.streamed();
    expect(all.get(one)).toEqual(upTo(20 + turns * 100));
    expect(all.get(other)).toEqual(upTo(turns * 50));
    buried.reject(new Error("killed"));
    await dying.stop();
  });
});

describe("a stream that lost messages", () => {
  it("gets all that is retained again when it was purged, as soon as the broker forgets their ids", async () => {
    const connections = [randomUUID(), randomUUID()];
    const { log, said } = repairs();
    stage.relay({ log });
    for (const count of [100, 50]) {
      for (const id of connections) await stage.write(id, count);
      await stage.drained();
    }
    await rememberOnlyTheNewest();
    await forgetIdsWithin(1_500);
    await stage.onBroker((jsm) => jsm.streams.purge(EVENT_STREAM));
    await until("it is noticed", () => said.length > 0);
    await stage.drained();
    const all = await stage.streamed();
    for (const id of connections) expect(all.get(id)).toEqual(upTo(150));
    expect(said).toEqual(["purged"]);
  });

  it("gets the beginning again when only that was purged", async () => {
    const [first, second] = [randomUUID(), randomUUID()];
    const { log, said } = repairs();
    const before = stage.relay({ log });
    await stage.write(first, 100);
    await stage.drained();
    await stage.write(second, 100);
    await stage.drained();
    await before.stop();
    await forgetIdsWithin(100);
    await stage.onBroker((jsm) => jsm.streams.purge(EVENT_STREAM, { seq: 101 }));
    await sleep(200);
    stage.relay({ log });
    await until("it is repaired", async () => (await stage.streamed()).get(first)?.length === 100);
    const all = await stage.streamed();
    expect(all.get(first)).toEqual(upTo(100));
    expect(all.get(second)).toEqual(upTo(100));
    expect(said).toEqual(["purged"]);
    // Once is enough: the next relay finds it whole.
    const third = stage.relay({ log });
    await third.stop();
    expect(said).toEqual(["purged"]);
  });

  it("is left alone when the missing have had their time", async () => {
    const connectionId = randomUUID();
    const { log, said } = repairs();
    const before = stage.relay({ log });
    await stage.write(connectionId, 50);
    await stage.drained();
    await before.stop();
    await forgetIdsWithin(100);
    await stage.onBroker((jsm) => jsm.streams.update(EVENT_STREAM, { max_age: 1_000 * MS }));
    await until("they expired", async () =>
      stage.onBroker(async (jsm) => (await jsm.streams.info(EVENT_STREAM)).state.messages === 0),
    );
    const after = stage.relay({ log });
    await stage.write(connectionId, 1);
    await stage.drained();
    // It is the only one that came after them; it has little time itself.
    expect((await stage.onBroker((jsm) => jsm.streams.info(EVENT_STREAM))).state.last_seq).toBe(51);
    expect(after.status().published).toBe(1);
    expect(said).toEqual([]);
    await after.stop();
  });

  it("gets everything again when it went back further than the acknowledged windows are remembered", async () => {
    const connections = [randomUUID(), randomUUID()];
    const { log, said } = repairs();
    const before = stage.relay();
    await stage.write(connections[0] ?? "", 60);
    await stage.drained();
    await before.stop();
    await stage.nats.kill();
    stage.nats.saveStore();
    await stage.nats.restart();
    const between = stage.relay();
    for (const id of connections) await stage.write(id, 40);
    await stage.drained();
    for (const id of connections) await stage.write(id, 30);
    await stage.drained();
    await between.stop();
    await stage.nats.kill();
    stage.nats.restoreStore();
    await stage.nats.restart();
    await rememberOnlyTheNewest();
    stage.relay({ log });
    await until("it is repaired", async () => (await stage.streamed()).get(connections[1] ?? "")?.length === 70);
    await stage.drained();
    const all = await stage.streamed();
    expect(all.get(connections[0] ?? "")).toEqual(upTo(130));
    expect(all.get(connections[1] ?? "")).toEqual(upTo(70));
    expect(said).toEqual(["regressed"]);
  });
});
