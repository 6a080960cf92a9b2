import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { DEAD_LETTER_STREAM, EVENT_STREAM, HEADER, REPLAY_STREAM, replaySubjectFilter } from "@tributary/contracts";
import { MESSAGE_NOT_FOUND, nothingWhen, STREAM_NOT_FOUND } from "./broker-answers.ts";
import { connectNats } from "./nats-connection.ts";
import type { RelayLog } from "./relay.ts";
import { streamMessages } from "./stream-messages.ts";

export interface EraseMessagesOptions {
  /** `nats://[user:password@]host:port`, one or several of one cluster. */
  readonly servers: string | readonly string[];
  readonly organizationId: string;
  /** Whose messages go; UUIDs. */
  readonly connectionIds: readonly string[];
  readonly log?: Pick<RelayLog, "info">;
}

/** Deletions that wait for their answer at a time. */
const DELETING_MAX = 64;
const AWAY_MS_MAX = 10_000;

/**
 * Finds the messages of connections in the streams of events, replays and dead letters, by their headers, and overwrites
 * them with random bytes before they are taken out: what the broker calls a secure delete. A purge would only unlink
 * them. Reads headers alone, so memory does not grow with the streams. Erase from the ledger first, or the relay may
 * publish behind it; what comes in while it works is looked at as well.
 * @returns how many messages were erased. Erasing again erases nothing.
 * @throws Error when the broker does not answer: then it has to be called again.
 */
export async function eraseMessages(options: EraseMessagesOptions): Promise<number> {
  const { organizationId, log } = options;
  const wanted = new Set(options.connectionIds);
  if (wanted.size === 0) return 0;
  const nc = await connectNats({ servers: options.servers, name: "tributary-erase" });
  try {
    let erased = 0;
    // nats-server before 2.10 knows one filter a consumer.
    for (const [stream, filter] of [
      [EVENT_STREAM, `evt.v1.${organizationId}.>`],
      [EVENT_STREAM, `sys.v1.${organizationId}.>`],
      [REPLAY_STREAM, replaySubjectFilter(organizationId)],
      [DEAD_LETTER_STREAM, `dlq.v1.*.${organizationId}`],
    ] as const) {
      const found = await eraseFrom(nc, stream, filter, wanted);
      erased += found;
      log?.info({ stream, filter, erased: found }, "messages were erased");
    }
    return erased;
  } finally {
    await nc.close();
  }
}

async function eraseFrom(
  nc: NatsConnection,
  stream: string,
  filter: string,
  wanted: ReadonlySet<string>,
): Promise<number> {
  const jsm = await jetstreamManager(nc, { checkAPI: false, timeout: AWAY_MS_MAX });
  let erased = 0;
  const deleting = new Set<Promise<void>>();
  if (!(await jsm.streams.info(stream).catch(nothingWhen(STREAM_NOT_FOUND)))) return 0;
  for await (const message of streamMessages(nc, jsm, { stream, filter })) {
    if (!wanted.has(message.headers?.get(HEADER.connection) ?? "")) continue;
    const one = erase(jsm, stream, message.seq)
      .then((done) => void (erased += done ? 1 : 0))
      .finally(() => deleting.delete(one));
    deleting.add(one);
    if (deleting.size >= DELETING_MAX) await Promise.race(deleting);
  }
  await Promise.all(deleting);
  return erased;
}

/** Somebody else may have erased it meanwhile. */
async function erase(jsm: JetStreamManager, stream: string, streamSequence: number): Promise<boolean> {
  const deleted = await jsm.streams
    .deleteMessage(stream, streamSequence, true)
    .catch(nothingWhen(...MESSAGE_NOT_FOUND));
  return deleted ?? false;
}
