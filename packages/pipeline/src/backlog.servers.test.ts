import { run } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ledgerBacklog, watchBacklog } from "./backlog.ts";
import { createRelayStage, type RelayStage } from "./testing/relay-stage.ts";

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

const onDisk = async (): Promise<number> => {
  const text = `SELECT sum(pg_total_relation_size(c.oid))::float8 AS bytes FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'pipeline.event'::regclass`;
  const [row] = await asOwner(stage.database, (tx) => run<{ bytes: number }>(tx, text));
  return row?.bytes ?? 0;
};

describe("what waits for the broker", () => {
  it.each([30, 300, 3_000])(
    "is known in bytes within a third of what it takes on disk, at %i bytes each",
    async (bytes) => {
      const empty = await onDisk();
      const connections = [randomUUID(), randomUUID(), randomUUID()];
      for (const id of connections) for (let turn = 0; turn < 8; turn++) await stage.write(id, 500, { bytes });
      const { events, bytes: estimate, connections: count } = await ledgerBacklog(stage.database);
      expect([count, events]).toEqual([3, 12_000]);
      const real = (await onDisk()) - empty;
      expect(estimate / real).toBeGreaterThan(0.67);
      expect(estimate / real).toBeLessThan(1.33);
    },
  );

  it("rests the intake above its limit, and lets it go on when the relay has caught up", async () => {
    await stage.nats.kill();
    stage.relay();
    const said: string[] = [];
    const say = (_: unknown, message: string): void => void said.push(message);
    const watch = watchBacklog({
      database: stage.database,
      bytesMax: 200_000,
      everyMs: 20,
      log: { info: say, warn: say },
    });
    await watch.look();
    expect(watch.state()).toEqual({
      connections: 0,
      events: 0,
      bytes: 0,
      bytesMax: 200_000,
      full: false,
      oldestAtMs: undefined,
    });
    const since = Date.now();
    await stage.write(randomUUID(), 500, { bytes: 300 });
    await watch.look();
    expect(watch.state()).toMatchObject({ connections: 1, events: 500, full: true });
    expect(watch.state().oldestAtMs).toBeGreaterThan(since - 60_000);
    expect(watch.state().oldestAtMs).toBeLessThan(Date.now() + 60_000);
    await stage.nats.restart();
    await stage.drained();
    await watch.look();
    expect(watch.state()).toMatchObject({ events: 0, full: false });
    expect(said).toEqual([expect.stringContaining("intake rests"), expect.stringContaining("goes on")]);
    await watch.stop();
  });

  it("is not what an operator parked", async () => {
    await stage.write(randomUUID(), 10);
    await asOwner(stage.database, (tx) =>
      run(tx, "UPDATE pipeline.position SET parked_sequence = 1, parked_reason = 'x', parked_at = now()"),
    );
    expect(await ledgerBacklog(stage.database)).toMatchObject({ connections: 0, events: 0, bytes: 0 });
  });
});
