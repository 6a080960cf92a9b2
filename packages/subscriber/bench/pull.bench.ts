import { create, toBinary } from "@bufbuild/protobuf";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { EVENT_STREAM, TaskChangedSchema } from "@tributary/contracts";
import { applyStreams, openBarePublisher, startPrivateNats } from "@tributary/pipeline/testing";
import { randomUUID } from "node:crypto";
import { subscribe } from "../src/index.ts";

/**
 * What a subscriber takes in: pull, decode into a typed message, the handler in its connection's lane, acknowledge. The
 * events are in the stream before the clock runs. The ceiling pulls the same messages with as large a window and
 * acknowledges each, unread.
 */
const CONNECTIONS = 16;
const EVENTS_EACH = 2_000;
const EVENTS = CONNECTIONS * EVENTS_EACH;
const WINDOW = 1_000;

export default {
  name: "pipeline/subscriber",
  unit: "events/s",
  goal: { of: "ratio", atLeast: 0.5 },
  repeats: 3,
  run: async () => {
    const nats = await startPrivateNats();
    try {
      await applyStreams({ servers: nats.url, retentionDays: 1 });
      await fill(nats.url);
      const ours = await subscribed(nats.url);
      const ceiling = await pulled(nats.url);
      return { ours, ceiling };
    } finally {
      await nats.stop();
    }
  },
};

async function fill(url: string): Promise<void> {
  const publisher = await openBarePublisher(url);
  const task = {
    id: "6X7rM8997g000001",
    title: "Water the plants on the balcony",
    description: "Two litres. ".repeat(18),
  };
  const payload = toBinary(TaskChangedSchema, create(TaskChangedSchema, { task }));
  const connections = Array.from({ length: CONNECTIONS }, (): string => randomUUID());
  for (let made = 0; made < EVENTS_EACH; made += 500)
    for (const connectionId of connections)
      await publisher.publish(
        { organizationId: "acme", connectionId, connector: "todoist" },
        Array.from({ length: 500 }, (_, index) => ({
          id: randomUUID(),
          type: TaskChangedSchema.typeName,
          subject: "evt.v1.acme.todoist.task.changed",
          objectKey: "task/6X7rM8997g000001",
          timeMs: 1_763_683_200_000,
          sequence: BigInt(made + index + 1),
          payload,
        })),
      );
  await publisher.close();
}

async function subscribed(url: string): Promise<number> {
  let handled = 0;
  const done = Promise.withResolvers<void>();
  const start = performance.now();
  const subscription = await subscribe({ url, name: "bench", organization: "acme", window: WINDOW })
    .on(TaskChangedSchema, ({ task }) => {
      if (task !== undefined && ++handled === EVENTS) done.resolve();
    })
    .start();
  await done.promise;
  const rate = (EVENTS / (performance.now() - start)) * 1_000;
  await subscription.stop();
  return rate;
}

async function pulled(url: string): Promise<number> {
  const nc = await connect({ servers: url });
  try {
    const jsm = await jetstreamManager(nc);
    const start = performance.now();
    await jsm.consumers.add(EVENT_STREAM, {
      durable_name: "bare",
      ack_policy: "explicit",
      filter_subject: "evt.v1.acme.>",
      max_ack_pending: WINDOW,
    });
    const consumer = await jetstream(nc).consumers.get(EVENT_STREAM, "bare");
    let taken = 0;
    for await (const message of await consumer.consume({ max_messages: WINDOW })) {
      message.ack();
      if (++taken === EVENTS) break;
    }
    await nc.flush();
    return (EVENTS / (performance.now() - start)) * 1_000;
  } finally {
    await nc.close();
  }
}
