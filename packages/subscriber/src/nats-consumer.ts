import {
  AckPolicy,
  type ConsumerConfig,
  type ConsumerInfo,
  DeliverPolicy,
  JetStreamApiError,
  type JetStreamManager,
} from "@nats-io/jetstream";
import { EVENT_STREAM, REPLAY_STREAM, replaySubjectFilter } from "@tributary/contracts";
import { ACK_WAIT_MS, type SourceOptions, SubscriberError, WINDOW, WINDOW_MAX } from "./source.ts";

const CONSUMER_NOT_FOUND = 10014;
const STREAM_NOT_FOUND = 10059;
const NS_PER_MS = 1_000_000;

/** The consumer as it stands at the broker, which may be other than what was asked for. */
export interface Standing {
  /** When it was made: one that was made anew knows nothing of what the former had sent. */
  readonly created: string;
  readonly ackWaitMs: number;
  /** Messages that are sent and not settled at most. */
  readonly window: number;
}

/** Makes the durable consumer when it is missing, and says how it stands. */
export type EnsureConsumer = () => Promise<Standing>;

/**
 * The durable consumer of the live events. nats-server before 2.10 knows one filter a consumer, which must lie within
 * one subject of the stream, and a consumer for each type would lose the order across types: so it hears every event
 * of the organisation, and with handlers for both events and system events, everything.
 */
export function eventConsumer(jsm: JetStreamManager, options: SourceOptions, durable: string): EnsureConsumer {
  const { organization = "*", types } = options;
  const roots = new Set(types.map((type) => (type.startsWith("tributary.system.") ? "sys" : "evt")));
  const [root] = roots;
  return ensuring(jsm, EVENT_STREAM, durable, options, {
    deliver_policy: DeliverPolicy.All,
    ...(roots.size === 1 ? { filter_subject: `${root}.v1.${organization}.>` } : {}),
  });
}

/** The durable consumer of replays and redriven dead letters, from the moment it is made: old replays are not for it. */
export const replayConsumer = (jsm: JetStreamManager, options: SourceOptions, durable: string): EnsureConsumer =>
  ensuring(jsm, REPLAY_STREAM, durable, options, {
    deliver_policy: DeliverPolicy.New,
    filter_subject: replaySubjectFilter(options.organization),
  });

/**
 * One that exists is left as it is. In what it hears and keeps it must not differ; how long it waits, and for how many,
 * is obeyed, and told once when it was asked for otherwise.
 * @throws SubscriberError when the existing one is of another kind, or the stream is missing.
 */
function ensuring(
  jsm: JetStreamManager,
  stream: string,
  durable: string,
  { window, ackWaitMs, log }: SourceOptions,
  kind: Pick<ConsumerConfig, "deliver_policy"> & { readonly filter_subject?: string },
): EnsureConsumer {
  const wanted = {
    durable_name: durable,
    ack_policy: AckPolicy.Explicit,
    ...kind,
    ack_wait: (ackWaitMs ?? ACK_WAIT_MS) * NS_PER_MS,
    max_ack_pending: window ?? WINDOW,
    max_deliver: -1,
  };
  let told = false;
  return async () => {
    const { config, created } = await standing(jsm, stream, durable, wanted);
    assertSameKind(durable, config, wanted);
    const { ack_wait = 0, max_ack_pending = 0, backoff = [] } = config;
    // Pauses between deliveries, where somebody has set them, take the place of the one wait.
    const has = { ackWaitMs: Math.min(ack_wait, ...backoff) / NS_PER_MS, window: max_ack_pending };
    const differs =
      (window !== undefined && window !== has.window) || (ackWaitMs !== undefined && ackWaitMs !== has.ackWaitMs);
    if (differs && !told)
      log.warn(
        { consumer: durable, stream, asked: { ackWaitMs, window }, has },
        "the consumer keeps the ack wait and the window that it was made with: edit it at the broker, or ask for what it has",
      );
    told = true;
    return { created, ...has };
  };
}

async function standing(
  jsm: JetStreamManager,
  stream: string,
  durable: string,
  wanted: Partial<ConsumerConfig>,
): Promise<ConsumerInfo> {
  try {
    return await jsm.consumers.info(stream, durable).catch((error: unknown) => {
      if (error instanceof JetStreamApiError && error.code === CONSUMER_NOT_FOUND)
        return jsm.consumers.add(stream, wanted);
      throw error;
    });
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === STREAM_NOT_FOUND)
      throw new SubscriberError("stream_missing", `the broker has no stream ${stream}: is the relay running?`);
    throw error;
  }
}

/** What would lose events, or bring others than were asked for. Where it began was for whoever made it to say. */
function assertSameKind(durable: string, config: ConsumerConfig, wanted: Partial<ConsumerConfig>): void {
  const differences: string[] = (["filter_subject", "ack_policy", "max_deliver"] as const)
    .filter((key) => (config[key] ?? "") !== (wanted[key] ?? ""))
    .map((key) => `its ${key} is ${config[key] ?? "absent"} and has to be ${wanted[key] ?? "absent"}`);
  for (const key of ["filter_subjects", "deliver_subject", "headers_only"] as const)
    if (config[key] !== undefined && config[key] !== false) differences.push(`it has ${key}`);
  const { max_ack_pending: most = 0 } = config;
  if (!(most >= 1 && most <= WINDOW_MAX))
    differences.push(`its max_ack_pending is ${most} and has to be 1 to ${WINDOW_MAX}`);
  if (differences.length > 0)
    throw new SubscriberError(
      "consumer_differs",
      `the consumer ${durable} exists, and ${differences.join("; ")}: edit or delete it at the broker, or take another name`,
    );
}
