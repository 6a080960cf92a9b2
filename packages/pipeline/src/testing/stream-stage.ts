import { type Database, run, withOrganization } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { append } from "../append.ts";
import { type Consumers, type ConsumerWish, createConsumers } from "../consumers.ts";
import { createHandOff, type HandOff } from "../hand-off.ts";
import { dropExpiredPartitions, ensurePartitions } from "../partitions.ts";
import { createEventStream, type EventStream, type StreamedEvent } from "../stream.ts";
import { sampleBatch } from "./sample-batch.ts";

/** One hub's stream of events for one organisation, with what a test of it does again and again. */
export interface StreamStage {
  readonly handOff: HandOff;
  /** Another one after a restart. */
  readonly stream: EventStream;
  readonly consumers: Consumers;
  /** Commits events of a connection, and tells the stream of them. */
  write(connectionId: string, count: number, types?: readonly string[]): Promise<void>;
  /** Lets the events of a connection up to a sequence have had their time: they go with their day. */
  expire(connectionId: string, upTo: number): Promise<void>;
  /** Subscribes, and settles each event as its fate is. */
  read(options?: ReadOptions): Reader;
  /** A consumer over HTTP to be made: of every type, from the oldest event on, which goes on behind dead letters. */
  wish(name: string): ConsumerWish;
  /** How far a consumer, "billing" unless another is named, has come in each connection. */
  position(consumer?: string): Promise<readonly { readonly settled: bigint }[]>;
  /** Ends the stream, as a hub's end does, and opens it anew. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface ReadOptions {
  readonly window?: number;
  readonly types?: string[];
  /** Default "billing". */
  readonly consumer?: string;
  /** Default: every event is handled. */
  readonly fate?: (event: StreamedEvent) => Fate;
  readonly tellGone?: boolean;
}

export type Fate = "handled" | "dead_letter" | "none";

export interface Reader {
  readonly got: StreamedEvent[];
  /** What came, as soon as that many did or the time is over; by default 90 s. */
  until(count: number, ms?: number): Promise<StreamedEvent[]>;
  settle(event: StreamedEvent, outcome?: "handled" | "dead_letter"): Promise<void>;
  /** Resolves when the fate of all that came is durable. */
  settled(): Promise<void>;
  /** Once the fate of all that came is durable. */
  close(): Promise<void>;
}

const POSITION = "SELECT settled FROM pipeline.consumer_position WHERE organization_id = $1 AND consumer = $2";

/** A stream whose look took long, as on a busy machine, looks again after a minute at most. */
const ARRIVES_MS_MAX = 90_000;

/** Longer than events are kept. */
const EXPIRED_MS = 40 * 86_400_000;

export async function openStreamStage(database: Database, organizationId: string): Promise<StreamStage> {
  const handOff = await createHandOff({ database, process: randomUUID() });
  let stream = await createEventStream({ database, handOff });
  return {
    handOff,
    get stream() {
      return stream;
    },
    consumers: createConsumers({ database, outstanding: (...who) => stream.outstanding(...who) }),
    write: async (connectionId, count, types = ["a.v1.Wanted"]) => {
      const batch = sampleBatch(connectionId, count, { organizationId, types });
      const first = await withOrganization(database, organizationId, (tx) => append(tx, batch));
      handOff.committed(batch, first);
    },
    expire: async (connectionId, upTo) => {
      const now = new Date();
      await ensurePartitions(database, now);
      await asOwner(database, async (tx) => {
        const params = [new Date(now.getTime() - EXPIRED_MS).toISOString().slice(0, 10), connectionId, upTo];
        await run(tx, "SELECT pipeline.make_partition($1::date)", params.slice(0, 1));
        await run(tx, "UPDATE pipeline.event SET day = $1 WHERE connection_id = $2 AND sequence <= $3", params);
        await run(tx, "UPDATE pipeline.position SET day = $1 WHERE connection_id = $2 AND head <= $3", params);
      });
      await dropExpiredPartitions(database, now);
    },
    read: ({ window = 256, types = [], consumer = "billing", fate = (): Fate => "handled", tellGone = false } = {}) => {
      const on = stream;
      const abort = new AbortController();
      const got: StreamedEvent[] = [];
      const fates: Promise<void>[] = [];
      const settle = (event: StreamedEvent, outcome: "handled" | "dead_letter" = "handled"): Promise<void> =>
        on.settle({ ...event, consumer, outcome, reason: "why", attempts: 7, said: event });
      const settled = async (): Promise<void> => void (await Promise.all(fates));
      const reading = (async () => {
        const wish = { organizationId, consumer, types, window, tellGone, signal: abort.signal };
        for await (const event of on.subscribe(wish)) {
          got.push(event);
          const outcome = fate(event);
          if (outcome === "none") continue;
          const settling = settle(event, outcome);
          fates.push(settling);
          settling.catch(() => {});
        }
      })();
      return {
        got,
        settle,
        settled,
        until: async (count, ms = ARRIVES_MS_MAX) => {
          const end = performance.now() + ms;
          while (got.length < count && performance.now() < end) await sleep(10);
          return got;
        },
        close: async () => {
          await settled();
          abort.abort();
          await reading;
        },
      };
    },
    wish: (name) => ({ organizationId, name, road: "http", types: [], afterDeadLetter: "continue", start: "oldest" }),
    position: (consumer = "billing") =>
      asOwner(database, (tx) => run<{ settled: bigint }>(tx, POSITION, [organizationId, consumer])),
    restart: async () => {
      await stream.stop();
      stream = await createEventStream({ database, handOff });
    },
    stop: async () => {
      await stream.stop();
      await handOff.stop();
    },
  };
}
