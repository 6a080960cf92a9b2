import { jetstream, jetstreamManager, type JetStreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { EVENT_STREAM, parseEventHeaders } from "@tributary/contracts";
import { type Database, migrate, openPostgres, run, withOrganization } from "@tributary/db";
import { asOwner, type PrivatePostgres } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { append } from "../append.ts";
import { createHandOff, type HandOff } from "../hand-off.ts";
import { migrations } from "../migrations.ts";
import { ensurePartitions } from "../partitions.ts";
import { type Relay, type RelayOptions, startRelay } from "../relay.ts";
import { type PrivateNats, type PrivateNatsOptions, startPrivateNats } from "./private-nats.ts";
import { sampleBatch } from "./sample-batch.ts";

/** A database and a broker of our own, with what a test of the relay does again and again. */
export interface RelayStage {
  readonly database: Database;
  readonly url: string;
  readonly nats: PrivateNats;
  readonly handOff: HandOff;
  /** Stopped with the stage. */
  relay(options?: Partial<RelayOptions>): Relay;
  stopRelays(): Promise<void>;
  /** Commits events of a connection; tells the relay of it unless `announce` is false. */
  write(connectionId: string, count: number, options?: WriteOptions): Promise<void>;
  /** Resolves when no connection has anything left to publish. */
  drained(seconds?: number): Promise<void>;
  /** Sequences in the stream, in its order, by connection. */
  streamed(): Promise<ReadonlyMap<string, readonly number[]>>;
  onBroker<T>(work: (jsm: JetStreamManager) => Promise<T>): Promise<T>;
  stop(): Promise<void>;
}

export interface WriteOptions {
  readonly announce?: boolean;
  readonly bytes?: number;
  readonly organizationId?: string;
  readonly types?: readonly string[];
  readonly connector?: string;
}

export async function createRelayStage(
  postgres: PrivatePostgres,
  options: PrivateNatsOptions = {},
): Promise<RelayStage> {
  const url = await postgres.createDatabase();
  const database = openPostgres({ url });
  await migrate(database, [migrations]);
  await ensurePartitions(database, new Date());
  const nats = await startPrivateNats(options);
  const handOff = await createHandOff({ database, process: randomUUID() });
  const relays: Relay[] = [];
  const stopRelays = async (): Promise<void> => {
    await Promise.all(relays.splice(0).map((one) => one.stop()));
  };
  const onBroker = async <T>(work: (jsm: JetStreamManager) => Promise<T>): Promise<T> => {
    const nc = await connect({ servers: nats.url });
    try {
      return await work(await jetstreamManager(nc));
    } finally {
      await nc.close();
    }
  };
  return {
    database,
    url,
    nats,
    handOff,
    onBroker,
    stopRelays,
    relay: (more = {}) => {
      const started = startRelay({ database, handOff, servers: nats.url, ...more });
      relays.push(started);
      return started;
    },
    write: async (connectionId, count, { announce = true, connector = "todoist", ...sample } = {}) => {
      const made = sampleBatch(connectionId, count, sample);
      const events = made.events.map((event) => ({ ...event, subject: event.subject.replace("todoist", connector) }));
      const batch = { ...made, connector, events };
      const first = await withOrganization(database, batch.organizationId, (tx) => append(tx, batch));
      if (announce) handOff.committed(batch, first);
    },
    drained: (seconds) => until("everything is published", async () => (await unpublished(database)) === 0, seconds),
    streamed: () => streamed(nats.url),
    stop: async () => {
      await stopRelays();
      await handOff.stop();
      await nats.stop();
      await database.close();
    },
  };
}

/** Looks every 20 ms. */
export async function until(what: string, condition: () => boolean | Promise<boolean>, seconds = 60): Promise<void> {
  const end = performance.now() + seconds * 1_000;
  while (performance.now() < end) {
    if (await condition()) return;
    await sleep(20);
  }
  throw new Error(`not within ${seconds} s: ${what}`);
}

/** Milliseconds until the lead is free although its holder says nothing, by the database's clock; less than 0: it is. */
export async function leadLeftMs(database: Database): Promise<number> {
  const text = "SELECT date_part('epoch', max(until) - clock_timestamp()) * 1000 AS ms FROM pipeline.relay_leader";
  return (await asOwner(database, (tx) => run<{ ms: number }>(tx, text)))[0]?.ms ?? 0;
}

/** Whether a process holds the lead. */
export async function leads(database: Database, holder: string): Promise<boolean> {
  const text = "SELECT 1 FROM pipeline.relay_leader WHERE holder = $1 AND until >= clock_timestamp()";
  return (await asOwner(database, (tx) => run(tx, text, [holder]))).length > 0;
}

/** 1 to `count`. */
export const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);

/** How many connections have something to publish. */
export async function unpublished(database: Database): Promise<number> {
  const text = "SELECT 1 FROM pipeline.position WHERE head > published AND parked_sequence IS NULL";
  return (await asOwner(database, (tx) => run(tx, text))).length;
}

async function streamed(url: string): Promise<Map<string, number[]>> {
  const nc = await connect({ servers: url });
  try {
    const byConnection = new Map<string, number[]>();
    const { state } = await (await jetstreamManager(nc)).streams.info(EVENT_STREAM);
    if (state.messages === 0) return byConnection;
    const consumer = await jetstream(nc).consumers.get(EVENT_STREAM, { headers_only: true });
    for await (const message of await consumer.consume()) {
      const { connectionId, sequence } = parseEventHeaders((name) => message.headers?.get(name));
      const sequences = byConnection.get(connectionId);
      if (sequences === undefined) byConnection.set(connectionId, [Number(sequence)]);
      else sequences.push(Number(sequence));
      if (message.info.pending === 0) break;
    }
    return byConnection;
  } finally {
    await nc.close();
  }
}
