import { toBinary } from "@bufbuild/protobuf";
import { TaskChangedSchema } from "@tributary/contracts";
import { type Database, migrate, openPostgres, run } from "@tributary/db";
import { asOwner, startPrivatePostgres } from "@tributary/db/testing";
import { append, createHandOff, ensurePartitions, migrations as pipelineTables, startRelay } from "@tributary/pipeline";
import { type BareEvent, openBarePublisher, startPrivateNats } from "@tributary/pipeline/testing";
import type { Signal } from "@tributary/sdk";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { commit } from "../src/commit.ts";
import { migrations, type Runtime } from "../src/index.ts";
import { BARE, batchesOf, connected } from "./commit-path.ts";

/**
 * From signals to the broker's acknowledgement, for as long as asked: two writers commit 500 new signals at a time, and
 * the relay publishes; PostgreSQL, the broker and the process share the machine. Counted is what was acknowledged when the
 * last one was, over the whole time. The ceiling sends the same rows in one statement with bytes made beforehand and
 * publishes each batch while the next is written: no stamp, no encoding, no role, no fence, no leadership, no ranges.
 */
const SECONDS = 5;
const WRITERS = 2;
const BATCH = 500;
/** A writer waits while more than this is committed and not acknowledged. */
const AHEAD_MAX = 20_000;
const MIB = 1_048_576;

interface BenchContext {
  readonly warmUp: boolean;
  readonly seconds?: number;
  log(line: string): void;
}

export default {
  name: "pipeline/sustained",
  unit: "events/s",
  goal: { of: "ratio", atLeast: 0.5 },
  repeats: 3,
  run: async ({ warmUp, seconds = SECONDS, log }: BenchContext) => {
    const length = warmUp ? 1 : seconds;
    const ours = await withServers((database, nats) => relayed(database, nats, length, warmUp ? () => {} : log));
    const ceiling = await withServers((database, nats, url) => bare(database, nats, url, length));
    return { ours, ceiling };
  },
};

async function withServers(work: (database: Database, nats: string, url: string) => Promise<number>): Promise<number> {
  const [server, nats] = await Promise.all([startPrivatePostgres(), startPrivateNats()]);
  const database = openPostgres({ url: server.url });
  try {
    await migrate(database, [pipelineTables, migrations]);
    await ensurePartitions(database, new Date());
    return await work(database, nats.url, server.url);
  } finally {
    await database.close();
    await Promise.all([server.stop(), nats.stop()]);
  }
}

async function relayed(database: Database, nats: string, seconds: number, log: BenchContext["log"]): Promise<number> {
  const handOff = await createHandOff({ database, process: randomUUID() });
  const relay = startRelay({ database, handOff, servers: nats });
  const runtime = { database, append, committed: handOff.committed } as unknown as Runtime;
  const batches = batchesOf(1);
  let [committed, rss] = [0, 0];
  try {
    while (relay.status().state !== "leading") await sleep(1);
    const start = performance.now();
    const writer = async (mine: number): Promise<void> => {
      const lease = await connected(database);
      for (let turn = mine; performance.now() - start < seconds * 1_000; turn += WRITERS) {
        while (committed - relay.status().published > AHEAD_MAX) await sleep(1);
        const signals = renamed(batches[turn % batches.length] ?? [], turn);
        const { events } = await commit(runtime, {
          lease,
          signals,
          cursor: { turn },
          backfill: false,
          traceparent: "",
        });
        committed += events;
        rss = Math.max(rss, process.memoryUsage.rss());
      }
    };
    await Promise.all(Array.from({ length: WRITERS }, (_, mine) => writer(mine)));
    while (relay.status().published < committed) await sleep(1);
    const rate = (committed / (performance.now() - start)) * 1_000;
    log(`${committed} events; the process ${(rss / MIB).toFixed(0)} MiB at most; ${await sizes(database, committed)}`);
    return rate;
  } finally {
    await relay.stop();
    await handOff.stop();
  }
}

