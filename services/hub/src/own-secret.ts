import { randomBytes } from "node:crypto";
import { linkSync, readFileSync, rmSync, writeFileSync } from "node:fs";

/**
 * A secret that this installation makes for itself at its first start and keeps in a file of its data folder, mode 0600.
 * Written whole before it gets its name, so that it is never half there.
 */
export function ownSecret(path: string): string {
  const existing = read(path);
  if (existing !== undefined) return existing;
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, randomBytes(32).toString("base64url"), { mode: 0o600, flush: true });
  try {
    linkSync(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    rmSync(temporary, { force: true });
  }
  const made = read(path);
  if (made === undefined) throw new Error(`the secret ${path} could not be written`);
  return made;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim() || undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
