import { acrossOrganizations, type Database } from "@tributary/db";
import { setTimeout as sleep } from "node:timers/promises";
import { type Attempts, createAttempts } from "./attempts.ts";
import {
  acquireConsumer,
  type Acquired,
  releaseAllConsumers,
  releaseConsumer,
  RENEW_EVERY_MS,
  renewConsumer,
} from "./consumer-lease.ts";
import { type ConsumerStream, createConsumerStream } from "./consumer-stream.ts";
import { bury, type LetterFate, settleRedriven } from "./dead-letters.ts";
import type { HandOff } from "./hand-off.ts";
import { consumerKey, type ConsumerKey, createPositionWriter, SettlementRefused, settleStored } from "./positions.ts";
import { type AgainEvent, consumersWithWork } from "./replay-feed.ts";
import { settleReplayed } from "./replay-progress.ts";

export interface SubscribeOptions extends ConsumerKey {
  /** Full protobuf names of the types wanted; empty means every type. */
  readonly types: readonly string[];
  /** Events outstanding at most, 1 to {@link WINDOW_MAX}. */
  readonly window: number;
  /** Whether to say what was gone before it could be sent: see {@link AgainEvent.gone}. Default: it is passed over. */
  readonly tellGone?: boolean;
  /** Ends the stream, without an error. */
  readonly signal: AbortSignal;
}

/** An event on its way to a consumer. */
export interface StreamedEvent extends AgainEvent {
  /** How often it was sent to this consumer, from 1, as far as this process remembers. */
  readonly attempt: number;
}

export interface Settlement extends ConsumerKey {
  readonly connectionId: string;
  readonly sequence: bigint;
  /** A dead letter is kept with its reason; for the order it is settled like any other. */
  readonly outcome: "handled" | "dead_letter";
  /** Why, for a dead letter; cut at 500 characters. */
  readonly reason?: string;
  /** How often the subscriber had tried, for a dead letter. Default 0: not said. */
  readonly attempts?: number;
  /** The event as it came, for a dead letter: kept where the ledger has it no more. Default: nothing is known of it. */
  readonly said?: { readonly id: string; readonly type: string; readonly subject: string };
  /** As the event came: the replay that brought it, and how often its dead letter was sent again. */
  readonly replayId?: string;
  readonly redrive?: number;
}

/** The ledger as a stream: the embedded mode's broker, and the HTTP road's in both modes. */
export interface EventStream {
  /**
   * Events in order within each connection, starting behind what the consumer has settled; a new consumer starts with
   * the oldest that is retained. Stays open and carries what is committed. An event that is not settled is sent again
   * after the next subscribe. One stream serves a consumer at a time: a second waits its turn.
   * Besides, as marked: replays and redriven dead letters, in the same window and without moving any position; and where
   * it is asked for, what the retention has taken before the consumer came to it, which is settled like an event.
   * @throws ConsumerDiffers when the consumer stands with other types; ConsumerTaken when a newcomer took the consumer over, because this stream's subscriber was silent; RangeError.
   */
  subscribe(options: SubscribeOptions): AsyncGenerator<StreamedEvent>;
  /**
   * Settles one event; resolves when that is durable. Settling again changes nothing.
   * @throws SettlementRefused when there is no such consumer or event.
   */
  settle(settlement: Settlement): Promise<void>;
  /** Events sent to a consumer and not settled, as far as this process knows. */
  outstanding(organizationId: string, consumer: string): number;
  /** Ends every stream and writes what is settled. */
  stop(): Promise<void>;
}

export const WINDOW_MAX = 10_000;

/** Another subscriber of the same name serves the consumer now. */
export class ConsumerTaken extends Error {
  readonly code = "consumer_taken";
  constructor() {
    super("consumer_taken: another subscriber of this name took over");
  }
}

export interface EventStreamOptions {
  readonly database: Database;
  readonly handOff: HandOff;
  /** Default: the process's monotonic clock, in milliseconds. */
  readonly clock?: () => number;
  readonly uuid?: () => string;
}

interface Served {
  readonly stream: ConsumerStream;
  readonly attempts: Attempts;
  alive: boolean;
}

const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/;
const SEQUENCE_MAX = 2n ** 63n - 1n;

/** Consumers whose attempts are remembered between two streams. */
const REMEMBERED_MAX = 100;

