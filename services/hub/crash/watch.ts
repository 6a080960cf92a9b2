import type { Database, Queryable } from "@tributary/db";
import { writeSync } from "node:fs";
import { Socket } from "node:net";
import { type Moment, POINTS, type Role } from "./points.ts";

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

/** The same database, seen at its points. A PGlite is left as it is: its process is killed at other moments. */
export function watchedDatabase(database: Database, tripwire: Tripwire): Database {
  if (database.engine === "pglite") return database;
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

type Write = (chunk: Uint8Array | string, ...rest: unknown[]) => boolean;
type Emit = (event: string, ...rest: unknown[]) => boolean;

/** The sockets that are looked at: those that lead to one of these ports, and those that were accepted on one. */
export interface WatchedPorts {
  readonly to: ReadonlySet<number>;
  readonly on: ReadonlySet<number>;
}

/** Sees what these sockets send and receive. Points that only this process's role has can be reached. */
export function watchSockets(ports: WatchedPorts, roles: ReadonlySet<Role>, tripwire: Tripwire): void {
  const mine = POINTS.filter(({ role }) => roles.has(role));
  const outward = mine.filter(({ sent }) => sent !== undefined);
  const inward = mine.filter(({ received }) => received !== undefined);
  const prototype = Socket.prototype as unknown as { write: Write; emit: Emit };
  const { write, emit } = prototype;
  /** What is said while one half of what was said before is on its way: it comes behind the other half. */
  const behind = new WeakMap<Socket, (() => void)[]>();
  const isWatched = ({ remotePort = 0, localPort = 0 }: Socket): boolean =>
    ports.to.has(remotePort) || ports.on.has(localPort);
  const bytesOf = (chunk: Uint8Array | string, encoding: unknown): Buffer =>
    typeof chunk === "string"
      ? Buffer.from(chunk, typeof encoding === "string" ? (encoding as BufferEncoding) : "utf8")
      : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);

  prototype.write = function (this: Socket, chunk, ...rest): boolean {
    if (outward.length === 0 || !isWatched(this)) return write.call(this, chunk, ...rest);
    const waiting = behind.get(this);
    if (waiting !== undefined) {
      waiting.push(() => this.write(chunk, ...(rest as [])));
      return true;
    }
    const bytes = bytesOf(chunk, rest[0]);
    const text = bytes.toString("latin1");
    const point = outward.find(({ sent }) => sent?.test(text) === true);
    if (point === undefined) return write.call(this, chunk, ...rest);
    tripwire.at(point.name, "before");
    if (tripwire.isArmed(point.name, "half")) {
      const middle = Math.ceil(bytes.length / 2);
      const next: (() => void)[] = [];
      behind.set(this, next);
      return write.call(this, bytes.subarray(0, middle), () => {
        tripwire.at(point.name, "half");
        behind.delete(this);
        write.call(this, bytes.subarray(middle), ...rest);
        for (const say of next) say();
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
    if (event !== "data" || !(chunk instanceof Uint8Array) || inward.length === 0 || !isWatched(this))
      return emit.call(this, event, ...rest);
    const text = bytesOf(chunk, undefined).toString("latin1");
    const point = inward.find(({ received }) => received?.test(text) === true);
    if (point === undefined) return emit.call(this, event, ...rest);
    tripwire.at(point.name, "before");
    const heard = emit.call(this, event, ...rest);
    // The client looks at what came before the event loop turns.
    setImmediate(() => tripwire.at(point.name, "after"));
    return heard;
  };
}
