import { create, toBinary } from "@bufbuild/protobuf";
import { TaskChangedSchema, TaskSchema } from "@tributary/contracts";
import { openPostgres, withOrganization } from "@tributary/db";
import { append } from "@tributary/pipeline";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { WorkerParts } from "./worker.ts";

const PAUSE_MS = 20;

/**
 * Commits events without a run and its lease, a few at a time, and holds each transaction open for a moment: another of
 * its kind that writes to the same connections has only the ledger between itself and this one.
 */
export async function startWriter({ settings, closing, told, untilItWorks }: WorkerParts): Promise<void> {
  const database = openPostgres({ url: settings.databaseUrl, connectionsMax: 4 });
  closing.push(["the database", () => database.close()]);
  await untilItWorks(() => database.confine());
  const stopping = new AbortController();
  const { connectionIds = [] } = settings;
  let refused = 0;
  told.refused = () => refused;
  const writing = connectionIds.map(async (connectionId) => {
    while (!stopping.signal.aborted) {
      await withOrganization(database, "acme", async (tx) => {
        await append(tx, batchOf(connectionId, 1 + Math.floor(Math.random() * 4)));
        await sleep(Math.random() * PAUSE_MS);
      }).catch(() => void refused++);
      await sleep(Math.random() * PAUSE_MS);
    }
  });
  closing.push([
    "the writer",
    async () => {
      stopping.abort();
      await Promise.all(writing);
    },
  ]);
}

function batchOf(connectionId: string, count: number): Parameters<typeof append>[1] {
  const events = Array.from({ length: count }, () => {
    const id = randomUUID();
    return {
      id,
      type: TaskChangedSchema.typeName,
      subject: "evt.v1.acme.crash.task.changed",
      objectKey: `task/${id}`,
      timeMs: Date.now(),
      payload: toBinary(TaskChangedSchema, create(TaskChangedSchema, { task: create(TaskSchema, { id }) })),
    };
  });
  return { organizationId: "acme", connectionId, connector: "crash", backfill: false, traceparent: "", events };
}
