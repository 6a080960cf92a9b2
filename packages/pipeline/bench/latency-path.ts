import { jetstreamManager } from "@nats-io/jetstream";
import { connect, headers } from "@nats-io/transport-node";
import { EVENT_STREAM, eventHeaders } from "@tributary/contracts";
import { type Database, migrate, openPostgres, run, withOrganization } from "@tributary/db";
import { startPrivatePostgres } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import {
  append,
  createEventStream,
  createHandOff,
  ensurePartitions,
  type EventBatch,
  type HandOff,
  migrations,
  startRelay,
} from "../src/index.ts";
import { sampleBatch, startPrivateNats } from "../src/testing/index.ts";

/**
 * From before the transaction of one event to the end of its road, with a pause before each, so that nothing is warm from
 * the one before. The transaction is part of both sides: the ceiling is one plain INSERT into the ledger, and then a call
 * of the handler, or one request to the broker. Both sides take turns. Of 200 samples, the 99th percentile is the third
 * largest: it says how bad a pause can be, and little more.
 */
export type Quantile = 0.5 | 0.99;

const SAMPLES = 200;
const PAUSE_MS = 4;
const BYTES = 300;

interface Samples {
  readonly ours: number[];
  readonly ceiling: number[];
}

/** Commit → handler of a stream in the same process. */
export async function measureHandler(quantile: Quantile): Promise<{ ours: number; ceiling: number }> {
  return withDatabase(quantile, async (database, owner, samples) => {
    const handOff = await createHandOff({ database, process: randomUUID() });
    const stream = await createEventStream({ database, handOff });
    const ended = new AbortController();
    const arrived = createGate();
    const key = { organizationId: "acme", consumer: "bench" };
    const reading = (async () => {
      for await (const event of stream.subscribe({ ...key, types: [], window: 100, signal: ended.signal })) {
        arrived.open(event.id);
        await stream.settle({ ...key, connectionId: event.connectionId, sequence: event.sequence, outcome: "handled" });
      }
    })();
    try {
      const ours = (batch: EventBatch) => arrived.through(batch, () => commit(database, handOff, batch));
      await takeTurns(samples, ours, async (batch) => {
        await insert(owner, batch);
      });
    } finally {
      ended.abort();
      await reading;
      await stream.stop();
      await handOff.stop();
    }
  });
}

/** Commit → the broker's acknowledgement, by way of the relay. */
export async function measurePubAck(quantile: Quantile): Promise<{ ours: number; ceiling: number }> {
  const nats = await startPrivateNats();
  const nc = await connect({ servers: nats.url });
  try {
    return await withDatabase(quantile, async (database, owner, samples) => {
      const handOff = await createHandOff({ database, process: randomUUID() });
      const acknowledged = createGate();
      const beforeRecord = async (): Promise<void> => acknowledged.openAll();
      const relay = startRelay({ database, handOff, servers: nats.url, beforeRecord });
      const jsm = await jetstreamManager(nc);
      await jsm.streams.add({ name: "BARE", subjects: ["bare.>"] });
      try {
        for (let turn = 0; relay.status().state !== "leading" && turn < 5_000; turn++) await sleep(1);
        await jsm.streams.info(EVENT_STREAM);
        const ours = (batch: EventBatch) => acknowledged.through(batch, () => commit(database, handOff, batch));
        await takeTurns(samples, ours, async (batch) => {
          await insert(owner, batch);
          const [event] = batch.events;
          if (event === undefined) return;
          const head = headers();
          const attributes = { ...batch, ...event, sequence: 1n, time: new Date(event.timeMs).toISOString() };
          for (const [name, value] of eventHeaders(attributes)) head.set(name, value);
          head.set("Nats-Msg-Id", event.id);
          await nc.request(`bare.${event.subject}`, event.payload, { headers: head, timeout: 5_000 });
        });
      } finally {
        await relay.stop();
        await handOff.stop();
      }
    });
  } finally {
    await nc.close();
    await nats.stop();
  }
}

async function withDatabase(
  quantile: Quantile,
  work: (database: Database, owner: Database, samples: Samples) => Promise<void>,
): Promise<{ ours: number; ceiling: number }> {
  const server = await startPrivatePostgres();
  const database = openPostgres({ url: server.url });
  // For the ceiling: no role, no policy, and no transaction around its statement.
  const owner = openPostgres({ url: server.url });
  try {
    await migrate(database, [migrations]);
    await ensurePartitions(database, new Date());
    const samples: Samples = { ours: [], ceiling: [] };
    await work(database, owner, samples);
    const at = (sorted: number[]): number => sorted[Math.ceil(sorted.length * quantile) - 1] ?? Number.NaN;
    const [ours, ceiling] = [samples.ours, samples.ceiling].map((list) => at(list.toSorted((a, b) => a - b)));
    return { ours: ours ?? Number.NaN, ceiling: ceiling ?? Number.NaN };
  } finally {
    await database.close();
    await owner.close();
    await server.stop();
  }
}

type Road = (batch: EventBatch) => Promise<void>;

/** The first twenty of each are not counted: statements are prepared and code is compiled then. */
async function takeTurns(samples: Samples, ours: Road, bare: Road): Promise<void> {
  const connectionId = randomUUID();
  for (let turn = -20; turn < SAMPLES; turn++) {
    for (const [road, into, connection] of [
      [ours, samples.ours, connectionId],
      [bare, samples.ceiling, randomUUID()],
    ] as const) {
      const batch = sampleBatch(connection, 1, { bytes: BYTES });
      await sleep(PAUSE_MS);
      const start = performance.now();
      await road(batch);
      if (turn >= 0) into.push(performance.now() - start);
    }
  }
}

async function commit(database: Database, handOff: HandOff, batch: EventBatch): Promise<void> {
  const firstSequence = await withOrganization(database, batch.organizationId, (tx) => append(tx, batch));
  handOff.committed(batch, firstSequence);
}

const INSERT = `
INSERT INTO pipeline.event (day, connection_id, sequence, organization_id, connector, id, type, subject, object_key, time,
  backfill, traceparent, committed_at, payload)
VALUES ((now() AT TIME ZONE 'UTC')::date, $1, 1, $2, $3, $4, $5, $6, $7, to_timestamp($8::float8 / 1000), false, '',
  now(), $9)`;

async function insert(owner: Database, { connectionId, organizationId, connector, events }: EventBatch) {
  const [event] = events;
  if (event === undefined) return;
  const { id, type, subject, objectKey, timeMs, payload } = event;
  const params = [connectionId, organizationId, connector, id, type, subject, objectKey, timeMs, payload];
  await run(owner.query, INSERT, params);
}

/** Waits until the event of a batch has come through; gives up after 10 s. */
function createGate() {
  let waiting: { readonly id: string; readonly resolve: () => void } | undefined;
  return {
    open: (id: string): void => {
      if (waiting?.id === id) waiting.resolve();
    },
    openAll: (): void => waiting?.resolve(),
    through: async (batch: EventBatch, send: () => Promise<void>): Promise<void> => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      waiting = { id: batch.events[0]?.id ?? "", resolve };
      const late = setTimeout(() => reject(new Error("the event did not arrive within 10 s")), 10_000);
      try {
        await send();
        await promise;
      } finally {
        clearTimeout(late);
      }
    },
  };
}
