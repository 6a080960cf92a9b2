import { jetstream, type JetStreamManager, type JsMsg } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { setImmediate } from "node:timers/promises";
import { BrokerTrouble, nothingWhen, STREAM_NOT_FOUND } from "./broker-answers.ts";

export interface StreamMessagesOptions {
  readonly stream: string;
  /** A subject, `*` and `>` allowed. Default: everything. nats-server before 2.10 knows one a consumer. */
  readonly filter?: string;
  /** Default: the first that the stream holds. */
  readonly from?: number;
  readonly signal?: AbortSignal;
}

/** Without a message for so long, the broker is asked whether there is one. */
const SILENT_MS_MAX = 5_000;
/** Headers on their way to us: enough that a broker across a network does not wait, and some 500 KiB. */
const AHEAD_MESSAGES = 1_000;

/**
 * Headers of the messages that a stream holds, in order and without their payloads, to its end as it is when that is
 * reached. Memory does not grow with the stream.
 * @throws BrokerTrouble `no_answer` when the broker stops answering, `stream_gone` when the stream goes away.
 */
export async function* streamMessages(
  nc: NatsConnection,
  jsm: JetStreamManager,
  options: StreamMessagesOptions,
): AsyncGenerator<JsMsg> {
  try {
    yield* readToTheEnd(nc, jsm, options);
  } catch (error) {
    // The client says it in a different way each time: its consumer is deleted, not to be found, or no longer answers.
    if (options.signal?.aborted === true) throw error;
    const info = jsm.streams.info(options.stream).catch(nothingWhen(STREAM_NOT_FOUND));
    if ((await info.catch(() => "no answer")) === undefined) throw new BrokerTrouble("stream_gone");
    throw error;
  }
}

async function* readToTheEnd(
  nc: NatsConnection,
  jsm: JetStreamManager,
  { stream, filter, from, signal }: StreamMessagesOptions,
): AsyncGenerator<JsMsg> {
  const consumer = await jetstream(nc).consumers.get(stream, {
    headers_only: true,
    ...(filter === undefined ? {} : { filter_subjects: filter }),
    ...(from === undefined ? {} : { opt_start_seq: from }),
  });
  if ((await consumer.info()).num_pending === 0) return;
  const messages = await consumer.consume({
    max_messages: AHEAD_MESSAGES,
    idle_heartbeat: 1_000,
    abort_on_missing_resource: true,
  });
  const stop = (): void => messages.stop();
  signal?.addEventListener("abort", stop);
  let taken = 0;
  let ended = false;
  // What was still to come may have been erased, and then no message says that it was the last.
  const look = async (): Promise<void> => {
    const before = taken;
    const { num_pending: pending } = await consumer.info();
    await setImmediate();
    if (taken !== before) return;
    ended = pending === 0;
    stop();
  };
  const waiting = (): NodeJS.Timeout => setTimeout(() => void look().catch(stop), SILENT_MS_MAX);
  let silent = waiting();
  try {
    for await (const message of messages) {
      taken++;
      clearTimeout(silent);
      yield message;
      if (message.info.pending === 0) return;
      silent = waiting();
    }
    signal?.throwIfAborted();
    if (!ended) throw new BrokerTrouble("no_answer");
  } finally {
    clearTimeout(silent);
    signal?.removeEventListener("abort", stop);
    await messages.close();
  }
}
