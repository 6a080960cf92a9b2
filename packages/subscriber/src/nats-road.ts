import type { JetStreamClient, JetStreamManager, JsMsg } from "@nats-io/jetstream";
import { setTimeout as sleep } from "node:timers/promises";
import type { EnsureConsumer } from "./nats-consumer.ts";
import { createHands, type Hands, type Held } from "./nats-hands.ts";
import { type SourceOptions, SubscriberError } from "./source.ts";

const LOOK_EVERY_MS = 250;
const FLUSH_MS = 500;
/** Longer than it takes from finding that nobody pulls to pulling. */
const ALONE_MS = 100;
const FORGET_EVERY_MS = 25;
/** Four seconds: a busy broker takes its time to notice that nobody hears a pull any more. */
const FORGET_LOOKS_MAX = 160;

/** What a road needs of the connection that it shares with its siblings. */
export interface RoadOptions extends Pick<SourceOptions, "log" | "backoff"> {
  /** Name of the consumer on the broker. */
  readonly durable: string;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  /** Resolves when everything has come that the broker had sent before. */
  readonly flush: () => Promise<void>;
  /** Calls back when the connection is lost, until the returned function is called. */
  readonly onLoss: (listener: () => void) => () => void;
  /** It is closed for good: the broker knows the credentials no more. */
  readonly isClosed: () => boolean;
  readonly stream: string;
  /** Id of the server process that is spoken to; undefined while there is none. */
  readonly server: () => string | undefined;
  /** @throws SubscriberError when the existing one is of another kind. */
  readonly ensure: EnsureConsumer;
  /** The stream need not be there: it is looked for now and then, and nobody is told. */
  readonly optional?: boolean;
}

/** The messages of one stream, through the durable pull consumer of one name. */
export interface Road {
  /** Hands messages over until the signal aborts; goes on by itself when the broker was away. */
  run(signal: AbortSignal, take: (held: Held) => void): Promise<void>;
  /** What was handed over and not settled. */
  readonly hands: Hands;
  /** Somebody else shall have it: at once, or as soon as this process pulls no more. */
  release(held: Held): void;
  /** After everything is settled or given up: until then the broker hears of what is still being worked on. */
  close(): void;
}

/** What the stream knows a message by; a publisher that names none is not the relay. */
const idOf = (message: JsMsg): string => message.headers?.get("Nats-Msg-Id") ?? "";

/** What the broker has sent and not heard of again. */
interface Unsettled {
  readonly count: number;
  /** The last stream sequence that was sent. */
  readonly upTo: number;
}

/** Another process pulls as well. */
class NotAlone extends Error {
  constructor() {
    super("another process serves this consumer");
  }
}

/** What was on its way is lost with it. */
class ConnectionLost extends Error {
  constructor() {
    super("the connection to the broker was lost");
  }
}

