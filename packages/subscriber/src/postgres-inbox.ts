import type { Inbox } from "./inbox.ts";

/** The table that {@link postgresInbox} writes to, for your own migrations. `{table}` stands for its name. */
export const INBOX_TABLE = `CREATE TABLE IF NOT EXISTS {table} (
  consumer text NOT NULL,
  key text NOT NULL,
  handled_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (consumer, key)
)`;

/** A transaction of `postgres` (postgres.js), or of `pg` and whatever has its `query`. */
export type PostgresTx =
  | { unsafe(text: string, parameters: never[]): PromiseLike<Iterable<unknown>> }
  | { query(text: string, parameters: unknown[]): Promise<{ readonly rows: readonly unknown[] }> };

export interface PostgresInboxOptions<Tx extends PostgresTx> {
  /** The subscription's name: two consumers may share the table. */
  readonly consumer: string;
  /** Runs `work` in a transaction: commits when it resolves, rolls back when it throws. `(work) => sql.begin(work)`. */
  readonly transaction: <T>(work: (tx: Tx) => Promise<T>) => Promise<T>;
  /** The table, with its schema if it has one: letters, digits, "_" and one ".". Default "tributary_inbox". */
  readonly table?: string;
}

export interface PostgresInbox<Tx> extends Inbox<Tx> {
  /** Makes the table when it is missing. */
  migrate(): Promise<void>;
  /**
   * Forgets what was handled longer ago. Stream and replay reach 30 days back by default: less than that, and an event
   * delivered late has its effect twice.
   * @param days at least 31. @returns how many rows went.
   */
  forget(days: number): Promise<number>;
}

/**
 * An {@link Inbox} in the PostgreSQL that your effects are written to:
 *
 * ```ts
 * const inbox = postgresInbox({ consumer: "billing", transaction: (work) => sql.begin(work) });
 * await inbox.migrate();
 * subscribe({ url, name: "billing", inbox }).on(TaskCompletedSchema, async ({ task }, { tx }) => {
 *   await tx`INSERT INTO invoice_line (task) VALUES (${task?.id ?? ""})`;
 * });
 * ```
 *
 * Two processes that handle one event at a time wait for each other in the database, and one of them finds it done.
 * @throws TypeError for a table name of another kind.
 */
export function postgresInbox<Tx extends PostgresTx>(options: PostgresInboxOptions<Tx>): PostgresInbox<Tx> {
  const { consumer, transaction, table = "tributary_inbox" } = options;
  if (!/^[A-Za-z_]\w*(\.[A-Za-z_]\w*)?$/.test(table)) throw new TypeError("table is no name of a table");
  const record = `INSERT INTO ${table} (consumer, key) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING key`;
  const forget = `DELETE FROM ${table} WHERE consumer = $1 AND handled_at < now() - make_interval(days => $2) RETURNING key`;
  return {
    once: (key, effect) =>
      transaction(async (tx) => {
        if ((await run(tx, record, [consumer, key])).length === 0) return false;
        await effect(tx);
        return true;
      }),
    migrate: () => transaction(async (tx) => void (await run(tx, INBOX_TABLE.replace("{table}", table), []))),
    forget: (days) => {
      if (!(days >= 31)) throw new RangeError("an inbox remembers 31 days at least");
      return transaction(async (tx) => (await run(tx, forget, [consumer, Math.floor(days)])).length);
    },
  };
}

async function run(tx: PostgresTx, text: string, parameters: unknown[]): Promise<readonly unknown[]> {
  if ("unsafe" in tx) return [...(await tx.unsafe(text, parameters as never[]))];
  return (await tx.query(text, parameters)).rows;
}
