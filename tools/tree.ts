import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { command } from "./command.ts";

/** The checkout that these tools belong to. */
export const repositoryRoot: string = join(dirname(fileURLToPath(import.meta.url)), "..");

/** What the checks found. Green means no findings; `seen` says what was looked at, so that "nothing" is noticed. */
export interface CheckResult {
  readonly seen: string;
  readonly findings: readonly string[];
  /** Said aloud, and no reason to be red. */
  readonly warnings?: readonly string[];
}

const LEFT_OUT = new Set(["node_modules", ".git", ".data", "dist", "coverage"]);

/**
 * Files that are in the repository or would be with the next `git add`, relative to the root, sorted. Outside a git
 * checkout (an unpacked archive, a copy made by a test) every file below the root, without what is never committed.
 */
export async function sourceFiles(root: string): Promise<readonly string[]> {
  const inRepository = await command("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: root,
    env: { GIT_CEILING_DIRECTORIES: dirname(root) },
  });
  const names =
    inRepository.code === 0 ? inRepository.output.split("\0").filter((name) => name !== "") : walk(root, "");
  return [...new Set(names)].toSorted(byText);
}

/** The text of a source file; undefined for a binary file, and for one that was deleted and not yet committed. */
export function textOf(root: string, file: string): string | undefined {
  try {
    const bytes = readFileSync(join(root, file));
    return bytes.includes(0) ? undefined : bytes.toString("utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT" || (error as NodeJS.ErrnoException).code === "EISDIR")
      return undefined;
    throw error;
  }
}

/** Code point order, the same on every machine. */
export const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Written by a generator; nobody's style. */
export const isGenerated = (file: string): boolean => /(^|\/)gen\//.test(file);

function walk(root: string, folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    if (LEFT_OUT.has(entry.name)) return [];
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    return entry.isDirectory() ? walk(root, path) : entry.isFile() ? [path] : [];
  });
}
