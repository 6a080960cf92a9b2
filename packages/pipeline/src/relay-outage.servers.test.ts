import { withOrganization } from "@tributary/db";
import { type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { append } from "./append.ts";
import { createRelayStage, type RelayStage, until, upTo } from "./testing/relay-stage.ts";
import { sampleBatch } from "./testing/sample-batch.ts";

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

/** What ten events a second make of an hour. */
const EVENTS = 36_000;
const CONNECTIONS = 12;
const MIB = 1_048_576;

it("an hour's events that waited for the broker leave in order within a minute, in bounded memory", async () => {
  const connections = Array.from({ length: CONNECTIONS }, (): string => randomUUID());
  const relay = stage.relay();
  await until("it leads", () => relay.status().state === "leading");
  await stage.nats.kill();
  for (let made = 0; made < EVENTS; made += CONNECTIONS * 500)
    for (const id of connections) {
      const batch = sampleBatch(id, 500, { bytes: 300 });
      // Intake goes on: it is told of nothing, and waits for nothing.
      const first = await withOrganization(stage.database, "acme", (tx) => append(tx, batch));
      stage.handOff.committed(batch, first);
    }
  await until("it says that it waits", () => relay.status().state === "waiting", 30);
  const before = process.memoryUsage.rss();
  let most = before;
  const watch = setInterval(() => (most = Math.max(most, process.memoryUsage.rss())), 50);
  await stage.nats.restart();
  const since = performance.now();
  await stage.drained(60);
  clearInterval(watch);
  expect(performance.now() - since).toBeLessThan(60_000);
  expect((most - before) / MIB).toBeLessThan(100);
  const all = await stage.streamed();
  for (const id of connections) expect(all.get(id)).toEqual(upTo(EVENTS / CONNECTIONS));
});
