import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, headers } from "@nats-io/transport-node";
import {
  DEAD_LETTER_STREAM,
  DEAD_LETTER_SUBJECTS,
  EVENT_STREAM,
  EVENT_SUBJECTS,
  eventHeaders,
  parseEventHeaders,
} from "@tributary/contracts";
import { randomUUID } from "node:crypto";
import { nothingWhen, STREAM_NOT_FOUND } from "../broker-answers.ts";

/** A message of the event stream, as a plain client reads it. */
export interface StreamedMessage {
  readonly streamSequence: number;
  readonly connectionId: string;
  readonly sequence: number;
  /** `ce-id`. */
  readonly id: string;
  /** `Nats-Msg-Id`; undefined when the publisher sent none. */
  readonly messageId: string | undefined;
}

/** Does to the event stream what an operator or a disk might do, with a client of its own. */
export interface StreamSurgeon {
  /** Makes the stream with a window of message ids so short that a test outlives it, or changes the window of the one there is. */
  shortWindow(ms: number): Promise<void>;
  /** Has a dead letter that a hub took and died with come again after a second. */
  quickLetters(): Promise<void>;
  /** Publishes an event of a connection that nobody else knows, as a publisher would that is not the relay. */
  intrude(sequence: number): Promise<void>;
  /** Deletes the stream with everything in it. */
  remove(): Promise<void>;
  purge(): Promise<void>;
  /** Everything that the stream holds, in order; none when there is no stream. */
  messages(): Promise<StreamedMessage[]>;
}

const ANSWER_MS_MAX = 30_000;
/** As the hub calls it. */
const LETTER_CONSUMER = "tributary-dead-letters";

const INTRUDER = {
  type: "nobody.v1.Said",
  organizationId: "nobody",
  connectionId: randomUUID(),
  connector: "crash",
  objectKey: "task/1",
  backfill: false,
  traceparent: "",
};

/** Connects for each task anew, so that the server may be killed between them. */
export function openStreamSurgeon(url: string): StreamSurgeon {
  const on = async <T>(
    work: (jsm: Awaited<ReturnType<typeof jetstreamManager>>, nc: Awaited<ReturnType<typeof connect>>) => Promise<T>,
  ): Promise<T> => {
    const nc = await connect({ servers: url, timeout: ANSWER_MS_MAX });
    try {
      return await work(await jetstreamManager(nc, { checkAPI: false, timeout: ANSWER_MS_MAX }), nc);
    } finally {
      await nc.close();
    }
  };
  return {
    shortWindow: (ms) =>
      on(async (jsm) => {
        const window = { duplicate_window: ms * 1_000_000 };
        const there = await jsm.streams.update(EVENT_STREAM, window).catch(nothingWhen(STREAM_NOT_FOUND));
        if (there === undefined)
          await jsm.streams.add({ name: EVENT_STREAM, subjects: [...EVENT_SUBJECTS], ...window });
      }),
    quickLetters: () =>
      on(async (jsm) => {
        await jsm.streams.add({ name: DEAD_LETTER_STREAM, subjects: [...DEAD_LETTER_SUBJECTS] });
        await jsm.consumers.add(DEAD_LETTER_STREAM, {
          durable_name: LETTER_CONSUMER,
          ack_policy: AckPolicy.Explicit,
          deliver_policy: DeliverPolicy.All,
          ack_wait: 1_000_000_000,
        });
      }),
    intrude: (sequence) =>
      on(async (_jsm, nc) => {
        const head = headers();
        const event = { ...INTRUDER, id: randomUUID(), sequence: BigInt(sequence), time: new Date().toISOString() };
        for (const [name, value] of eventHeaders(event)) head.set(name, value);
        head.set("Nats-Msg-Id", event.id);
        await jetstream(nc).publish("evt.v1.nobody.crash.task.changed", new Uint8Array(), { headers: head });
      }),
    remove: () => on((jsm) => jsm.streams.delete(EVENT_STREAM).then(() => {}, nothingWhen(STREAM_NOT_FOUND))),
    purge: () => on((jsm) => jsm.streams.purge(EVENT_STREAM).then(() => {})),
    messages: () =>
      on(async (jsm, nc) => {
        const info = await jsm.streams.info(EVENT_STREAM).catch(nothingWhen(STREAM_NOT_FOUND));
        if (info === undefined || info.state.messages === 0) return [];
        const consumer = await jetstream(nc).consumers.get(EVENT_STREAM, { headers_only: true });
        const messages: StreamedMessage[] = [];
        for await (const message of await consumer.consume({ max_messages: 2_000 })) {
          const { connectionId, sequence, id } = parseEventHeaders((name) => message.headers?.get(name));
          const messageId = message.headers?.get("Nats-Msg-Id") ?? "";
          const place = { streamSequence: message.seq, connectionId, sequence: Number(sequence), id };
          messages.push({ ...place, messageId: messageId === "" ? undefined : messageId });
          if (message.info.pending === 0) break;
        }
        return messages;
      }),
  };
}
