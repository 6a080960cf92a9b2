import { asOwner, type Database, migrate, openPglite, run } from "@tributary/db";
import { migrations as integrationTables } from "@tributary/integrations";
import { ensurePartitions, migrations as pipelineTables } from "@tributary/pipeline";
import { INBOX_TABLE } from "@tributary/subscriber";
import { migrations as vaultTables } from "@tributary/vault";

/** One for all seeds: emptied between two of them. */
export interface SimDatabase {
  readonly database: Database;
  /** Makes `now()` this in every transaction that begins from here on. */
  setTime(ms: number): Promise<void>;
  empty(): Promise<void>;
  close(): Promise<void>;
}

/** Every seed begins here. */
export const BEGIN_MS = Date.parse("2026-11-02T08:00:00Z");

/** Found before the real ones, because the search path says so. */
const CLOCK = `
CREATE SCHEMA sim;
GRANT USAGE ON SCHEMA sim TO PUBLIC;
CREATE FUNCTION sim.now() RETURNS timestamptz LANGUAGE sql STABLE
  AS $$ SELECT pg_catalog.current_setting('sim.now')::timestamptz $$;
CREATE FUNCTION sim.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
  AS $$ SELECT pg_catalog.current_setting('sim.now')::timestamptz $$;
SET sim.now = '2026-11-02T08:00:00Z';
SET search_path = sim, pg_catalog, public;
CREATE TABLE sim.effect (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, connection_id uuid NOT NULL,
  sequence bigint NOT NULL, event_id text NOT NULL, type text NOT NULL, object_key text NOT NULL, payload bytea NOT NULL);
${INBOX_TABLE.replace("{table}", "sim.inbox")};`;

const TABLES = `
SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
WHERE schemaname IN ('vault', 'pipeline', 'integrations', 'sim') AND tablename <> 'migration' AND tablename NOT LIKE 'event\\_%'
ORDER BY 1`;

export async function openSimDatabase(): Promise<SimDatabase> {
  const database = await openPglite();
  await database.pglite.exec(CLOCK);
  await migrate(database, [vaultTables, pipelineTables, integrationTables]);
  await ensurePartitions(database, new Date(BEGIN_MS));
  const tables = await asOwner(database, (tx) => run<{ name: string }>(tx, TABLES));
  // Few rows in many tables: deleting them takes a fraction of what truncating takes.
  const deletions = tables.map(({ name }) => `DELETE FROM ${name};`).join("\n");
  const empty = `SET LOCAL ROLE none; SET LOCAL session_replication_role = replica; ${deletions}`;
  let timeMs = BEGIN_MS;
  return {
    database,
    setTime: async (ms) => {
      if (ms === timeMs) return;
      timeMs = ms;
      await database.pglite.query("SELECT set_config('sim.now', $1, false)", [new Date(ms).toISOString()]);
    },
    empty: async () => void (await database.pglite.transaction((tx) => tx.exec(empty))),
    close: () => database.close(),
  };
}
