import { sql } from "drizzle-orm";
import { type MigrationConfig, readMigrationFiles } from "drizzle-orm/migrator";
import { type Database, run } from "./database.ts";

/** A package's own tables: its schema, and the folder of its migrations (Drizzle's format: `meta/_journal.json` and SQL). */
export interface Migrations {
  readonly schema: string;
  readonly folder: string;
}

/**
 * Brings every package's tables up to date, each package in one transaction, in the order given. Several hubs may start
 * at once: an advisory lock lets one of them work.
 * @returns how many migrations were applied.
 */
export async function migrate(database: Database, packages: readonly Migrations[]): Promise<number> {
  let applied = 0;
  for (const { schema, folder } of packages) {
    const config: MigrationConfig = { migrationsFolder: folder };
    const migrations = readMigrationFiles(config);
    applied += await database.transaction(async (tx) => {
      await run(tx, "SELECT pg_advisory_xact_lock(hashtext('tributary.migrate'))");
      await tx.execute(sql`CREATE SCHEMA IF NOT EXISTS ${sql.identifier(schema)}`);
      await tx.execute(
        sql`CREATE TABLE IF NOT EXISTS ${sql.identifier(schema)}.migration (hash text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())`,
      );
      const known = await run<{ hash: string }>(tx, `SELECT hash FROM "${schema}".migration`);
      const done = new Set(known.map((row) => row.hash));
      const missing = migrations.filter((migration) => !done.has(migration.hash));
      for (const migration of missing) {
        for (const statement of migration.sql) await tx.execute(sql.raw(statement));
        await tx.execute(sql`INSERT INTO ${sql.identifier(schema)}.migration (hash) VALUES (${migration.hash})`);
      }
      return missing.length;
    });
  }
  return applied;
}
