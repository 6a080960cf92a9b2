import { setTimeout as sleep } from "node:timers/promises";
import { randomUUID } from "node:crypto";
import { type Database, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { describe, expect, it } from "vitest";
import type { StreamStage } from "./testing/stream-stage.ts";
import { useStreamStage } from "./testing/use-stream-stage.ts";

let database: Database;
let stage: StreamStage;
let organizationId = "";
useStreamStage((on) => ({ database, stage, organizationId } = on));

const consumers = () => stage.consumers;

const write: StreamStage["write"] = (...what) => stage.write(...what);
const read: StreamStage["read"] = (options) => stage.read(options);

describe("a consumer", () => {
  it("is one of a thousand at most, however it comes to be; those that stand go on, be they more", async () => {
    await consumers().create(stage.wish("first"));
    const MANY = `
      INSERT INTO pipeline.consumer (organization_id, name, types, created_at, last_seen_at, until)
      SELECT $1, 'many-' || n, '{}', now(), now(), now() FROM generate_series(1, 1005) AS n`;
    await asOwner(database, (tx) => run(tx, MANY, [organizationId]));
    await expect(consumers().create(stage.wish("one-more"))).rejects.toMatchObject({ code: "limit_reached" });
    await expect(read({ consumer: "one-more" }).close()).rejects.toMatchObject({ code: "limit_reached" });
    expect(await consumers().create(stage.wish("first"))).toMatchObject({ created: false });
    await write(randomUUID(), 1);
    const reader = read({ consumer: "first" });
    expect(await reader.until(1)).toHaveLength(1);
    await reader.close();
    for (let n = 1; n <= 7; n++) await consumers().remove(organizationId, `many-${n}`, "http");
    expect(await consumers().create(stage.wish("one-more"))).toMatchObject({ created: true });
  });

  it("is made once, never changed silently, changed on purpose, and removed", async () => {
    const types = ["a.v1.Wanted"];
    expect(await consumers().create({ ...stage.wish("billing"), types })).toMatchObject({ created: true });
    expect(await consumers().create({ ...stage.wish("billing"), types })).toMatchObject({ created: false });
    await expect(consumers().create({ ...stage.wish("billing"), types: ["a.v1.Other"] })).rejects.toThrow(
      "it does not read a.v1.Other; it reads a.v1.Wanted instead",
    );
    await expect(consumers().create({ ...stage.wish("billing"), types, afterDeadLetter: "hold" })).rejects.toThrow(
      "continue",
    );
    const other = read({ types: ["a.v1.Wanted", "a.v1.Other"] });
    await expect(other.close()).rejects.toMatchObject({ code: "consumer_differs" });
    expect(await consumers().update(organizationId, "billing", { types: [], afterDeadLetter: "hold" })).toMatchObject({
      types: [],
      afterDeadLetter: "hold",
    });
    expect(await consumers().update(organizationId, "nobody", { types: [] })).toBeUndefined();
    expect(await consumers().remove(organizationId, "billing", "http")).toBe(true);
    expect(await consumers().remove(organizationId, "billing", "http")).toBe(false);
    await expect(consumers().create({ ...stage.wish("billing"), road: "nats" })).rejects.toMatchObject({
      code: "consumer_unsupported",
    });
  });

  it("says how far it is behind, since when, and whether somebody is there", async () => {
    const a = randomUUID();
    const since = Date.now();
    await write(a, 5);
    const before = Date.now();
    const reader = read({ window: 2, fate: () => "none" });
    await reader.until(2);
    const [view] = await consumers().list(organizationId);
    expect(view).toMatchObject({
      name: "billing",
      road: "http",
      lag: 5,
      outstanding: 2,
      connected: true,
      deadLetters: 0,
    });
    // By the database's clock, which here is this process's.
    expect(view?.oldestAtMs).toBeGreaterThan(since - 1_000);
    expect(view?.oldestAtMs).toBeLessThan(before + 1_000);
    expect((await consumers().get(organizationId, "billing"))?.behind).toEqual([
      { connectionId: a, settled: 0n, head: 5n, held: false },
    ]);
    await reader.close();
    expect(await consumers().list(organizationId)).toMatchObject([{ connected: false }]);
    expect(await consumers().list("globex")).toEqual([]);
    expect(await consumers().get("globex", "billing")).toBeUndefined();
  });

  it("begins now when it was made so", async () => {
    const a = randomUUID();
    await write(a, 5);
    await consumers().create({ ...stage.wish("billing"), start: "now" });
    await write(a, 1);
    const reader = read();
    await reader.until(1);
    await sleep(50);
    await reader.close();
    expect(reader.got.map(({ sequence }) => sequence)).toEqual([6n]);
  });
});
