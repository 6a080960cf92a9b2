import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, isAbsolute, join } from "node:path";
import type { DescEnum, DescField, DescMessage, FileRegistry } from "@bufbuild/protobuf";
import { byText } from "../tree.ts";
import { fieldType } from "./field-type.ts";
import { eventTypesOf, subjectOf } from "./registry.ts";

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

export interface ConsumerResult {
  readonly consumers: number;
  /** What would hurt a consumer. */
  readonly findings: readonly string[];
  /** What still works and will not for ever. */
  readonly warnings: readonly string[];
}

/**
 * Holds the contracts as they are now against what subscribers say they read, and names the consumer, its owner and the
 * field where they do not fit.
 * @param released the contracts of the last release; what changed since then is told as a change.
 * @param folders with one file a consumer, relative to the root or absolute.
 */
export function checkConsumers(
  root: string,
  released: FileRegistry | undefined,
  now: FileRegistry,
  folders: readonly string[],
): ConsumerResult {
  const read = folders.flatMap((folder) => readFolder(root, folder));
  const findings = read.filter((each) => typeof each === "string");
  const warnings: string[] = [];
  for (const each of read.filter((one) => typeof one !== "string")) {
    const said = judge(each, released, now);
    const by = `${each.file}: ${each.consumer} (owner: ${each.owner}) reads`;
    findings.push(...said.findings.map((finding) => `${by} ${finding}`));
    warnings.push(...said.warnings.map((warning) => `${by} ${warning}`));
  }
  return { consumers: read.length, findings, warnings };
}

/** Each file as a consumer, or as a sentence that says why it is none. */
function readFolder(root: string, folder: string): (Consumer | string)[] {
  const path = isAbsolute(folder) ? folder : join(root, folder);
  if (!existsSync(path)) return folder === CONSUMERS ? [] : [`${folder}: there is no such folder`];
  const names = readdirSync(path).filter((name) => name.endsWith(".json"));
  return names.toSorted(byText).map((name) => {
    const file = folder === CONSUMERS ? `${folder}/${name}` : join(path, name);
    try {
      return consumerOf(file, JSON.parse(readFileSync(join(path, name), "utf8")));
    } catch (error) {
      return `${file}: ${error instanceof Error ? error.message : "cannot be read"}`;
    }
  });
}

/** @throws Error that names what is missing; a misspelt key is an error too, for it would read nothing. */
function consumerOf(file: string, json: unknown): Consumer {
  if (typeof json !== "object" || json === null) throw new Error("is not an object");
  const { consumer, owner, reads, ...rest } = json as Record<string, unknown>;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) throw new Error(`"${unknown}" is not a key of this format`);
  if (typeof consumer !== "string" || consumer !== basename(file, ".json"))
    throw new Error(`"consumer" is to be the file's name`);
  if (typeof owner !== "string" || owner.trim() === "") throw new Error(`"owner" is to say whom to ask`);
  if (typeof reads !== "object" || reads === null || Array.isArray(reads))
    throw new Error(`"reads" is to be an object: event type to a list of fields`);
  for (const [type, paths] of Object.entries(reads))
    if (!Array.isArray(paths) || !paths.every((path) => typeof path === "string"))
      throw new Error(`"reads" of ${type} is to be a list of field names`);
  return { file, consumer, owner, reads: reads as Consumer["reads"] };
}

interface Verdict {
  readonly findings: string[];
  readonly warnings: string[];
}

function judge({ reads }: Consumer, released: FileRegistry | undefined, now: FileRegistry): Verdict {
  const verdict: Verdict = { findings: [], warnings: [] };
  for (const [type, paths] of Object.entries(reads)) {
    const before = released?.getMessage(type);
    const after = now.getMessage(type);
    if (after === undefined) {
      verdict.findings.push(
        `${type}: ${before === undefined ? "there is no such type" : whereTypeWent(before, released, now)}`,
      );
      continue;
    }
    verdict.findings.push(...typeChanges(before, after, released, now).map((change) => `${type}: ${change}`));
    if (after.deprecated) verdict.warnings.push(`${type}: it is deprecated`);
    for (const path of paths) judgePath(path, before, after, `${type} ${path}`, verdict);
  }
  return verdict;
}

