import { type Database, openPostgres, run } from "@tributary/db";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";

/** Something that a thief could carry away: files, or text that was printed. */
export interface Medium {
  readonly name: string;
  /** One at a time: a whole cluster does not fit into memory well. */
  readonly parts: Iterable<{ readonly place: string; readonly bytes: Buffer }>;
}

export const printed = (name: string, text: string): Medium => ({
  name,
  parts: [{ place: name, bytes: Buffer.from(text) }],
});

/** Every file below a folder, but for those below the names. A file that is gone when its turn comes was a temporary one. */
export function folder(name: string, path: string, except: readonly string[] = []): Medium {
  const within = (place: string): boolean => except.some((one) => place === one || place.startsWith(`${one}/`));
  function* parts(): Generator<{ place: string; bytes: Buffer }> {
    for (const entry of readdirSync(path, { recursive: true, withFileTypes: true })) {
      const file = join(entry.parentPath, entry.name);
      const place = relative(path, file);
      if (!entry.isFile() || within(place) || !existsSync(file)) continue;
      yield { place, bytes: readFileSync(file) };
    }
  }
  return { name, parts: { [Symbol.iterator]: parts } };
}

/**
 * What an operator's tools take from a running server: two dumps, a base backup with the log that was written meanwhile,
 * and the server's own folder: tables, write-ahead log, and the log of statements.
 * @param url of the database, with the rights of its owner. @param into an empty folder.
 */
export async function postgresMedia(url: string, into: string): Promise<readonly Medium[]> {
  const database = openPostgres({ url, connectionsMax: 1 });
  const { version, data } = await settled(database).finally(() => database.close());
  const program = (name: string, ...args: string[]): void => {
    const debian = `/usr/lib/postgresql/${version}/bin/${name}`;
    const done = spawnSync(existsSync(debian) ? debian : name, args, { encoding: "utf8", timeout: 120_000 });
    if (done.status !== 0) throw new Error(`${name} failed: ${done.stderr}`);
  };
  const at = (name: string): string => join(into, name);
  program("pg_dump", "-d", url, "-f", at("dump.sql"));
  // Compressed, nothing would be found by looking for it.
  program("pg_dump", "-d", url, "--format=custom", "--compress=0", "-f", at("dump.custom"));
  program("pg_basebackup", "-d", url, "-D", at("backup"), "--wal-method=stream", "--checkpoint=fast", "--no-sync");
  const file = (name: string, path: string): Medium => ({
    name,
    parts: { [Symbol.iterator]: () => [{ place: path, bytes: readFileSync(at(path)) }].values() },
  });
  return [
    file("pg_dump as SQL", "dump.sql"),
    file("pg_dump in its own format", "dump.custom"),
    folder("base backup with its write-ahead log", at("backup"), ["log"]),
    folder("the server's tables", data, ["pg_wal", "log"]),
    folder("the server's write-ahead log", join(data, "pg_wal")),
    folder("the server's log, with every statement and parameter", join(data, "log")),
  ];
}

/** Everything that the server needs in order to be a witness against us. */
export const TALKATIVE_POSTGRES: Readonly<Record<string, string>> = {
  logging_collector: "on",
  log_directory: "log",
  log_statement: "all",
  log_min_messages: "debug1",
  log_parameter_max_length_on_error: "-1",
  // No segment of the write-ahead log is written over before it was read.
  wal_keep_size: "4GB",
  max_wal_size: "8GB",
};

const FACTS = `SELECT split_part(current_setting('server_version'), '.', 1) AS version,
  current_setting('data_directory') AS data`;

async function settled(database: Database): Promise<{ readonly version: string; readonly data: string }> {
  await database.query.execute("CHECKPOINT");
  const [facts] = await run<{ version: string; data: string }>(database.query, FACTS);
  if (facts === undefined) throw new Error("the server tells nothing of itself");
  return facts;
}
