import { drizzle } from "drizzle-orm/postgres-js";
import postgres from "postgres";
import { type Database, insideTransaction, type Queryable } from "./database.ts";

export interface PostgresOptions {
  /** `postgres://user:password@host:port/database` */
  readonly url: string;
  /** Connections at most. Default 10. */
  readonly connectionsMax?: number;
}

/** PostgreSQL 15 or newer, by URL. Connects on first use. */
export function openPostgres(options: PostgresOptions): Database {
  const sql = postgres(options.url, {
    max: options.connectionsMax ?? 10,
    onnotice: () => {},
    types: { bigint: postgres.BigInt },
    connection: { application_name: "tributary", TimeZone: "UTC" },
  });
  const query = drizzle(sql) as unknown as Queryable;
  return {
    engine: "postgres",
    query,
    transaction: (work) => insideTransaction(() => query.transaction((tx) => work(tx as unknown as Queryable))),
    listen: async (channel, onNotify) => {
      const subscription = await sql.listen(channel, onNotify);
      return () => subscription.unlisten();
    },
    close: () => sql.end({ timeout: 5 }),
  };
}
