import { type Database, migrate, openPostgres, run } from "@tributary/db";
import { asOwner, startPrivatePostgres } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { append, createHandOff, ensurePartitions, migrations, startRelay } from "../src/index.ts";
import { openBarePublisher, sampleBatch, startPrivateNats } from "../src/testing/index.ts";

/**
 * The relay from a backlog in the ledger to a real broker. The ceiling reads the same rows in order, 1,000 at a time with
 * the next read overlapped, publishes them with the same headers and Nats-Msg-Id through an ack tracker on one inbox,
 * and keeps its progress as one row: no fence, no leadership, no ranges, no fairness between connections.
 */
const CONNECTIONS = 20;
const EVENTS_EACH = 1_500;
const EVENTS = CONNECTIONS * EVENTS_EACH;
const WINDOW = 1_000;
const BYTES = 300;

export default {
  name: "pipeline/relay",
  unit: "events/s",
  goal: { of: "ratio", atLeast: 0.6 },
  /** Every run starts its servers anew. */
  repeats: 3,
  async run() {
    const [server, nats] = await Promise.all([startPrivatePostgres(), startPrivateNats()]);
    const database = openPostgres({ url: server.url });
    try {
      await migrate(database, [migrations]);
      await ensurePartitions(database, new Date());
      const connections = await fill(database);
      const ours = await relay(database, nats.url);
      const ceiling = await bare(server.url, nats.url, connections);
      return { ours, ceiling };
    } finally {
      await database.close();
      await Promise.all([server.stop(), nats.stop()]);
    }
  },
};

async function fill(database: Database): Promise<string[]> {
  const connections = Array.from({ length: CONNECTIONS }, () => randomUUID());
  for (const connectionId of connections)
    for (let made = 0; made < EVENTS_EACH; made += 500)
      await asOwner(database, (tx) => append(tx, sampleBatch(connectionId, 500, { bytes: BYTES })));
  return connections;
}

/** Timed from the moment it leads, which is before its first read, until the last event is recorded as published. */
async function relay(database: Database, url: string): Promise<number> {
  const handOff = await createHandOff({ database, process: randomUUID() });
  const relaying = startRelay({ database, handOff, servers: url });
  try {
    while (relaying.status().state !== "leading") await sleep(1);
    const start = performance.now();
    while (relaying.status().published < EVENTS) {
      if (performance.now() - start > 30_000) throw new Error("the relay did not drain its backlog within 30 s");
      await sleep(1);
    }
    const ms = performance.now() - start;
    return (EVENTS / ms) * 1000;
  } finally {
    await relaying.stop();
    await handOff.stop();
  }
}

const READ = `
SELECT sequence, id, type, subject, object_key, date_part('epoch', time) * 1000 AS time_ms,
  payload
FROM pipeline.event WHERE connection_id = $1 AND sequence > $2 ORDER BY sequence LIMIT ${WINDOW}`;
const MARK = "UPDATE pipeline.position SET published = $2 WHERE connection_id = $1";

interface Row {
  readonly sequence: bigint;
  readonly id: string;
  readonly type: string;
  readonly subject: string;
  readonly object_key: string;
  readonly time_ms: number;
  readonly payload: Uint8Array;
}

/** Signs in as the owner of the tables: no role, no policy, and no transaction around a statement. */
async function bare(databaseUrl: string, url: string, connections: readonly string[]): Promise<number> {
  const database = openPostgres({ url: databaseUrl });
  const publisher = await openBarePublisher(url);
  try {
    await publisher.reset();
    const start = performance.now();
    let published = 0;
    let marking: Promise<unknown> = Promise.resolve();
    for (const connectionId of connections) {
      let reading = run<Row>(database.query, READ, [connectionId, 0n]);
      for (let rows = await reading; rows.length > 0; rows = await reading) {
        const last = rows.at(-1)?.sequence ?? 0n;
        reading = run<Row>(database.query, READ, [connectionId, last]);
        const events = rows.map((row) => ({ ...row, objectKey: row.object_key, timeMs: row.time_ms }));
        await publisher.publish({ organizationId: "acme", connectionId, connector: "todoist" }, events);
        await marking;
        marking = run(database.query, MARK, [connectionId, last]);
        published += rows.length;
      }
    }
    await marking;
    if (published !== EVENTS) throw new Error(`${published} events were read`);
    return (EVENTS / (performance.now() - start)) * 1000;
  } finally {
    await publisher.close();
    await database.close();
  }
}
