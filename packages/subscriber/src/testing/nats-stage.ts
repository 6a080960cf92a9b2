import { create, toBinary } from "@bufbuild/protobuf";
import { jetstream, jetstreamManager, type JetStreamManager } from "@nats-io/jetstream";
import { connect, headers, type NatsConnection } from "@nats-io/transport-node";
import {
  EVENT_STREAM,
  EVENT_SUBJECTS,
  eventHeaders,
  eventSubject,
  type TaskChangedSchema,
  TaskCompletedSchema,
} from "@tributary/contracts";
import { type PrivateNats, type PrivateNatsOptions, startPrivateNats } from "@tributary/pipeline/testing";
import { setTimeout as sleep } from "node:timers/promises";

/** A broker of our own with the stream of events, and what a test of its subscribers does again and again. */
export interface NatsStage {
  readonly nats: PrivateNats;
  readonly nc: NatsConnection;
  readonly jsm: JetStreamManager;
  /** Publishes the next events of a connection as the relay does, and waits out a broker that is away. */
  publish(
    connectionId: string,
    count: number,
    schema?: typeof TaskCompletedSchema | typeof TaskChangedSchema,
    /** Default "acme". */
    organizationId?: string,
  ): Promise<void>;
  /** Resolves when the consumer "billing" of every organisation has acknowledged everything. */
  settled(): Promise<void>;
  stop(): Promise<void>;
}

/** Looks every 20 ms, for 60 s at most. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 60_000; performance.now() < end; await sleep(20)) if (await condition()) return;
  throw new Error(`not within 60 s: ${what}`);
}

/** @param options of the server. @param hub as whom the stage signs in. */
export async function openNatsStage(
  options: PrivateNatsOptions = {},
  hub: { readonly user?: string; readonly pass?: string } = {},
): Promise<NatsStage> {
  const nats = await startPrivateNats(options);
  const nc = await connect({ ...hub, servers: nats.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 });
  const jsm = await jetstreamManager(nc);
  await jsm.streams.add({ name: EVENT_STREAM, subjects: [...EVENT_SUBJECTS] });
  const sequences = new Map<string, number>();
  return {
    nats,
    nc,
    jsm,
    publish: async (connectionId, count, schema = TaskCompletedSchema, organizationId = "acme") => {
      for (let made = 0; made < count; made++) {
        const sequence = (sequences.get(connectionId) ?? 0) + 1;
        sequences.set(connectionId, sequence);
        const id = `${connectionId}-${sequence}`;
        const attributes = {
          id,
          type: schema.typeName,
          organizationId,
          connectionId,
          connector: "todoist",
          objectKey: `task/${sequence}`,
          sequence: BigInt(sequence),
          time: "2026-11-21T04:00:00.000Z",
          backfill: false,
          traceparent: "",
        };
        const head = headers();
        for (const [name, value] of eventHeaders(attributes)) head.set(name, value);
        const data = toBinary(schema, create(schema, { task: { id: String(sequence), title: "Water" } }));
        const subject = eventSubject(schema, organizationId, "todoist");
        await until(`${id} is in the stream`, () =>
          jetstream(nc, { timeout: 500 })
            .publish(subject, data, { headers: head, msgID: id })
            .then(
              () => true,
              () => false,
            ),
        );
      }
    },
    settled: () =>
      until("everything is acknowledged", async () => {
        // What is asked while the broker is killed gets no answer.
        const info = await jsm.consumers.info(EVENT_STREAM, "_billing").catch(() => undefined);
        return info?.num_ack_pending === 0 && info.num_pending === 0;
      }),
    stop: async () => {
      await nc.close();
      await nats.stop();
    },
  };
}