/** Of other objects: the messages stay, as their bytes do not matter to what is new. */
const renamed = (signals: readonly Signal[], turn: number): Signal[] =>
  signals.map((signal, index) => ({ ...signal, id: `${turn.toString(36)}-${index}` }));

const SIZES = `
SELECT (SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'pipeline.event'::regclass)::float8 AS ledger,
  pg_total_relation_size('pipeline.position')::float8 AS positions, pg_total_relation_size('pipeline.ack_range')::float8 AS ranges,
  (SELECT count(*) FROM pipeline.ack_range)::int AS windows`;

/** The ledger leaves by partition; what must not grow with it are the positions and the acknowledged windows. */
async function sizes(database: Database, events: number): Promise<string> {
  type Sizes = Record<"ledger" | "positions" | "ranges" | "windows", number>;
  const [row] = await asOwner(database, (tx) => run<Sizes>(tx, SIZES));
  if (row === undefined) return "";
  const kib = (bytes: number): string => `${(bytes / 1_024).toFixed(0)} KiB`;
  return `ledger ${(row.ledger / events).toFixed(0)} bytes an event, positions ${kib(row.positions)}, ${row.windows} windows ${kib(row.ranges)}`;
}

async function bare(database: Database, nats: string, url: string, seconds: number): Promise<number> {
  const owner = openPostgres({ url });
  const publisher = await openBarePublisher(nats);
  await publisher.reset();
  let published = 0;
  let queue: Promise<void> = Promise.resolve();
  try {
    const start = performance.now();
    const writer = async (mine: number): Promise<void> => {
      const { connectionId } = await connected(database);
      const made = prepared();
      let under: Promise<void> = Promise.resolve();
      let sequence = 1n;
      for (let turn = mine; performance.now() - start < seconds * 1_000; turn += WRITERS) {
        const { params, events } = made(turn, sequence);
        await run(owner.query, BARE, [connectionId, ...params]);
        sequence += BigInt(events.length);
        await under;
        under = queue = queue.then(() =>
          publisher.publish({ organizationId: "acme", connectionId, connector: "todoist" }, events),
        );
        published += events.length;
      }
      await under;
    };
    await Promise.all(Array.from({ length: WRITERS }, (_, mine) => writer(mine)));
    await queue;
    return (published / (performance.now() - start)) * 1_000;
  } finally {
    await publisher.close();
    await owner.close();
  }
}

/** Keys, marks and ids of one batch, of which each turn overwrites the beginnings: everything else is there already. */
function prepared(): (
  turn: number,
  first: bigint,
) => { readonly params: readonly unknown[]; readonly events: BareEvent[] } {
  const [signals = []] = batchesOf(1);
  const payloads = signals.map(({ message }) => toBinary(TaskChangedSchema, message as never));
  const blob = Buffer.concat(payloads);
  const bytes = payloads[0]?.length ?? 0;
  const noise = Buffer.from(Array.from({ length: BATCH * 16 }, (_, index) => (index * 37) % 251));
  const { typeName: type } = TaskChangedSchema;
  return (turn, first) => {
    const prefix = turn.toString(36).padStart(6, "0");
    const keys = Buffer.from(noise);
    for (let index = 0; index < BATCH; index++) {
      keys.writeUInt32BE(turn, index * 16);
      keys.writeUInt32BE(index, index * 16 + 4);
    }
    const events = payloads.map((payload, index) => ({
      id: `${prefix}${String(index).padStart(16, "0")}`,
      type,
      subject: "evt.v1.acme.todoist.task.changed",
      objectKey: `task/${prefix}${String(index).padStart(10, "0")}`,
      timeMs: 1_763_683_200_000,
      sequence: first + BigInt(index),
      payload,
    }));
    const ids = Buffer.from(events.map(({ id }) => id).join(""));
    const objectKeys = Buffer.from(events.map(({ objectKey }) => objectKey).join(""));
    const cursor = JSON.stringify({ turn });
    return { params: [cursor, keys, keys, BATCH, type, ids, objectKeys, blob, bytes], events };
  };
}
