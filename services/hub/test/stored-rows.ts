import { asOwner, type Database, openPglite, run } from "@tributary/db";
import { join } from "node:path";

const TABLES = `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
  WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1`;

/** Every row of every table of every schema, each as PostgreSQL prints it (bytea as hexadecimal), in a fixed order. */
export function rowsIn(database: Database): Promise<Readonly<Record<string, readonly string[]>>> {
  return asOwner(database, async (tx) => {
    const rows: Record<string, readonly string[]> = {};
    for (const { name } of await run<{ name: string }>(tx, TABLES)) {
      const found = await run<{ row: string }>(tx, `SELECT t::text AS row FROM ${name} AS t ORDER BY 1`);
      rows[name] = found.map(({ row }) => row);
    }
    return rows;
  });
}

/** The rows of an embedded hub's data folder; no hub may run on it. */
export async function storedRows(dataDir: string): Promise<Readonly<Record<string, readonly string[]>>> {
  const database = await openPglite({ dataDir: join(dataDir, "database") });
  return rowsIn(database).finally(() => database.close());
}
