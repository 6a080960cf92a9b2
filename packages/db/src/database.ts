import { AsyncLocalStorage } from "node:async_hooks";
import type { PgDatabase, PgQueryResultHKT } from "drizzle-orm/pg-core";

/**
 * One face over PostgreSQL and PGlite. Drizzle for ordinary queries; {@link run} for the few statements that are SQL
 * on purpose. `int8` arrives as bigint, `timestamptz` as text and `bytea` as Uint8Array from both.
 */
export interface Database {
  readonly engine: "postgres" | "pglite";
  /** Queries outside a transaction. */
  readonly query: Queryable;
  /**
   * READ COMMITTED. Rolls back when `work` throws, or a statement failed. PGlite has one connection: transactions run one
   * after the other. PostgreSQL takes a connection, and begins, at the first statement: BEGIN goes out in its packet.
   * @throws DatabaseUnavailable when PostgreSQL was away, ended the session, or had no means to spare.
   */
  transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T>;
  /** Calls back for every NOTIFY on a channel until the returned function is called. Missed while disconnected: poll as well. */
  listen(channel: string, onNotify: (payload: string) => void): Promise<() => Promise<void>>;
  /**
   * Gives the owner's rights away, on every connection and for good: afterwards a query outside `withOrganization` and
   * `acrossOrganizations` is refused. `migrate` calls it.
   */
  confine(): Promise<void>;
  close(): Promise<void>;
}

/** A Drizzle session: the pool's own, or a transaction's. */
export type Queryable = PgDatabase<PgQueryResultHKT>;

const scope = new AsyncLocalStorage<true>();

/** Wraps a transaction so that {@link assertOutsideTransaction} can tell. */
export const insideTransaction = <T>(work: () => Promise<T>): Promise<T> => scope.run(true, work);

/**
 * Guards what must not happen while rows are locked: a call to the vault or to a provider. On PGlite it would also
 * wait for itself for ever.
 * @throws Error (a programmer's error) inside a transaction.
 */
export function assertOutsideTransaction(what: string): void {
  if (scope.getStore() === true) throw new Error(`${what} inside a database transaction`);
}

interface RawClient {
  unsafe?(text: string, params: readonly unknown[], options: RunOptions): Promise<Iterable<unknown>>;
  query?(text: string, params: readonly unknown[]): Promise<{ rows: unknown[] }>;
}

/** `ahead` and `last` are of our patch of the driver, inside a transaction. */
interface RunOptions {
  readonly prepare: true;
  readonly ahead?: true;
  readonly last?: true;
}

/**
 * Runs one SQL statement as it stands, as a named prepared statement where the driver has them, in the session's own
 * transaction. `T` is the caller's word for a row's shape. JSON goes in as text and comes out parsed.
 */
export const run = <T>(on: Queryable, text: string, params: readonly unknown[] = []): Promise<T[]> =>
  runWith<T>(on, text, params, { prepare: true });

/**
 * Runs a statement whose rows nobody reads in one round trip with the one that follows it in the transaction, which is
 * not run when this fails and is refused with this one's error. Parameters are text. On PGlite it is run at once.
 */
export async function runAhead(tx: Queryable, text: string, params: readonly unknown[] = []): Promise<void> {
  await runWith(tx, text, params, { prepare: true, ahead: true });
}

/**
 * Runs a transaction's last statement in one round trip with its COMMIT; as {@link run} on PGlite, without parameters, and
 * inside a nested transaction. When it fails nothing is committed, and its error is thrown. Once it has resolved the
 * transaction is committed: another statement is refused, and what `work` throws afterwards undoes nothing any more.
 * So it is for a statement whose result is not judged before the end.
 */
export const runLast = <T>(tx: Queryable, text: string, params: readonly unknown[] = []): Promise<T[]> =>
  runWith<T>(tx, text, params, { prepare: true, last: true });

async function runWith<T>(on: Queryable, text: string, params: readonly unknown[], options: RunOptions): Promise<T[]> {
  const { client } = (on as unknown as { _: { session: { client: RawClient } } })._.session;
  if (client.unsafe !== undefined) return [...(await client.unsafe(text, params, options))] as T[];
  if (client.query !== undefined) return (await client.query(text, params)).rows as T[];
  throw new Error("unknown database driver");
}
