import type { Database, Queryable } from "@tributary/db";
import { never, type Process } from "./processes.ts";
import type { Turns } from "./turns.ts";

/** The connection to the database broke; what became of the transaction, whoever asked does not know. */
export class DatabaseLost extends Error {
  readonly code = "CONNECTION_LOST";
  constructor() {
    super("the connection to the database was lost");
  }
}

/** Rolls back what a dead process had begun; nobody hears of it. */
class Dead extends Error {}

export interface MortalOptions {
  readonly process: Process;
  readonly turns: Turns;
  readonly engine: Database["engine"];
  /** Hears what was committed. */
  readonly committed: (statements: readonly Statement[]) => void;
}

export interface Statement {
  readonly text: string;
  readonly params: readonly unknown[];
}

/**
 * A process's way to the database. Before each transaction it waits for its turn; the fate that comes with it may end the
 * process or its connection: before it, at one of its statements, before the commit, or after it, when the process does
 * not hear of it any more. Fates: "live", "die at <n>", "die before", "die after", "lost before", "lost after".
 */
export function mortalDatabase(database: Database, { process, turns, engine, committed }: MortalOptions): Database {
  const transaction = async <T>(work: (tx: Queryable) => Promise<T>): Promise<T> => {
    const near = process.step;
    process.step = undefined;
    const fate = await turns.wait({ kind: "transaction", process, near, what: whose() });
    if (fate === "lost before") throw new DatabaseLost();
    const statements: Statement[] = [];
    const dieAt = fate.startsWith("die at ") ? Number(fate.slice(7)) : Infinity;
    const die = (): never => {
      turns.kill(process);
      throw new Dead();
    };
    try {
      const result = await turns.during(() =>
        database.transaction(async (tx) => {
          hear(tx, (statement) => {
            statements.push(statement);
            if (statements.length === dieAt) die();
          });
          const value = await work(tx);
          if (fate === "die before") die();
          return value;
        }),
      );
      committed(statements);
      if (fate === "die after") die();
      if (fate === "lost after") throw new DatabaseLost();
      return result;
    } catch (error) {
      if (process.dead) return await never<T>();
      throw error;
    }
  };
  return { ...database, engine, query: database.query, transaction };
}

type Query = (text: string, params?: unknown[], ...rest: unknown[]) => unknown;

/** Every statement of a transaction, before it is sent. */
function hear(tx: Queryable, told: (statement: Statement) => void): void {
  const { session } = (tx as unknown as { _: { session: { client: { query: Query } } } })._;
  const { client } = session;
  const query: Query = (text, params = [], ...rest) => {
    try {
      told({ text, params });
    } catch (error) {
      return Promise.reject(error);
    }
    return client.query(text, params, ...rest);
  };
  session.client = new Proxy(client, {
    get: (target, key) => (key === "query" ? query : (Reflect.get(target, key) as unknown)),
  });
}

/**
 * Whose transaction it is, for the story that a failing seed tells: the innermost of our functions with a name, and its
 * file. Found when it is read: most stories are not, and stacks are dear.
 */
function whose(): () => string {
  const from = new Error();
  return () => {
    const ours = (from.stack ?? "").split("\n").filter((line) => /\/packages\/(?!db\/)[\w-]+\/src\//.test(line));
    const file = /([\w-]+)\.ts:/.exec(ours[0] ?? "")?.[1] ?? "its own";
    const named = ours
      .map((line) => /at (?:async )?(?:\w+\.)?(\w+) \(/.exec(line)?.[1])
      .find((name) => name !== undefined);
    return named === undefined ? file : `${file}, ${named}`;
  };
}
