import { sql } from "drizzle-orm";
import { type MigrationConfig, readMigrationFiles } from "drizzle-orm/migrator";
import { asOwner } from "./as-owner.ts";
import { type Database, type Queryable, run } from "./database.ts";
import { ensureRoles } from "./roles.ts";
import { rowSecurityFaults } from "./row-security.ts";

/** A package's own tables: its schema, and the folder of its migrations (Drizzle's format: `meta/_journal.json` and SQL). */
export interface Migrations {
  readonly schema: string;
  readonly folder: string;
}

/**
 * Brings every package's tables up to date, each package in one transaction, in the order given. Several hubs may start
 * at once: an advisory lock lets one of them work. Then gives the owner's rights away: from here on a query needs
 * `withOrganization` or `acrossOrganizations`.
 * @returns how many migrations were applied.
 * @throws RowSecurityError when a table could be read past its organisation.
 */
export async function migrate(database: Database, packages: readonly Migrations[]): Promise<number> {
  let applied = 0;
  await owned(database, ensureRoles);
  for (const { schema, folder } of packages) {
    const config: MigrationConfig = { migrationsFolder: folder };
    const migrations = readMigrationFiles(config);
    applied += await owned(database, async (tx) => {
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
  const faults = await owned(database, (tx) =>
    rowSecurityFaults(
      tx,
      packages.map(({ schema }) => schema),
    ),
  );
  if (faults.length > 0) throw new RowSecurityError(faults);
  await database.confine();
  return applied;
}

/** Nothing may be served from such tables. `faults` has a line for each. */
export class RowSecurityError extends Error {
  override readonly name = "RowSecurityError";
  readonly faults: readonly string[];
  constructor(faults: readonly string[]) {
    super(`row-level security is not complete: ${faults.join("; ")}`);
    this.faults = faults;
  }
}

/** One after the other, with the rights of whoever the login is. */
const owned = <T>(database: Database, work: (tx: Queryable) => Promise<T>): Promise<T> =>
  asOwner(database, async (tx) => {
    await run(tx, "SELECT pg_advisory_xact_lock(hashtext('tributary.migrate'))");
    return work(tx);
  });
