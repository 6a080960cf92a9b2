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
  /** READ COMMITTED. Rolls back when `work` throws. PGlite has one connection: transactions run one after the other. */
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
  unsafe?(text: string, params: readonly unknown[], options: { prepare: boolean }): Promise<Iterable<unknown>>;
  query?(text: string, params: readonly unknown[]): Promise<{ rows: unknown[] }>;
}

/**
 * Runs one SQL statement as it stands, as a named prepared statement where the driver has them, in the session's own
 * transaction. `T` is the caller's word for a row's shape. JSON goes in as text and comes out parsed.
 */
export async function run<T>(on: Queryable, text: string, params: readonly unknown[] = []): Promise<T[]> {
  const { client } = (on as unknown as { _: { session: { client: RawClient } } })._.session;
  if (client.unsafe !== undefined) return [...(await client.unsafe(text, params, { prepare: true }))] as T[];
  if (client.query !== undefined) return (await client.query(text, params)).rows as T[];
  throw new Error("unknown database driver");
}
