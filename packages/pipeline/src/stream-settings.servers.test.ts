import { EVENT_STREAM } from "@tributary/contracts";
import { type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { applyStreams, inspectStreams } from "./stream-settings.ts";
import { createRelayStage, type RelayStage, upTo } from "./testing/relay-stage.ts";

let postgres: PrivatePostgres;
let stage: RelayStage;
beforeAll(async () => {
  postgres = await startPrivatePostgres();
});
afterAll(() => postgres.stop());
beforeEach(async () => {
  stage = await createRelayStage(postgres);
});
afterEach(() => stage.stop());

/** As nats-server from 2.10 on answers `/varz`. */
const varz =
  (config: object): typeof fetch =>
  async () =>
    Response.json({ version: "2.12.1", jetstream: { config } });

describe("how the broker flushes", () => {
  it.each([
    ["is not told by nats-server 2.9", varz({ store_dir: "/data" }), ["sync_interval_unknown"]],
    ["is not known when nobody answers", () => Promise.reject(new Error("no")), ["sync_interval_unknown"]],
    ["is now and then, by default", varz({ sync_interval: 120e9 }), ["sync_interval_not_always"]],
    ["is every message", varz({ sync_interval: 120e9, sync_always: true }), []],
  ])("%s", async (_, fetch, expected) => {
    const options = { servers: stage.nats.url, retentionDays: 30, monitorUrl: "http://127.0.0.1:1", fetch };
    const { version, warnings } = await inspectStreams(options);
    const old = Number(version.split(".")[1]) < 12 && version.startsWith("2.");
    expect(warnings).toEqual([...(old ? ["server_before_2_12"] : []), ...expected]);
  });
});

describe("a relay on streams that are not as they should be", () => {
  it("says so at its start, changes nothing, and publishes", async () => {
    await stage.onBroker((jsm) => jsm.streams.add({ name: EVENT_STREAM, subjects: ["evt.v1.>", "sys.v1.>"] }));
    const said: unknown[] = [];
    const connectionId = randomUUID();
    stage.relay({ log: { info: () => {}, warn: (fields) => said.push(fields) } });
    await stage.write(connectionId, 20);
    await stage.drained();
    expect((await stage.streamed()).get(connectionId)).toEqual(upTo(20));
    expect(said).toContainEqual({ warning: "sync_interval_unknown" });
    expect(said).toContainEqual({
      stream: EVENT_STREAM,
      setting: "max_age",
      is: "unlimited",
      should: "30 days",
      changeable: true,
    });
    const config = await stage.onBroker(async (jsm) => (await jsm.streams.info(EVENT_STREAM)).config);
    expect(config).toMatchObject({ max_age: 0, discard: "old" });
  });

  it("has nothing to say when somebody applied them", async () => {
    const options = { servers: stage.nats.url, retentionDays: 30 };
    expect((await applyStreams(options)).streams.every(({ exists }) => !exists)).toBe(true);
    const { streams } = await inspectStreams(options);
    expect(streams.map(({ exists, differences }) => [exists, differences])).toEqual([
      [true, []],
      [true, []],
      [true, []],
    ]);
  });
});
