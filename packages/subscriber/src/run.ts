import { fromBinary } from "@bufbuild/protobuf";
import { setTimeout as sleep } from "node:timers/promises";
import { inboxKey } from "./inbox.ts";
import { createLanes, type Place } from "./lanes.ts";
import { Drop, Retry, type Settlement, shown } from "./outcome.ts";
import { createSeen } from "./seen.ts";
import type { Delivery, Gone, Source, SubscriberLog } from "./source.ts";
import { traced } from "./traced.ts";
import type { Handlers, SubscribeOptions, Subscription, SubscriptionStats } from "./subscribe.ts";

export type Running = Subscription;

export interface RunOptions<Tx> extends Omit<SubscribeOptions<Tx>, "log"> {
  readonly handlers: Handlers<Tx>;
  readonly source: Source;
  readonly log: SubscriberLog;
  readonly backoff: (attempt: number) => number;
}

/** Drives a source's deliveries through the lanes to the handlers. */
export async function start<Tx>(options: RunOptions<Tx>): Promise<Running> {
  const { source, handlers, log, concurrency = 16 } = options;
  /** No more deliveries, no more retries. */
  const stopping = new AbortController();
  /** Running handlers shall end. */
  const ending = new AbortController();
  const stats = { handled: 0, retried: 0, deadLetters: 0, passedOver: 0, repeated: 0, holding: 0, gone: 0 };
  const seen = createSeen();
  const lanes = createLanes<Delivery>(concurrency, work);

  async function work(delivery: Delivery, place: Place): Promise<void> {
    const { connectionId, sequence, id, type } = delivery.attributes;
    const lane = laneOf(delivery);
    const settlement = await handle(delivery, place);
    if (settlement.outcome === "handled") stats.handled++;
    if (settlement.outcome === "dead_letter") {
      stats.deadLetters++;
      log.warn({ id, type, connectionId, attempts: settlement.attempts }, "dead letter");
    }
    if (settlement.outcome === "released") seen.released(lane, sequence);
    const settling = settle(delivery, settlement);
    if (settling !== undefined) await settling;
    if (settlement.outcome !== "released") seen.settled(lane, sequence);
  }

  /** What cannot be settled comes again, and is settled then: `seen` knows. */
  function settle(delivery: Delivery, settlement: Settlement): Promise<void> | undefined {
    const failed = (error: unknown): void =>
      log.warn({ id: delivery.attributes.id, error: nameOf(error) }, "not settled");
    try {
      return delivery.settle(settlement, ending.signal)?.catch(failed);
    } catch (error) {
      failed(error);
      return undefined;
    }
  }

  /** Calls the handler until it returns, gives up, or the subscriber stops. Never throws. */
  async function handle(delivery: Delivery, place: Place): Promise<Settlement> {
    const { attemptsMax = 10, afterLastAttempt = "continue", backoff } = options;
    let holding = false;
    try {
      for (let calls = 1; ; calls++) {
        const attempt = delivery.attempt + calls - 1;
        const settlement = await attempted(delivery, attempt);
        if (!(settlement instanceof Failure)) return settlement;
        // It may have failed because it was told to end.
        if (stopping.signal.aborted) return { outcome: "released" };
        const last = calls >= attemptsMax;
        if (last && afterLastAttempt === "continue")
          return dead(`attempts exhausted: ${nameOf(settlement.cause)}`, attempt);
        if (last && !holding) {
          holding = true;
          stats.holding++;
        }
        stats.retried++;
        const { id, type, connectionId } = delivery.attributes;
        const error = nameOf(settlement.cause);
        log.warn({ id, type, connectionId, attempt, error }, "the handler failed; it is called again");
        const pauseMs = settlement.afterMs ?? backoff(calls);
        await place.yieldFor(sleep(pauseMs, undefined, { signal: stopping.signal }).catch(() => {}));
      }
    } finally {
      if (holding) stats.holding--;
    }
  }

  async function attempted(delivery: Delivery, attempt: number): Promise<Settlement | Failure> {
    const { attributes, data } = delivery;
    const entry = handlers.get(attributes.type);
    if (stopping.signal.aborted || entry === undefined) return { outcome: "released" };
    try {
      const message = decode(() => fromBinary(entry.schema, data));
      const effect = async (tx: Tx): Promise<void> => {
        const time = new Date(attributes.time);
        await entry.handler(message, { ...attributes, time, attempt, signal: ending.signal, tx });
      };
      await traced(attributes, options.name, () =>
        options.inbox === undefined ? effect(undefined as Tx) : options.inbox.once(inboxKey(attributes), effect),
      );
      return { outcome: "handled" };
    } catch (error) {
      if (error instanceof Drop) return dead(error.reason, attempt);
      if (error instanceof Undecodable) return dead("undecodable", attempt);
      return new Failure(error, error instanceof Retry ? error.afterMs : undefined);
    }
  }

  function take(delivery: Delivery): void {
    const { type, sequence } = delivery.attributes;
    const lane = laneOf(delivery);
    if (!handlers.has(type)) {
      stats.passedOver++;
      void settle(delivery, { outcome: "handled" });
      return;
    }
    const taken = seen.take(lane, sequence);
    if (taken === "new") lanes.push(lane, delivery);
    if (taken === "pending") void settle(delivery, { outcome: "pending" });
    if (taken !== "settled") return;
    stats.repeated++;
    void settle(delivery, { outcome: "handled" });
  }

  function gone({ connectionId, count, upTo }: Gone): void {
    stats.gone += count;
    log.warn(
      { code: "events_gone", connectionId, count, upTo: Number(upTo) },
      "events were no longer retained when this subscriber came to them: it will not get them",
    );
  }

  const deadlines: NodeJS.Timeout[] = [];
  /** What does not end when it is told to is waited for no longer than this. */
  const left = Promise.withResolvers<void>();
  const endWithin = (ms: number): void => {
    deadlines.push(
      setTimeout(() => ending.abort(), ms),
      setTimeout(left.resolve, ms + LEFT_MS),
    );
  };

  const { signal, drainOn = [] } = options;
  await opened(source, signal);
  const done = (async () => {
    try {
      await source.run(stopping.signal, { take, gone });
    } finally {
      stopping.abort();
      if (deadlines.length === 0) endWithin(DRAIN_MS);
      for (const delivery of lanes.clear()) await settle(delivery, { outcome: "released" });
      await Promise.race([lanes.idle(), left.promise]);
      const { running } = lanes;
      if (running > 0) log.warn({ running }, "handlers that do not end are left behind; their events come again");
      ending.abort();
      for (const timer of deadlines) clearTimeout(timer);
      await source.close();
    }
  })();

  async function stop(withinMs = DRAIN_MS): Promise<void> {
    stopping.abort();
    unlisten();
    endWithin(Math.min(withinMs, WITHIN_MS_MAX));
    await done.catch(ignore);
  }
  const drain = (): void => void stop();
  const unlisten = (): void => {
    for (const name of drainOn) process.off(name, drain);
    signal?.removeEventListener("abort", drain);
  };
  for (const name of drainOn) process.once(name, drain);
  signal?.addEventListener("abort", drain, { once: true });
  if (signal?.aborted === true) void stop();
  // Whoever does not await `done` would not hear of it at all.
  done.catch((error: unknown) => log.warn({ error: nameOf(error) }, "the subscription cannot go on")).finally(unlisten);
  return { done, stop, stats: (): SubscriptionStats => ({ ...stats }) };
}

