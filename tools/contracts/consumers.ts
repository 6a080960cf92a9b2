import type { DescMessage, FileRegistry } from "@bufbuild/protobuf";
import { type Consumer, readConsumers } from "./consumer-files.ts";
import { judgePath, type Verdict } from "./consumer-paths.ts";
import { nearest } from "./nearest.ts";
import { eventTypesOf, subjectOf } from "./registry.ts";

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
  const read = folders.flatMap((folder) => readConsumers(root, folder));
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

function judge({ reads }: Consumer, released: FileRegistry | undefined, now: FileRegistry): Verdict {
  const verdict: Verdict = { findings: [], warnings: [] };
  for (const [type, paths] of Object.entries(reads)) {
    const before = released?.getMessage(type);
    const after = now.getMessage(type);
    if (after === undefined) {
      verdict.findings.push(
        `${type}: ${before === undefined ? noSuchType(type, now) : whereTypeWent(before, released, now)}`,
      );
      continue;
    }
    verdict.findings.push(...typeChanges(before, after, released, now).map((change) => `${type}: ${change}`));
    if (after.deprecated) verdict.warnings.push(`${type}: it is deprecated`);
    for (const path of paths) judgePath(path, before, after, `${type} ${path}`, verdict);
  }
  return verdict;
}

function noSuchType(type: string, now: FileRegistry): string {
  const meant = nearest(
    type,
    eventTypesOf(now).map((event) => event.typeName),
  );
  return `there is no such type${meant === undefined ? "" : `; did you mean ${meant}?`}`;
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
