import type { DescEnum, DescField, DescMessage } from "@bufbuild/protobuf";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";
import { fieldType } from "./field-type.ts";
import { nearest } from "./nearest.ts";

/** What is said of a consumer: a finding makes the gate red, a warning does not. */
export interface Verdict {
  readonly findings: string[];
  readonly warnings: string[];
}

/**
 * Walks a path such as "task.due.date" through both contracts at once, and stops where they part. A path that ends at a
 * message reads all of it.
 * @param released undefined for what is new since the last release: nothing can have changed there.
 */
export function judgePath(
  path: string,
  released: DescMessage | undefined,
  now: DescMessage,
  name: string,
  verdict: Verdict,
): void {
  let before = released;
  let after: DescMessage | undefined = now;
  for (const segment of path.split(".")) {
    if (after === undefined)
      return void verdict.findings.push(`${name}: what stands before "${segment}" has no fields`);
    const was: DescField | undefined = before?.fields.find((field) => field.name === segment);
    const is: DescField | undefined = after.fields.find((field) => field.name === segment);
    if (is === undefined) return void verdict.findings.push(`${name}: ${whereFieldWent(segment, was, after)}`);
    const changes = was === undefined ? [] : fieldChanges(was, is);
    if (changes.length > 0) return void verdict.findings.push(...changes.map((change) => `${name}: ${change}`));
    if (is.deprecated) verdict.warnings.push(`${name}: ${is.parent.name}.${is.name} is deprecated`);
    before = was?.message;
    after = is.message;
  }
  if (before !== undefined && after !== undefined)
    verdict.findings.push(...partChanges(before, after, new Set()).map((change) => `${name}: ${change}`));
}

/** What became of everything in a message that is read as a whole. */
function partChanges(before: DescMessage, after: DescMessage, seen: Set<string>): string[] {
  if (seen.has(after.typeName)) return [];
  seen.add(after.typeName);
  return before.fields.flatMap((was) => {
    const is = after.fields.find((field) => field.name === was.name);
    if (is === undefined) return [whereFieldWent(was.name, was, after)];
    const changes = fieldChanges(was, is);
    if (changes.length > 0 || was.message === undefined || is.message === undefined) return changes;
    return partChanges(was.message, is.message, seen);
  });
}

function whereFieldWent(segment: string, was: DescField | undefined, after: DescMessage): string {
  if (was === undefined) {
    const spelt = after.fields.find((field) => field.jsonName === segment);
    const unknown = `${after.name} has no field "${segment}"`;
    if (spelt !== undefined) return `${unknown}; in the contract it is "${spelt.name}"`;
    const meant = nearest(
      segment,
      after.fields.map((field) => field.name),
    );
    return meant === undefined ? unknown : `${unknown}; did you mean "${meant}"?`;
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
  if (was.jsonName !== is.jsonName) return [`${name} is "${is.jsonName}" in JSON and was "${was.jsonName}"`];
  if (was.oneof?.name !== is.oneof?.name)
    return [`${name} was ${oneofOf(was)} and is ${oneofOf(is)}: whether it is set is told in another way`];
  if (was.presence !== is.presence) return [`${name} ${presenceOf(is)}`];
  return was.enum === undefined || is.enum === undefined ? [] : enumChanges(was.enum, is.enum);
}

const oneofOf = ({ oneof }: DescField): string =>
  oneof === undefined ? "in no oneof" : `in the oneof "${oneof.name}"`;

const presenceOf = ({ presence }: DescField): string =>
  presence === FeatureSet_FieldPresence.IMPLICIT
    ? "does not tell unset from empty any more"
    : "tells unset from empty now";

const enumChanges = (was: DescEnum, is: DescEnum): string[] =>
  was.values.flatMap((value) => {
    const present = is.values.find((each) => each.number === value.number);
    if (present === undefined) return [`the value ${value.name} was removed`];
    return present.name === value.name ? [] : [`the value ${value.name} was renamed to ${present.name}`];
  });
