import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, isAbsolute, join } from "node:path";
import { byText } from "../tree.ts";

/** Where a consumer of this repository, or of another by pull request, commits what it reads. */
export const CONSUMERS = "proto/consumers";

/** What a subscriber reads: the contents of `<consumer>.json`. docs/other-languages.md explains it to its author. */
export interface Consumer {
  /** The file, as findings name it. */
  readonly file: string;
  readonly consumer: string;
  /** Whom to ask before something is changed that the consumer reads. */
  readonly owner: string;
  /** By full name of an event type: paths of the fields read, by their names in the `.proto` file. */
  readonly reads: Readonly<Record<string, readonly string[]>>;
}

/**
 * Each file of a folder as a consumer, or as a sentence that says why it is none.
 * @param folder relative to the root or absolute. Only the repository's own may be missing or empty: a folder that
 * somebody names and that says nothing is a slip.
 */
export function readConsumers(root: string, folder: string): (Consumer | string)[] {
  const path = isAbsolute(folder) ? folder : join(root, folder);
  const own = folder === CONSUMERS;
  if (!existsSync(path)) return own ? [] : [`${folder}: there is no such folder`];
  if (!statSync(path).isDirectory()) return [`${folder}: is not a folder; name the one that it lies in`];
  const names = readdirSync(path).filter((name) => !name.startsWith(".") && name !== "README.md");
  if (names.length === 0 && !own) return [`${folder}: holds no <consumer>.json`];
  return names.toSorted(byText).map((name) => {
    const file = own ? `${folder}/${name}` : join(path, name);
    if (!name.endsWith(".json")) return `${file}: is not read; a consumer is a file <consumer>.json`;
    try {
      return consumerOf(file, JSON.parse(readFileSync(join(path, name), "utf8")));
    } catch (error) {
      return `${file}: ${error instanceof Error ? error.message : "cannot be read"}`;
    }
  });
}

/** @throws Error that names what is missing; a misspelt key is an error too, for it would read nothing. */
function consumerOf(file: string, json: unknown): Consumer {
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw new Error("is not an object");
  const { consumer, owner, reads, ...rest } = json as Record<string, unknown>;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) throw new Error(`"${unknown}" is not a key of this format`);
  if (typeof consumer !== "string" || consumer !== basename(file, ".json"))
    throw new Error(`"consumer" is to be the file's name`);
  if (!/^[a-z0-9][a-z0-9-]{0,63}$/.test(consumer))
    throw new Error(`"consumer" is the name that it subscribes by: a-z, 0-9 and hyphens, at most 64`);
  if (typeof owner !== "string" || owner.trim() === "") throw new Error(`"owner" is to say whom to ask`);
  if (typeof reads !== "object" || reads === null || Array.isArray(reads))
    throw new Error(`"reads" is to be an object: event type to a list of fields`);
  if (Object.keys(reads).length === 0)
    throw new Error(`"reads" names no event; a consumer that reads none needs no file`);
  for (const [type, paths] of Object.entries(reads))
    if (!Array.isArray(paths) || !paths.every((path) => typeof path === "string"))
      throw new Error(`"reads" of ${type} is to be a list of field names`);
  return { file, consumer, owner, reads: reads as Consumer["reads"] };
}
