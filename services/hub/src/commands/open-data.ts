import { migrations as authTables } from "@tributary/auth";
import { type Database, migrate, openPglite, openPostgres } from "@tributary/db";
import { migrations as integrationTables } from "@tributary/integrations";
import { migrations as pipelineTables } from "@tributary/pipeline";
import { migrations as vaultTables } from "@tributary/vault";
import { join } from "node:path";
import { type Config, forgetSecrets, readConfig } from "../config.ts";
import { openDataFolder } from "../data-folder.ts";
import { type CommandContext, CommandFailure, EXIT } from "./command-line.ts";

/** The installation's data, as a command works on it. */
export interface OpenData {
  readonly config: Config;
  readonly database: Database;
  /** A file of the data folder. */
  file(name: string): string;
}

/**
 * Opens the data for the length of one command. Embedded, the folder's lock decides: while a hub runs on it, a command
 * is refused. On PostgreSQL a command works beside running hubs.
 * @throws ConfigError for what the operator has to change · CommandFailure with code 4 when PostgreSQL is not there.
 */
export async function withData<T>(context: CommandContext, work: (data: OpenData) => Promise<T>): Promise<T> {
  const config = readConfig(context.env, context.integrations);
  forgetSecrets(context.env);
  const file = (name: string): string => join(config.dataDir, name);
  const folder = config.databaseUrl === undefined ? openDataFolder(config.dataDir) : undefined;
  try {
    const database = await openDatabase(config, file);
    try {
      await migrate(database, [authTables, vaultTables, pipelineTables, integrationTables]);
      return await work({ config, database, file });
    } finally {
      await database.close();
    }
  } finally {
    folder?.release();
  }
}

async function openDatabase(config: Config, file: (name: string) => string): Promise<Database> {
  if (config.databaseUrl === undefined) return openPglite({ dataDir: file("database") });
  const database = openPostgres({ url: config.databaseUrl, connectionsMax: 4, waitSeconds: 2 });
  try {
    await database.query.execute("SELECT 1");
    return database;
  } catch {
    await database.close();
    throw new CommandFailure(EXIT.unreachable, "PostgreSQL at DATABASE_URL does not answer");
  }
}