export async function createEventStream(options: EventStreamOptions): Promise<EventStream> {
  const { database, handOff, clock = () => performance.now(), uuid = () => crypto.randomUUID() } = options;
  const positions = createPositionWriter(database);
  const served = new Map<string, Served>();
  const remembered = new Map<string, Attempts>();
  const stopped = new AbortController();
  if (database.engine === "pglite") await releaseAllConsumers(database);
  /** Replays and redriven letters of all consumers here are looked for at once, and then by whoever has some. */
  const watch = setInterval(() => {
    if (served.size > 0) void pokeThoseWithWork().catch(() => {});
  }, WATCH_EVERY_MS);
  watch.unref();
  async function pokeThoseWithWork(): Promise<void> {
    for (const { stream } of served.values()) if (stream.replaying) stream.poke();
    for (const { organization_id: organizationId, consumer } of await acrossOrganizations(
      database,
      "relay",
      consumersWithWork,
    ))
      served.get(consumerKey({ organizationId, consumer }))?.stream.poke();
  }
  const unsubscribe = handOff.subscribe((wake) => {
    const organizationId =
      wake.kind === "batch" ? wake.batch.organizationId : "organizationId" in wake && wake.organizationId;
    for (const [key, { stream }] of served)
      if (organizationId === false || key.startsWith(`${organizationId} `)) stream.hear(wake);
  });

  async function* subscribe(wish: SubscribeOptions): AsyncGenerator<StreamedEvent> {
    if (!(wish.window >= 1 && wish.window <= WINDOW_MAX)) throw new RangeError(`a window is 1 to ${WINDOW_MAX}`);
    const holder = uuid();
    const over = new AbortController();
    const signal = AbortSignal.any([wish.signal, stopped.signal, over.signal]);
    const acquired = await acquire(wish, holder, signal);
    if (acquired === undefined) return;
    const { afterDeadLetter, outlived } = acquired;
    const set = { hold: afterDeadLetter === "hold", outlived, tellGone: wish.tellGone ?? false };
    const key = consumerKey(wish);
    const stream = createConsumerStream({ ...wish, ...set, database, positions, clock, signal });
    const attempts = remembered.get(key) ?? createAttempts();
    const entry: Served = { stream, attempts, alive: true };
    served.set(key, entry);
    stream.poke();
    const renewing = keep(wish, holder, entry, over, signal);
    try {
      for await (const event of stream.events()) yield { ...event, attempt: attempts.next(event) };
      if (over.signal.aborted) throw over.signal.reason;
    } finally {
      over.abort();
      await renewing;
      if (served.get(key) === entry) served.delete(key);
      remember(key, attempts);
      await positions.flush().catch(() => {});
      await releaseConsumer(database, wish, holder).catch(() => {});
    }
  }

  /** Waits until nobody else serves the consumer. @returns undefined when the caller gave up first. */
  async function acquire(wish: SubscribeOptions, holder: string, signal: AbortSignal): Promise<Acquired | undefined> {
    while (!signal.aborted) {
      const acquired = await acquireConsumer(database, wish, wish.types, holder);
      if (acquired !== undefined) return acquired;
      await sleep(250, undefined, { signal }).catch(() => {});
    }
    return undefined;
  }

  /** Renews until the stream ends. A database that is away is not a lease lost: the next renewal tells. */
  async function keep(wish: ConsumerKey, holder: string, entry: Served, over: AbortController, signal: AbortSignal) {
    while (!signal.aborted) {
      await sleep(RENEW_EVERY_MS, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      const { alive } = entry;
      entry.alive = false;
      if (!(await renewConsumer(database, wish, holder, alive).catch(() => true))) over.abort(new ConsumerTaken());
    }
  }

  function remember(key: string, attempts: Attempts): void {
    remembered.delete(key);
    if (attempts.size > 0) remembered.set(key, attempts);
    const [oldest] = remembered.keys();
    if (remembered.size > REMEMBERED_MAX && oldest !== undefined) remembered.delete(oldest);
  }

  async function settle(settlement: Settlement): Promise<void> {
    const { connectionId, sequence } = settlement;
    if (!UUID.test(connectionId) || sequence < 1n || sequence > SEQUENCE_MAX)
      throw new SettlementRefused("unknown_consumer_or_event");
    const entry = served.get(consumerKey(settlement));
    if (entry !== undefined) entry.alive = true;
    const { replayId = "", redrive = 0 } = settlement;
    entry?.attempts.settled({ connectionId, sequence, replayId, redrive });
    if (replayId !== "" || redrive > 0) return settleAgain(settlement, replayId, redrive, entry);
    if (settlement.outcome === "dead_letter") await bury(database, fateOf(settlement));
    const here = entry?.stream.settle(connectionId, sequence);
    if (here !== undefined) return here;
    await positions.flush();
    await settleStored(database, settlement, connectionId, sequence);
    entry?.stream.settledElsewhere(connectionId, sequence);
    handOff.settled(settlement.organizationId, settlement.consumer, connectionId);
  }

  /** Moves no position of live events. */
  async function settleAgain(settlement: Settlement, replayId: string, redrive: number, entry: Served | undefined) {
    const { organizationId, consumer, connectionId, sequence, outcome } = settlement;
    if (replayId !== "" && !UUID.test(replayId)) throw new SettlementRefused("unknown_consumer_or_event");
    if (redrive > 0) await settleRedriven(database, fateOf(settlement), outcome === "handled");
    else if (outcome === "dead_letter") await bury(database, fateOf(settlement));
    const here = entry?.stream.settleAgain(replayId, redrive, connectionId, sequence);
    if (here !== undefined || redrive > 0) return here;
    if (!(await settleReplayed(database, { organizationId, replayId, consumer }, connectionId, sequence)))
      throw new SettlementRefused("unknown_consumer_or_event");
  }

  return {
    subscribe,
    settle,
    outstanding: (organizationId, consumer) =>
      served.get(consumerKey({ organizationId, consumer }))?.stream.outstanding ?? 0,
    stop: async () => {
      stopped.abort();
      clearInterval(watch);
      unsubscribe();
      await positions.flush();
    },
  };
}

const WATCH_EVERY_MS = 1_000;

const fateOf = (settlement: Settlement): LetterFate => ({
  replayId: "",
  reason: "",
  attempts: 0,
  said: UNSAID,
  ...settlement,
});

const UNSAID = { id: "", type: "", subject: "" };
