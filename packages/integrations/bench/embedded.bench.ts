import { toBinary } from "@bufbuild/protobuf";
import { TaskChangedSchema } from "@tributary/contracts";
import { migrate, openPglite, run } from "@tributary/db";
import {
  append,
  createEventStream,
  createHandOff,
  ensurePartitions,
  migrations as pipelineTables,
} from "@tributary/pipeline";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { commit } from "../src/commit.ts";
import { migrations, type Runtime } from "../src/index.ts";
import { batchesOf, connected, statements } from "./commit-path.ts";

/**
 * Embedded, end to end: signals are committed on PGlite, on disk as the hub has it, and a stream in the same process hands
 * each event to a handler, which settles it. Counted until the last is settled. The ceiling commits the same rows in one
 * statement with bytes made beforehand, calls the handler from memory, and writes a position once a batch.
 */
const POSITION = `
INSERT INTO pipeline.consumer_position AS c (organization_id, consumer, connection_id, settled) VALUES ('acme', 'bare', $1, $2)
ON CONFLICT (organization_id, consumer, connection_id) DO UPDATE SET settled = excluded.settled`;

export default {
  name: "pipeline/embedded",
  unit: "events/s",
  goal: { of: "ours", atLeast: 10_000 },
  repeats: 3,
  run: async () => {
    const folder = mkdtempSync(join(tmpdir(), "tributary-embedded-"));
    const database = await openPglite({ dataDir: join(folder, "database") });
    await migrate(database, [pipelineTables, migrations]);
    await ensurePartitions(database, new Date());
    const handOff = await createHandOff({ database, process: randomUUID() });
    const stream = await createEventStream({ database, handOff });
    const ended = new AbortController();
    try {
      const runtime = { database, append, committed: handOff.committed } as unknown as Runtime;
      const batches = batchesOf(1);
      const total = batches.reduce((sum, signals) => sum + signals.length, 0);

      const lease = await connected(database);
      const key = { organizationId: "acme", consumer: "bench" };
      let handled = 0;
      const done = Promise.withResolvers<void>();
      const reading = (async () => {
        for await (const event of stream.subscribe({ ...key, types: [], window: 1_000, signal: ended.signal })) {
          void stream
            .settle({ ...key, connectionId: event.connectionId, sequence: event.sequence, outcome: "handled" })
            .then(() => ++handled === total && done.resolve());
        }
      })();
      const start = performance.now();
      for (const [turn, signals] of batches.entries())
        await commit(runtime, { lease, signals, cursor: { turn }, backfill: false, traceparent: "" });
      await done.promise;
      const ours = (total / (performance.now() - start)) * 1_000;
      ended.abort();
      await reading;

      const other = await connected(database);
      // The ceiling: no role, no policy, and no transaction around its statements.
      await database.pglite.exec("RESET ROLE");
      const works = batches.map((signals, turn) => statements(database, other)(signals, turn));
      const payloads = batches[0]?.map(({ message }) => toBinary(TaskChangedSchema, message as never)) ?? [];
      let seen = 0;
      const since = performance.now();
      for (const [turn, work] of works.entries()) {
        const events = await work();
        for (const payload of payloads) seen += payload.length > 0 ? 1 : 0;
        await run(database.query, POSITION, [other.connectionId, BigInt((turn + 1) * events)]);
      }
      if (seen !== total) throw new Error("the ceiling handled another number");
      return { ours, ceiling: (total / (performance.now() - since)) * 1_000 };
    } finally {
      ended.abort();
      await stream.stop();
      await handOff.stop();
      await database.close();
      rmSync(folder, { recursive: true, force: true });
    }
  },
};
