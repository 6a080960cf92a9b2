import { type Database, withOrganization } from "@tributary/db";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { append } from "../append.ts";
import { type Consumers, createConsumers } from "../consumers.ts";
import { createHandOff, type HandOff } from "../hand-off.ts";
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
  /** Subscribes, and settles each event as its fate is. */
  read(options?: ReadOptions): Reader;
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
}

export type Fate = "handled" | "dead_letter" | "none";

export interface Reader {
  readonly got: StreamedEvent[];
  /** What came, as soon as that many did or the time is over; by default 40 s. */
  until(count: number, ms?: number): Promise<StreamedEvent[]>;
  settle(event: StreamedEvent, outcome?: "handled" | "dead_letter"): Promise<void>;
  /** Resolves when the fate of all that came is durable. */
  settled(): Promise<void>;
  /** Once the fate of all that came is durable. */
  close(): Promise<void>;
}

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
    read: ({ window = 256, types = [], consumer = "billing", fate = (): Fate => "handled" } = {}) => {
      const on = stream;
      const abort = new AbortController();
      const got: StreamedEvent[] = [];
      const settling: Promise<void>[] = [];
      const settle = (event: StreamedEvent, outcome: "handled" | "dead_letter" = "handled"): Promise<void> =>
        on.settle({ ...event, consumer, outcome, reason: "why" });
      const settled = async (): Promise<void> => void (await Promise.all(settling));
      const reading = (async () => {
        for await (const event of on.subscribe({ organizationId, consumer, types, window, signal: abort.signal })) {
          got.push(event);
          const outcome = fate(event);
          if (outcome !== "none") settling.push(settle(event, outcome));
        }
      })();
      return {
        got,
        settle,
        settled,
        until: async (count, ms = 40_000) => {
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
