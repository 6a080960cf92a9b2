import {
  AckPolicy,
  type ConsumerConfig,
  DeliverPolicy,
  JetStreamApiError,
  type JetStreamManager,
} from "@nats-io/jetstream";
import { EVENT_STREAM, REPLAY_STREAM, replaySubjectFilter } from "@tributary/contracts";
import { type SourceOptions, SubscriberError } from "./source.ts";

const CONSUMER_NOT_FOUND = 10014;
const STREAM_NOT_FOUND = 10059;

/**
 * The durable consumer of the live events. nats-server before 2.10 knows one filter a consumer, which must lie within
 * one subject of the stream, and a consumer for each type would lose the order across types: so it hears every event
 * of the organisation, and with handlers for both events and system events, everything.
 */
export function ensureEventConsumer(jsm: JetStreamManager, options: SourceOptions, durable: string): Promise<void> {
  const { organization = "*", types } = options;
  const roots = new Set(types.map((type) => (type.startsWith("tributary.system.") ? "sys" : "evt")));
  const [root] = roots;
  return ensure(jsm, EVENT_STREAM, durable, options, {
    deliver_policy: DeliverPolicy.All,
    ...(roots.size === 1 ? { filter_subject: `${root}.v1.${organization}.>` } : {}),
  });
}

/** The durable consumer of replays and redriven dead letters, from the moment it is made: old replays are not for it. */
export const ensureReplayConsumer = (jsm: JetStreamManager, options: SourceOptions, durable: string): Promise<void> =>
  ensure(jsm, REPLAY_STREAM, durable, options, {
    deliver_policy: DeliverPolicy.New,
    filter_subject: replaySubjectFilter(options.organization),
  });

/**
 * Makes the consumer when it is missing; one that exists is left as it is.
 * @throws SubscriberError when the existing one is of another kind, or the stream is missing.
 */
async function ensure(
  jsm: JetStreamManager,
  stream: string,
  durable: string,
  { window, ackWaitMs }: SourceOptions,
  kind: Pick<ConsumerConfig, "deliver_policy"> & { readonly filter_subject?: string },
): Promise<void> {
  const wanted = {
    durable_name: durable,
    ack_policy: AckPolicy.Explicit,
    ...kind,
    ack_wait: ackWaitMs * 1_000_000,
    max_ack_pending: window,
    max_deliver: -1,
  };
  try {
    const { config } = await jsm.consumers.info(stream, durable).catch((error: unknown) => {
      if (error instanceof JetStreamApiError && error.code === CONSUMER_NOT_FOUND)
        return jsm.consumers.add(stream, wanted);
      throw error;
    });
    const asked: Partial<typeof config> = wanted;
    for (const key of ["filter_subject", "ack_policy", "deliver_policy"] as const)
      if (config[key] !== asked[key])
        throw new SubscriberError(
          "consumer_differs",
          `the consumer ${durable} exists with another ${key}: delete it, or take another name`,
        );
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === STREAM_NOT_FOUND)
      throw new SubscriberError("stream_missing", `the broker has no stream ${stream}: is the relay running?`);
    throw error;
  }
}
