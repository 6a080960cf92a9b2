import { drizzle } from "drizzle-orm/postgres-js";
import postgres from "postgres";
import { type Database, insideTransaction, type Queryable } from "./database.ts";
import { backoff, listenOn } from "./postgres-listen.ts";
import { HUB_ROLE } from "./roles.ts";
import { asUnavailable } from "./unavailable.ts";

export interface PostgresOptions {
  /** `postgres://user:password@host:port/database` */
  readonly url: string;
  /** Connections at most. Default 10. */
  readonly connectionsMax?: number;
  /**
   * How long a statement waits for a server that refuses connections, because it is not up, starts or shuts down, before
   * it is refused itself. Default 10: a server that restarts is ridden out. `connect_timeout` in the URL goes before it.
   */
  readonly waitSeconds?: number;
  /** Told of each attempt that the server refused and that is made again, with the reason's code. */
  readonly onRefused?: (code: string) => void;
}

const WAIT_SECONDS = 10;

/** PostgreSQL 15 or newer, by URL. Connects on first use. */
export function openPostgres(options: PostgresOptions): Database {
  let pool = openPool(options);
  const listeners = new Set<() => Promise<void>>();
  return {
    engine: "postgres",
    get query() {
      return pool.query;
    },
    transaction: (work) =>
      insideTransaction(() => pool.query.transaction((tx) => work(tx as unknown as Queryable))).catch(
        (error: unknown) => Promise.reject(asUnavailable(error)),
      ),
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
    ...(options.url.includes("connect_timeout=") ? {} : { connect_timeout: options.waitSeconds ?? WAIT_SECONDS }),
    onrefused: (error: { readonly code?: string }) => options.onRefused?.(error.code ?? "no answer"),
    connection: { application_name: "tributary", TimeZone: "UTC", ...(role === undefined ? {} : { role }) },
  } as Parameters<typeof postgres>[1]);
  return { sql, role, query: drizzle(sql) as unknown as Queryable };
}
