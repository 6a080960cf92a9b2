import { accessSync, chmodSync, constants, mkdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
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
    makeFolder(path);
    accessSync(path, constants.W_OK | constants.X_OK);
    chmodSync(path, 0o700);
    const lock = takeLock(path);
    return { path, file: (name) => join(path, name), release: () => lock.close() };
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const why = (error as NodeJS.ErrnoException).code ?? "unknown";
    throw new ConfigError(`the data folder ${path} cannot be written (${why}); set TRIBUTARY_DATA_DIR to one that can`);
  }
}

/** As `mkdir -p`. Node's own never returns where the system will not have a folder in one that exists, as in /proc. */
function makeFolder(path: string): void {
  if (isFolder(path)) return;
  if (path !== dirname(path)) makeFolder(dirname(path));
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    // Another hub that starts on it has made it meanwhile: the lock decides between the two.
    if (!isFolder(path)) throw error;
  }
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

const SQLITE_BUSY = 5;

function takeLock(path: string): DatabaseSync {
  const lock = new DatabaseSync(join(path, "hub.lock"), { timeout: 0 });
  try {
    lock.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    lock.close();
    if ((error as { errcode?: number }).errcode !== SQLITE_BUSY) throw error;
    throw new ConfigError(
      `another hub is running on the data folder ${path}; stop it, or set TRIBUTARY_DATA_DIR to another folder`,
    );
  }
}
