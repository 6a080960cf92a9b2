import type { Database, Queryable } from "@tributary/db";
import { writeSync } from "node:fs";
import { Socket } from "node:net";

/**
 * The steps of the path, and how a process is seen to be at one. Nothing in production code knows of them: statements
 * are told by their text where the database is handed in, messages by the first bytes on the socket to the broker, and
 * everything else by a function that is handed in as well.
 */
export interface Point {
  readonly name: string;
  readonly role: Role;
  readonly means: string;
  /** A statement: before it is sent, and when its answer is there, inside the transaction. */
  readonly statement?: RegExp;
  /** The transaction that ran such a statement: before COMMIT is sent, and when it is acknowledged. */
  readonly transaction?: RegExp;
  /** A frame to the broker: before it is written, when half of it is written, and when all of it is. */
  readonly sent?: RegExp;
  /** A frame from the broker: before it is looked at, and after. */
  readonly received?: RegExp;
  readonly moments: readonly Moment[];
}

export type Role = "commit" | "relay" | "subscribe";
/** "half": part of a window is on the wire, and the rest never follows. */
export type Moment = "before" | "half" | "after";

const BOTH = ["before", "after"] as const;

export const POINTS: readonly Point[] = [
  {
    name: "commit.claim",
    role: "commit",
    means: "the lease of a due connection",
    transaction: /SET lease_token = c\.lease_token \+ 1/,
    moments: BOTH,
  },
  {
    name: "commit.cursor",
    role: "commit",
    means: "reading the cursor",
    statement: /inner join "integrations"\."credential"/,
    moments: BOTH,
  },
  { name: "commit.fetch", role: "commit", means: "asking the provider", moments: BOTH },
  {
    name: "commit.guard",
    role: "commit",
    means: "the lease checked and the cursor moved, in the transaction",
    statement: /SET meta = CASE WHEN/,
    moments: BOTH,
  },
  {
    name: "commit.state",
    role: "commit",
    means: "deciding what is new",
    statement: /INSERT INTO integrations\.object_state/,
    moments: BOTH,
  },
  { name: "commit.append", role: "commit", means: "the events and their sequences", moments: BOTH },
  {
    name: "commit.commit",
    role: "commit",
    means: "COMMIT of cursor and events",
    transaction: /SET meta = CASE WHEN/,
    moments: BOTH,
  },
  { name: "commit.handoff", role: "commit", means: "telling the relay", moments: BOTH },
  {
    name: "commit.settle",
    role: "commit",
    means: "the end of the run, the lease given back",
    transaction: /SET failures = \$4, lease_until = NULL/,
    moments: BOTH,
  },
  {
    name: "relay.lead",
    role: "relay",
    means: "taking and renewing the leadership",
    transaction: /INSERT INTO pipeline\.relay_leader/,
    moments: BOTH,
  },
  {
    name: "relay.reconcile",
    role: "relay",
    means: "asking what was acknowledged last",
    statement: /SELECT last_stream_sequence AS last/,
    moments: BOTH,
  },
  {
    name: "relay.look",
    role: "relay",
    means: "looking for connections with unpublished events",
    statement: /head > published AND parked_sequence IS NULL AND connection_id > \$1/,
    moments: BOTH,
  },
  {
    name: "relay.read",
    role: "relay",
    means: "reading a window from the ledger",
    statement: /pipeline\.events_after\(c\.id/,
    moments: BOTH,
  },
  {
    name: "relay.publish",
    role: "relay",
    means: "a window on the wire",
    sent: /HPUB (?:evt|sys)\.v1\./,
    moments: ["before", "half", "after"],
  },
  {
    name: "relay.ack",
    role: "relay",
    means: "the broker's acknowledgements",
    received: /MSG _INBOX\.\S+ .*\r\n\{"stream":/,
    moments: BOTH,
  },
  {
    name: "relay.record",
    role: "relay",
    means: "COMMIT of positions and acknowledged ranges",
    transaction: /INSERT INTO pipeline\.ack_range/,
    moments: BOTH,
  },
  {
    name: "subscribe.deliver",
    role: "subscribe",
    means: "events from the broker",
    received: /HMSG (?:evt|sys)\.v1\./,
    moments: BOTH,
  },
  {
    name: "subscribe.inbox",
    role: "subscribe",
    means: "the inbox row",
    statement: /INSERT INTO crash\.inbox/,
    moments: BOTH,
  },
  {
    name: "subscribe.effect",
    role: "subscribe",
    means: "the effect",
    statement: /INSERT INTO crash\.effect/,
    moments: BOTH,
  },
  {
    name: "subscribe.commit",
    role: "subscribe",
    means: "COMMIT of effect and inbox row",
    transaction: /INSERT INTO crash\.inbox/,
    moments: BOTH,
  },
  { name: "subscribe.ack", role: "subscribe", means: "the acknowledgement", sent: /PUB \$JS\.ACK\./, moments: BOTH },
];

/** Where a process shall end itself: at the n-th time that it is there. "stop" only freezes it, until SIGCONT. */
export interface Arm {
  readonly point: string;
  readonly moment: Moment;
  readonly turn: number;
  readonly act: "kill" | "stop";
}

/** Counts how often each moment was reached, and ends the process where it is armed. */
export interface Tripwire {
  readonly reached: Readonly<Record<string, number>>;
  arm(arm: Arm): void;
  at(point: string, moment: Moment): void;
  isArmed(point: string, moment: Moment): boolean;
}

export function createTripwire(first: Arm | undefined): Tripwire {
  const reached: Record<string, number> = {};
  let armed = first;
  let turns = 0;
  return {
    reached,
    arm: (arm) => {
      armed = arm;
      turns = 0;
    },
    isArmed: (point, moment) => armed?.point === point && armed.moment === moment,
    at: (point, moment) => {
      const name = `${point}/${moment}`;
      reached[name] = (reached[name] ?? 0) + 1;
      if (armed?.point !== point || armed.moment !== moment || ++turns < armed.turn) return;
      const { act } = armed;
      armed = undefined;
      // Synchronous, so that it is out before the process is gone.
      writeSync(1, `${act} ${name}\n`);
      process.kill(process.pid, act === "kill" ? "SIGKILL" : "SIGSTOP");
    },
  };
}

const withStatement = POINTS.filter((point) => point.statement !== undefined);
const withTransaction = POINTS.filter((point) => point.transaction !== undefined);

/** The same database, seen at its points. */
export function watchedDatabase(database: Database, tripwire: Tripwire): Database {
  const transaction = async <T>(work: (tx: Queryable) => Promise<T>): Promise<T> => {
    const seen = new Set<string>();
    const result = await database.transaction(async (tx) => {
      const { session } = (tx as unknown as { _: { session: { client: Client } } })._;
      session.client = watchedClient(session.client, tripwire, seen);
      const value = await work(tx);
      for (const point of seen) tripwire.at(point, "before");
      return value;
    });
    for (const point of seen) tripwire.at(point, "after");
    return result;
  };
  return new Proxy(database, {
    get: (target, key) => (key === "transaction" ? transaction : (Reflect.get(target, key) as unknown)),
  });
}

type Unsafe = (text: string, ...rest: unknown[]) => Promise<unknown>;
type Client = { unsafe: Unsafe };

function watchedClient(client: Client, tripwire: Tripwire, seen: Set<string>): Client {
  const unsafe: Unsafe = (text, ...rest) => {
    for (const { name, transaction } of withTransaction) if (transaction?.test(text) === true) seen.add(name);
    const points = withStatement.filter(({ statement }) => statement?.test(text) === true);
    for (const { name } of points) tripwire.at(name, "before");
    const query = client.unsafe(text, ...rest);
    if (points.length > 0) {
      // A query of this driver begins when it is awaited, and answers `values()` with itself.
      const then = query.then.bind(query);
      let answered = false;
      const told = (done?: (rows: unknown) => unknown, failed?: (error: unknown) => unknown) =>
        then((rows) => {
          if (!answered) for (const { name } of points) tripwire.at(name, "after");
          answered = true;
          return done === undefined ? rows : done(rows);
        }, failed);
      const watched: typeof query = new Proxy(query, {
        // A method of the driver wants the query itself, and may answer with it.
        get: (target, name) => {
          if (name === "then") return told;
          const value: unknown = Reflect.get(target, name, target);
          if (typeof value !== "function") return value;
          return (...args: unknown[]): unknown => {
            const answer: unknown = Reflect.apply(value, target, args);
            return answer === target ? watched : answer;
          };
        },
      });
      return watched;
    }
    return query;
  };
  return new Proxy(client, {
    get: (target, key) => (key === "unsafe" ? unsafe : (Reflect.get(target, key) as unknown)),
  });
}

type Write = (chunk: Uint8Array, ...rest: unknown[]) => boolean;
type Emit = (event: string, ...rest: unknown[]) => boolean;

/** Sees what every socket to the broker sends and receives. Points that only this process's role has can be reached. */
export function watchBroker(port: number, roles: ReadonlySet<Role>, tripwire: Tripwire): void {
  const mine = POINTS.filter(({ role }) => roles.has(role));
  const outward = mine.filter(({ sent }) => sent !== undefined);
  const inward = mine.filter(({ received }) => received !== undefined);
  const prototype = Socket.prototype as unknown as { write: Write; emit: Emit };
  const { write, emit } = prototype;
  const textOf = (chunk: Uint8Array): string =>
    Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString("latin1");

  prototype.write = function (this: Socket, chunk, ...rest): boolean {
    if (this.remotePort !== port || !(chunk instanceof Uint8Array)) return write.call(this, chunk, ...rest);
    const text = textOf(chunk);
    const point = outward.find(({ sent }) => sent?.test(text) === true);
    if (point === undefined) return write.call(this, chunk, ...rest);
    tripwire.at(point.name, "before");
    if (tripwire.isArmed(point.name, "half")) {
      const middle = Math.ceil(chunk.length / 2);
      return write.call(this, chunk.subarray(0, middle), () => {
        tripwire.at(point.name, "half");
        write.call(this, chunk.subarray(middle), ...rest);
      });
    }
    const written = write.call(this, chunk, ...rest);
    if (tripwire.isArmed(point.name, "after"))
      write.call(this, new Uint8Array(), () => tripwire.at(point.name, "after"));
    else tripwire.at(point.name, "after");
    return written;
  };

  prototype.emit = function (this: Socket, event, ...rest): boolean {
    const [chunk] = rest;
    if (event !== "data" || this.remotePort !== port || !(chunk instanceof Uint8Array))
      return emit.call(this, event, ...rest);
    const text = textOf(chunk);
    const point = inward.find(({ received }) => received?.test(text) === true);
    if (point === undefined) return emit.call(this, event, ...rest);
    tripwire.at(point.name, "before");
    const heard = emit.call(this, event, ...rest);
    // The client looks at what came before the event loop turns.
    setImmediate(() => tripwire.at(point.name, "after"));
    return heard;
  };
}
