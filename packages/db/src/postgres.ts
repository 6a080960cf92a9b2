import { drizzle } from "drizzle-orm/postgres-js";
import postgres from "postgres";
import { type Database, insideTransaction, type Queryable } from "./database.ts";
import { backoff, listenOn } from "./postgres-listen.ts";
import { HUB_ROLE } from "./roles.ts";

export interface PostgresOptions {
  /** `postgres://user:password@host:port/database` */
  readonly url: string;
  /** Connections at most. Default 10. */
  readonly connectionsMax?: number;
}

/** PostgreSQL 15 or newer, by URL. Connects on first use. */
export function openPostgres(options: PostgresOptions): Database {
  let pool = openPool(options);
  const listeners = new Set<() => Promise<void>>();
  return {
    engine: "postgres",
    get query() {
      return pool.query;
    },
    transaction: (work) => insideTransaction(() => pool.query.transaction((tx) => work(tx as unknown as Queryable))),
    listen: async (channel, onNotify) => {
      const stop = await listenOn(options.url, channel, onNotify);
      listeners.add(stop);
      return async () => {
        listeners.delete(stop);
        await stop();
      };
    },
    confine: async () => {
      if (pool.role === HUB_ROLE) return;
      const before = pool;
      pool = openPool(options, HUB_ROLE);
      await before.sql.end({ timeout: 5 });
    },
    close: async () => {
      await Promise.all([...listeners].map((stop) => stop()));
      await pool.sql.end({ timeout: 5 });
    },
  };
}

/** @param role what every connection speaks as from its first statement; RESET ROLE leads back to it, not to the login. */
function openPool(options: PostgresOptions, role?: string) {
  const sql = postgres(options.url, {
    max: options.connectionsMax ?? 10,
    onnotice: () => {},
    backoff,
    types: { bigint: postgres.BigInt },
    connection: { application_name: "tributary", TimeZone: "UTC", ...(role === undefined ? {} : { role }) },
  });
  return { sql, role, query: drizzle(sql) as unknown as Queryable };
}
