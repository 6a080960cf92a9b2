import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { CONSUMER_NAME, type EventAttributes, isOrganization } from "@tributary/contracts";
import { createHttpSource } from "./http.ts";
import type { Inbox } from "./inbox.ts";
import { createNatsSource } from "./nats.ts";
import { type Running, start } from "./run.ts";
import { SubscriberError, type SubscriberLog, WINDOW_MAX } from "./source.ts";

export interface SubscribeOptions<Tx = undefined> {
  /**
   * `nats://host:4222` of the broker (tls), or `http://host:4600` of a hub (https). The code is the same for both. Of a
   * broker's cluster several servers may be named, with commas between: `nats://one:4222,two:4222`.
   */
  readonly url: string;
  /**
   * Name of the consumer within its organisation: lower-case letters, digits and hyphens, at most 64, no hyphen in front.
   * Its position outlives the process. One process at a time is served; another of the same name stands by.
   */
  readonly name: string;
  /**
   * What to show: a token of the hub's API, or of the broker, whose user and password may stand in the url as well. A
   * function is asked for one at the start, whenever it connects again, and half a minute before a JSON Web Token ends:
   * then the stream goes on under the other token, and nothing is lost. While it fails it is asked again.
   */
  readonly token?: string | (() => string | Promise<string>) | undefined;
  /** Over NATS, instead: the content of a `.creds` file, or the seed of an nkey ("SU…"); or a function, as for `token`. */
  readonly credentials?: string | (() => string | Promise<string>) | undefined;
  /**
   * Whose events, over NATS; over HTTP the token says it. A name is an organisation's: two may have one of the same name.
   * Default: every organisation's, which generated permissions do not allow; such a consumer is known as "_<name>".
   */
  readonly organization?: string | undefined;
  /** Handlers at a time, each for another connection. Default 16. */
  readonly concurrency?: number;
  /**
   * Events received and not settled at most, 1 to 10,000. Over NATS it is taken when the consumer is made, and one that
   * exists keeps its own. Default 1,000.
   */
  readonly window?: number;
  /**
   * Over NATS: the broker takes a subscriber for dead that is silent for so long about an event it holds, and sends it
   * again. A living one speaks three times as often, however long its handlers take. It is taken when the consumer is
   * made, and one that exists keeps its own. Default 10 s, at least 1 s.
   */
  readonly ackWaitMs?: number;
  /** Calls of a handler for one event, in this process, before it is given up. Default 10. */
  readonly attemptsMax?: number;
  /**
   * What happens to an event that is given up after `attemptsMax` calls, and to what follows it in its connection.
   * `"continue"`: it becomes a dead letter, and its successors go on. `"hold"`: nothing may overtake it, so it is called
   * again, at the longest pause, for as long as it takes; its successors wait and take up room in the window, and
   * `stats().holding` counts such connections. `drop(reason)` makes a dead letter under either. Default "continue".
   */
  readonly afterLastAttempt?: "continue" | "hold";
  /** First and longest pause before a retry without one of its own; doubles from call to call. Default 500 ms, 60 s. */
  readonly backoffMs?: { readonly first: number; readonly longest: number };
  /** Makes effects happen exactly once: see {@link Inbox}. Without it, at least once. */
  readonly inbox?: Inbox<Tx>;
  /** Stops as {@link Subscription.stop} does; `start()` rejects with its reason when it aborts before. */
  readonly signal?: AbortSignal | undefined;
  /** Stops as {@link Subscription.stop} does when the process is told to end, as by ["SIGTERM"]. Default: none. */
  readonly drainOn?: readonly ("SIGTERM" | "SIGINT" | "SIGHUP" | "SIGQUIT" | "SIGUSR2")[];
  /** Default: warnings go to the console. */
  readonly log?: SubscriberLog;
  /** In [0, 1); spreads retries. Default Math.random. */
  readonly random?: () => number;
}

/** An event without its payload, and the call that handles it. */
export interface EventContext<Tx = undefined> extends Omit<EventAttributes, "time" | "onlyFor"> {
  /** When it happened, by the provider's clock. */
  readonly time: Date;
  /** Which delivery or call this is, from 1: what other processes were sent counts as far as the source knows of it. */
  readonly attempt: number;
  /** Aborts when the subscriber has to end and will not wait any longer. */
  readonly signal: AbortSignal;
  /** The inbox's transaction; undefined without an inbox. */
  readonly tx: Tx;
}

/**
 * Returns when the effect is done. Throws `retry(ms)` or anything else to be called again, `drop(reason)` to give up.
 */
export type Handler<T extends DescMessage, Tx = undefined> = (
  event: MessageShape<T>,
  context: EventContext<Tx>,
) => Promise<void> | void;

/** A subscription being put together. */
export interface Subscriber<Tx = undefined> {
  /** Sets the handler of a type. Types without one are not asked for, or passed over. @throws SubscriberError for a second. */
  on<T extends DescMessage>(schema: T, handler: Handler<T, Tx>): Subscriber<Tx>;
  /** Connects; resolves when events can come. @throws SubscriberError when that cannot work. */
  start(): Promise<Subscription>;
}

export interface Subscription {
  /** Resolves when it has stopped; rejects when it cannot go on. */
  readonly done: Promise<void>;
  stats(): SubscriptionStats;
  /**
   * Takes no more events, lets running handlers finish, and gives back what has not begun.
   * @param withinMs then `context.signal` aborts, and a handler that has not ended two seconds later is left behind: its
   * event comes again. Default 10 s.
   */
  stop(withinMs?: number): Promise<void>;
}

