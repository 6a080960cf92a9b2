import { accessSync, chmodSync, constants, mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { ConfigError } from "./config.ts";

/** The folder that an embedded hub keeps everything in, held by this process alone. */
export interface DataFolder {
  readonly path: string;
  file(name: string): string;
  release(): void;
}

/**
 * Makes the folder (mode 0700) and locks it. PGlite takes no lock, and two processes on one folder destroy it. The lock
 * is SQLite's own on an empty file: the kernel gives it back when the process dies, however it dies, so there is no
 * stale lock to judge.
 * @throws ConfigError when the folder cannot be written, or another hub runs on it.
 */
export function openDataFolder(path: string): DataFolder {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    accessSync(path, constants.W_OK | constants.X_OK);
    chmodSync(path, 0o700);
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code ?? "unknown";
    throw new ConfigError(`the data folder ${path} cannot be written (${why}); set TRIBUTARY_DATA_DIR to one that can`);
  }
  const lock = new DatabaseSync(join(path, "hub.lock"), { timeout: 0 });
  try {
    lock.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
  } catch {
    lock.close();
    throw new ConfigError(
      `another hub is running on the data folder ${path}; stop it, or set TRIBUTARY_DATA_DIR to another folder`,
    );
  }
  return { path, file: (name) => join(path, name), release: () => lock.close() };
}
