import { fromBinary } from "@bufbuild/protobuf";
import { setTimeout as sleep } from "node:timers/promises";
import { createLanes, type Place } from "./lanes.ts";
import { Drop, Retry, type Settlement } from "./outcome.ts";
import { createSeen } from "./seen.ts";
import type { Delivery, Source, SubscriberLog } from "./source.ts";
import type { EventContext, Handlers, SubscribeOptions, Subscription, SubscriptionStats } from "./subscribe.ts";

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
  const stats = { handled: 0, retried: 0, deadLetters: 0, passedOver: 0, repeated: 0 };
  const seen = createSeen();
  const lanes = createLanes<Delivery>(concurrency, work);

  async function work(delivery: Delivery, place: Place): Promise<void> {
    const { connectionId, sequence, id, type } = delivery.attributes;
    const settlement = await handle(delivery, place);
    if (settlement.outcome === "handled") stats.handled++;
    if (settlement.outcome === "dead_letter") {
      stats.deadLetters++;
      log.warn({ id, type, connectionId, attempts: settlement.attempts }, "dead letter");
    }
    if (settlement.outcome === "released") seen.released(connectionId, sequence);
    // What cannot be settled comes again, and is settled then: `seen` knows.
    await delivery.settle(settlement).catch((error: unknown) => log.warn({ id, error: nameOf(error) }, "not settled"));
    if (settlement.outcome !== "released") seen.settled(connectionId, sequence);
  }

  /** Calls the handler until it returns, gives up, or the subscriber stops. Never throws. */
  async function handle(delivery: Delivery, place: Place): Promise<Settlement> {
    const { attemptsMax = 10, backoff } = options;
    for (let { attempt } = delivery; ; attempt++) {
      if (stopping.signal.aborted) return { outcome: "released" };
      try {
        await call(delivery, attempt);
        return { outcome: "handled" };
      } catch (error) {
        if (error instanceof Drop) return dead(error.reason, attempt);
        if (error instanceof Undecodable) return dead("undecodable", attempt);
        if (attempt >= attemptsMax) return dead(`attempts exhausted: ${nameOf(error)}`, attempt);
        stats.retried++;
        const { id, type, connectionId } = delivery.attributes;
        log.warn({ id, type, connectionId, attempt, error: nameOf(error) }, "the handler failed; it is called again");
        const pauseMs = (error instanceof Retry ? error.afterMs : undefined) ?? backoff(attempt);
        await place.yieldFor(sleep(pauseMs, undefined, { signal: stopping.signal }).catch(() => {}));
      }
    }
  }

  async function call({ attributes, data }: Delivery, attempt: number): Promise<void> {
    const entry = handlers.get(attributes.type);
    if (entry === undefined) return;
    const message = decode(() => fromBinary(entry.schema, data));
    const time = new Date(attributes.time);
    const effect = async (tx: Tx): Promise<void> => {
      const context: EventContext<Tx> = { ...attributes, time, attempt, signal: ending.signal, tx };
      await entry.handler(message, context);
    };
    if (options.inbox === undefined) await effect(undefined as Tx);
    else await options.inbox.once(attributes.id, effect);
  }

  function take(delivery: Delivery): void {
    const { type, connectionId, sequence } = delivery.attributes;
    if (!handlers.has(type)) {
      stats.passedOver++;
      delivery.settle({ outcome: "handled" }).catch(ignore);
      return;
    }
    const taken = seen.take(connectionId, sequence);
    if (taken === "new") lanes.push(connectionId, delivery);
    if (taken !== "settled") return;
    stats.repeated++;
    delivery.settle({ outcome: "handled" }).catch(ignore);
  }

  await source.open();
  const done = (async () => {
    try {
      for await (const delivery of source.deliveries(stopping.signal)) take(delivery);
    } finally {
      stopping.abort();
      const back = lanes.clear();
      await Promise.allSettled(back.map((delivery) => delivery.settle({ outcome: "released" })));
      await lanes.idle();
      await source.close();
    }
  })();
  done.catch(ignore);

  async function stop(withinMs = 10_000): Promise<void> {
    stopping.abort();
    const timer = setTimeout(() => ending.abort(), withinMs);
    await done.catch(ignore);
    clearTimeout(timer);
  }
  const { signal } = options;
  if (signal?.aborted === true) void stop();
  signal?.addEventListener("abort", () => void stop(), { once: true });
  return { done, stop, stats: (): SubscriptionStats => ({ ...stats }) };
}

const ignore = (): void => {};

const dead = (reason: string, attempts: number): Settlement => ({
  outcome: "dead_letter",
  reason: reason.slice(0, 500),
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