export interface SubscriptionStats {
  readonly handled: number;
  readonly retried: number;
  readonly deadLetters: number;
  /** Events of types without a handler. */
  readonly passedOver: number;
  /** Events delivered again that this process had settled before. */
  readonly repeated: number;
  /**
   * Events, of whatever type, that were no longer retained when this subscriber came to them: it will not get them. Over
   * HTTP; a broker does not say.
   */
  readonly gone: number;
  /** Connections whose next event has failed `attemptsMax` times and holds the others: see `afterLastAttempt`. */
  readonly holding: number;
}

export type Handlers<Tx> = ReadonlyMap<
  string,
  { readonly schema: DescMessage; readonly handler: Handler<DescMessage, Tx> }
>;

/**
 * Subscribes to typed events:
 *
 * ```ts
 * const subscription = await subscribe({ url: "http://localhost:4600", name: "billing", token })
 *   .on(TaskCompletedSchema, async ({ task }, { connectionId, sequence }) => { … })
 *   .start();
 * ```
 *
 * Events of one connection are handled one after the other, in order: one that is retried holds its successors. Events
 * of different connections are handled side by side.
 * @throws SubscriberError for options that make no sense.
 */
export function subscribe<Tx = undefined>(options: SubscribeOptions<Tx>): Subscriber<Tx> {
  const { url, hosts } = check(options);
  const log = quiet(options.log ?? CONSOLE);
  const handlers = new Map<string, { schema: DescMessage; handler: Handler<DescMessage, Tx> }>();
  const { random = Math.random, backoffMs = { first: 500, longest: 60_000 } } = options;
  /** Half of it is certain, half of it spread, so that subscribers that failed together do not come back together. */
  const backoff = (attempt: number): number =>
    Math.min(backoffMs.longest, backoffMs.first * 2 ** Math.min(attempt - 1, 30)) * (0.5 + random() / 2);
  const subscriber: Subscriber<Tx> = {
    on: (schema, handler) => {
      if (handlers.has(schema.typeName)) throw new SubscriberError("usage", `${schema.typeName} has a handler already`);
      handlers.set(schema.typeName, { schema, handler });
      return subscriber;
    },
    start: async (): Promise<Running> => {
      if (handlers.size === 0) throw new SubscriberError("usage", "a subscription needs a handler");
      const { name, token, credentials, organization, window, ackWaitMs } = options;
      const types = [...handlers.keys()];
      const shared = { url, hosts, name, token, credentials, organization, window, ackWaitMs, log, backoff, types };
      const source =
        url.protocol === "nats:" || url.protocol === "tls:" ? createNatsSource(shared) : createHttpSource(shared);
      return start({ ...options, log, handlers: new Map(handlers), source, backoff });
    },
  };
  return subscriber;
}

const CONSOLE: SubscriberLog = {
  info: () => {},
  // eslint-disable-next-line no-console -- whoever gives no log of their own is to hear of what goes wrong all the same
  warn: (fields, message) => console.warn(`tributary: ${message}`, fields),
};

/** A log that fails may not take an event with it. */
function quiet(log: SubscriberLog): SubscriberLog {
  const guarded =
    (level: "info" | "warn"): SubscriberLog["warn"] =>
    (fields, message) => {
      try {
        log[level](fields, message);
      } catch {
        // There is nobody left to tell.
      }
    };
  return { info: guarded("info"), warn: guarded("warn") };
}

/** What a timer can wait for at most. */
const WAIT_MS_MAX = 2 ** 31 - 1;

function check<Tx>(options: SubscribeOptions<Tx>): { readonly url: URL; readonly hosts: readonly string[] } {
  const { name, organization, window = 1, concurrency = 1, attemptsMax = 1, ackWaitMs = 1_000 } = options;
  const { first, longest } = options.backoffMs ?? { first: 1, longest: 1 };
  const refuse = (why: string): never => {
    throw new SubscriberError("usage", why);
  };
  if (!CONSUMER_NAME.test(name)) refuse("a name is a-z, 0-9 and hyphens, at most 64, and no hyphen in front");
  if (organization !== undefined && !isOrganization(organization)) refuse("organization is no id of an organisation");
  if (!(Number.isInteger(window) && window >= 1 && window <= WINDOW_MAX))
    refuse("a window is a whole number, 1 to 10,000");
  if (!(Number.isInteger(concurrency) && concurrency >= 1)) refuse("concurrency is a whole number, at least 1");
  if (!(ackWaitMs >= 1_000 && ackWaitMs <= WAIT_MS_MAX)) refuse("ackWaitMs is at least 1,000");
  if (!(attemptsMax >= 1)) refuse("attemptsMax is at least 1");
  if (!(first >= 0 && longest >= first && longest <= WAIT_MS_MAX))
    refuse("backoffMs is 0 or more, first, then longest");
  return addresses(options.url);
}

function addresses(url: string): { readonly url: URL; readonly hosts: readonly string[] } {
  const [first = "", ...others] = url.split(",").map((one) => one.trim());
  const parsed = URL.canParse(first) ? new URL(first) : undefined;
  if (parsed === undefined || parsed.host === "" || !["nats:", "tls:", "http:", "https:"].includes(parsed.protocol))
    throw new SubscriberError("usage", "a url begins with nats://, tls://, http:// or https://");
  const hosts = others.map((one) => {
    const other = one.includes("://") ? one : `${parsed.protocol}//${one}`;
    const host = URL.canParse(other) ? new URL(other) : undefined;
    if (
      host === undefined ||
      host.host === "" ||
      host.protocol !== parsed.protocol ||
      parsed.protocol.startsWith("http")
    )
      throw new SubscriberError("usage", "several servers are of one broker: nats://one:4222,two:4222");
    return host.host;
  });
  return { url: parsed, hosts: [parsed.host, ...hosts] };
}