function whereTypeWent(before: DescMessage, released: FileRegistry | undefined, now: FileRegistry): string {
  const events = eventTypesOf(now);
  const moved = events.find(
    (event) => event.name === before.name && released?.getMessage(event.typeName) === undefined,
  );
  if (moved !== undefined) return `it was moved to ${moved.typeName}`;
  const subject = released === undefined ? "" : subjectOf(released, before);
  const renamed = events.find(
    (event) => subjectOf(now, event) === subject && event.file.proto.package === before.file.proto.package,
  );
  return renamed === undefined ? "it was removed" : `it was renamed to ${renamed.typeName}`;
}

function typeChanges(
  before: DescMessage | undefined,
  after: DescMessage,
  released: FileRegistry | undefined,
  now: FileRegistry,
): string[] {
  const subject = subjectOf(now, after);
  if (subject === "") return ["it is not an event"];
  if (before === undefined || released === undefined) return [];
  const was = subjectOf(released, before);
  return [
    ...(was === subject ? [] : [`it was published as "${was}" and is as "${subject}"`]),
    ...(before.file.name === after.file.name
      ? []
      : [`it was moved from ${before.file.name}.proto to ${after.file.name}.proto`]),
  ];
}

/** Walks a path such as "task.due.date" through both contracts at once, and stops where they part. */
function judgePath(
  path: string,
  released: DescMessage | undefined,
  now: DescMessage,
  name: string,
  { findings, warnings }: Verdict,
): void {
  let before = released;
  let after: DescMessage | undefined = now;
  for (const segment of path.split(".")) {
    if (after === undefined) return void findings.push(`${name}: what stands before "${segment}" has no fields`);
    const was: DescField | undefined = before?.fields.find((field) => field.name === segment);
    const is: DescField | undefined = after.fields.find((field) => field.name === segment);
    if (is === undefined) return void findings.push(`${name}: ${whereFieldWent(segment, was, after)}`);
    const changes = was === undefined ? [] : fieldChanges(was, is);
    if (changes.length > 0) return void findings.push(...changes.map((change) => `${name}: ${change}`));
    if (is.deprecated) warnings.push(`${name}: ${is.parent.name}.${is.name} is deprecated`);
    before = was?.message;
    after = is.message;
  }
}

function whereFieldWent(segment: string, was: DescField | undefined, after: DescMessage): string {
  if (was === undefined) {
    const meant = after.fields.find((field) => field.jsonName === segment);
    return meant === undefined
      ? `${after.name} has no field "${segment}"`
      : `${after.name} has no field "${segment}"; in the contract it is "${meant.name}"`;
  }
  const successor = after.fields.find((field) => field.number === was.number);
  return successor === undefined
    ? `${after.name}.${segment} was removed`
    : `${after.name}.${segment} was renamed to "${successor.name}"`;
}

function fieldChanges(was: DescField, is: DescField): string[] {
  const [before, after] = [fieldType(was), fieldType(is)];
  const name = `${is.parent.name}.${is.name}`;
  if (before !== after) return [`the type of ${name} was changed from ${before} to ${after}`];
  if (was.number !== is.number) return [`${name} was renumbered from ${was.number} to ${is.number}`];
  return was.enum === undefined || is.enum === undefined ? [] : enumChanges(was.enum, is.enum);
}

const enumChanges = (was: DescEnum, is: DescEnum): string[] =>
  was.values.flatMap((value) => {
    const present = is.values.find((each) => each.number === value.number);
    if (present === undefined) return [`the value ${value.name} was removed`];
    return present.name === value.name ? [] : [`the value ${value.name} was renamed to ${present.name}`];
  });