const DRAIN_MS = 10_000;
const LEFT_MS = 2_000;
/** What a timer can wait for, less the rest. */
const WITHIN_MS_MAX = 2 ** 31 - 1 - LEFT_MS;

/** @throws the signal's reason when it aborts before events can come. */
async function opened(source: Source, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  const opening = source.open();
  if (signal === undefined) return opening;
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    await Promise.race([opening, aborted.promise]);
  } catch (error) {
    if (signal.aborted) opening.then(() => source.close()).catch(ignore);
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/**
 * What is delivered again holds no live event up: a replay has a lane of its own and keeps its order; a redriven dead
 * letter, which comes when somebody chose, has one each.
 */
const laneOf = ({ attributes: { connectionId, sequence, replayId = "", redrive = 0 } }: Delivery): string => {
  if (redrive > 0) return `${connectionId} ${replayId} ${sequence} ${redrive}`;
  return replayId === "" ? connectionId : `${connectionId} ${replayId}`;
};

/** The handler failed, and may be called again. */
class Failure {
  readonly cause: unknown;
  readonly afterMs: number | undefined;
  constructor(cause: unknown, afterMs: number | undefined) {
    this.cause = cause;
    this.afterMs = afterMs;
  }
}

const ignore = (): void => {};

const dead = (reason: string, attempts: number): Settlement => ({
  outcome: "dead_letter",
  reason: shown(reason),
  attempts,
});

class Undecodable extends Error {}

function decode<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new Undecodable("the payload is not a message of its type", { cause });
  }
}

/** Names and codes only: what a handler puts into a message may be about a person. */
function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return "not an error";
  const { code } = error as { code?: unknown };
  return typeof code === "string" ? `${error.name} ${code}` : error.name;
}