export function createRoad({
  js,
  jsm,
  flush,
  onLoss,
  isClosed,
  server,
  stream,
  durable,
  log,
  backoff,
  ensure,
  optional,
}: RoadOptions): Road {
  const hands = createHands(server);
  const givenBack: Held[] = [];
  const speaking = createInterval(() => hands.working());
  let pulling = false;

  async function run(signal: AbortSignal, take: (held: Held) => void): Promise<void> {
    const aborted = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    for (let failures = 0; !signal.aborted;) {
      try {
        // What is asked while there is no connection is dropped by the client, and waited for in vain.
        await Promise.race([flush(), aborted]);
        const { created, ackWaitMs, window } = await ensure();
        hands.consumer(created);
        speaking.every(ackWaitMs / 3);
        await awaitTurn(signal);
        await pull(signal, window, (held) => {
          failures = 0;
          take(held);
        });
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ConnectionLost) {
          log.warn({}, "the connection to the broker was lost; trying again");
          continue;
        }
        if (isClosed()) throw new SubscriberError("refused", "the broker refuses the credentials", { cause: error });
        const missing = error instanceof SubscriberError && error.code === "stream_missing";
        if (error instanceof SubscriberError && !missing) throw error;
        if (!(error instanceof NotAlone) && !(missing && optional === true))
          log.warn({ stream, failures, error: saidBy(error) }, "the broker does not serve the consumer; trying again");
      }
      failures++;
      await sleep(backoff(failures), undefined, { signal }).catch(() => {});
    }
  }

  /** While another process pulls for this consumer, this one stands by: two would break the order of a connection. */
  async function awaitTurn(signal: AbortSignal): Promise<void> {
    for (let told = false; ; told = true) {
      signal.throwIfAborted();
      const info = await jsm.consumers.info(stream, durable);
      if (info.num_waiting === 0) return;
      // Whoever has started a second process by mistake would wonder for long why nothing comes.
      if (!told && optional !== true)
        log.warn({ consumer: durable }, "another process serves this consumer: standing by");
      await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => {});
    }
  }

  /**
   * What was on its way to a process before this one when that died, or to this one when its connection was lost, comes
   * again only after the broker's ack wait, in no certain order, while newer events come at once: all are kept back until
   * everything unsettled is in these hands, then sorted. A lost connection ends the pull, so that the next one does so.
   * The client calls back for each message: an iterator of its costs several turns of the microtask queue for each.
   */
  async function pull(signal: AbortSignal, window: number, take: (held: Held) => void): Promise<void> {
    const consumer = await js.consumers.get(stream, durable);
    const kept = new Map<number, Held>();
    /** Under way here since before. By their ids: a stream that was rolled back gives their sequences to others. */
    const mine = new Map([...hands.open].map((held) => [idOf(held.message), held]));
    mine.delete("");
    let keepBack = true;
    const callback = (message: JsMsg): void => {
      if (mine.size > 0) {
        const before = mine.get(idOf(message));
        if (before !== undefined && hands.open.has(before)) return hands.renew(before, message);
      }
      const held = hands.take(message);
      if (!keepBack) return take(held);
      const before = kept.get(message.seq);
      if (before !== undefined) hands.forget(before);
      kept.set(message.seq, held);
    };
    pulling = true;
    const pulled = await consumer.consume({ max_messages: window, abort_on_missing_resource: true, callback });
    const over = new AbortController();
    const ended = pulled.closed().finally(() => over.abort());
    const ending = AbortSignal.any([signal, over.signal]);
    // What is on its way would be nobody's until the broker's ack wait is over: it is awaited, and given back.
    const stop = (): void =>
      void Promise.race([flush(), sleep(FLUSH_MS, undefined, { ref: false })]).finally(() => pulled.stop());
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    let lost = false;
    const forgetLoss = onLoss(() => {
      lost = true;
      pulled.stop(new ConnectionLost());
    });
    try {
      await complete(kept, await beAlone(kept, window, ending), ending);
      if (!ending.aborted) {
        keepBack = false;
        const sorted = [...kept.values()].toSorted((a, b) => a.message.seq - b.message.seq);
        kept.clear();
        for (const held of sorted) take(held);
      }
      const failure = await ended;
      if (failure !== undefined) throw failure;
    } finally {
      forgetLoss();
      signal.removeEventListener("abort", stop);
      for (const held of kept.values()) release(held);
      await pulled.close();
      // With its connection the broker forgets a pull.
      if (!lost) await forgotten();
      giveBack();
    }
  }

  /**
   * Two processes may find that nobody pulls at the same moment: whoever sees another's pull beside its own steps back.
   * The later of the two sees both, so one at most goes on.
   * @returns what is unsettled now. @throws NotAlone.
   */
  async function beAlone(kept: ReadonlyMap<number, Held>, window: number, ending: AbortSignal): Promise<Unsettled> {
    await sleep(ALONE_MS, undefined, { signal: ending }).catch(() => {});
    const mine = hands.open.size - kept.size;
    const info = await jsm.consumers.info(stream, durable);
    // The client pulls again whenever a quarter of the window has come; the first pull ends with the window.
    const pulls = (kept.size < window ? 1 : 0) + Math.floor(kept.size / Math.max(1, Math.floor(window / 4)));
    if (info.num_waiting > pulls) throw new NotAlone();
    return { count: info.num_ack_pending - mine, upTo: info.delivered.stream_seq };
  }

  /** Resolves when all of what was unsettled is there, or nothing else is pending: some of it may have been erased. */
  async function complete(kept: ReadonlyMap<number, Held>, awaited: Unsettled, ending: AbortSignal): Promise<void> {
    while (!ending.aborted) {
      let there = 0;
      for (const seq of kept.keys()) if (seq <= awaited.upTo) there++;
      if (there >= awaited.count) return;
      // Counted before the broker is asked: what comes meanwhile is not what it answers for.
      const inHand = hands.open.size;
      const pending = await jsm.consumers.info(stream, durable).then(
        (info) => info.num_ack_pending,
        () => Number.POSITIVE_INFINITY,
      );
      if (pending <= inHand) return;
      await sleep(LOOK_EVERY_MS, undefined, { signal: ending }).catch(() => {});
    }
  }

  /** The broker would send what is given back to a pull of this process that it has not forgotten yet. */
  async function forgotten(): Promise<void> {
    for (let look = 0; look < FORGET_LOOKS_MAX; look++) {
      const info = await jsm.consumers.info(stream, durable).catch(() => undefined);
      if (info === undefined || info.num_waiting === 0) break;
      await sleep(FORGET_EVERY_MS);
    }
  }

  function giveBack(): void {
    pulling = false;
    for (const held of givenBack.splice(0)) hands.giveBack(held);
  }

  /** As long as this process pulls, the broker would send it what it gives back. */
  function release(held: Held): void {
    hands.forget(held);
    if (pulling) givenBack.push(held);
    else hands.giveBack(held);
  }

  return {
    run,
    hands,
    release,
    close: () => {
      speaking.stop();
      hands.flush();
    },
  };
}

/** The client's and the broker's words are about subjects and servers, not about people. */
export const saidBy = (error: unknown): string => (error instanceof Error ? error.message : "not an error");

/** A timer whose pace can be changed. */
function createInterval(work: () => void) {
  let timer: NodeJS.Timeout | undefined;
  let pace: number | undefined;
  const stop = (): void => {
    clearInterval(timer);
    pace = undefined;
  };
  return {
    every: (ms: number): void => {
      if (ms === pace) return;
      stop();
      pace = ms;
      timer = setInterval(work, ms);
    },
    stop,
  };
}
