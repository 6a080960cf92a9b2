import type { FileRegistry } from "@bufbuild/protobuf";
import { eventTypesOf, filesOf, isPersonal, subjectOf } from "./registry.ts";

/**
 * What buf's breaking rules do not look at, because it stands in options of ours: where an event is published, and
 * that a field holds personal data. Whoever filters by subject or redacts by mark relies on both.
 */
export function checkPromises(released: FileRegistry, now: FileRegistry): string[] {
  return [...subjectFindings(released, now), ...markFindings(released, now), ...sharedSubjects(now)];
}

function subjectFindings(released: FileRegistry, now: FileRegistry): string[] {
  return eventTypesOf(released).flatMap((event) => {
    const present = now.getMessage(event.typeName);
    const [before, after] = [subjectOf(released, event), present === undefined ? "" : subjectOf(now, present)];
    // A message that is gone is buf's finding.
    if (present === undefined || before === after) return [];
    const what = after === "" ? "is no event any more" : `is published as "${after}"`;
    return [`${event.typeName}: ${what}; it was released as "${before}" [breaks what was released]`];
  });
}

function markFindings(released: FileRegistry, now: FileRegistry): string[] {
  return filesOf(released)
    .flatMap((file) => file.messages)
    .flatMap((message) => message.fields.filter((field) => isPersonal(released, field)))
    .flatMap((field) => {
      const present = now.getMessage(field.parent.typeName)?.fields.find((each) => each.number === field.number);
      return present === undefined || isPersonal(now, present)
        ? []
        : [`${field.parent.typeName}.${field.name}: no longer marked as personal data; logs would show it`];
    });
}

/** Two types on one subject cannot be told apart by a filter; two versions of one type may share it, as `ce-type` differs. */
function sharedSubjects(now: FileRegistry): string[] {
  const first = new Map<string, string>();
  return eventTypesOf(now).flatMap((event) => {
    const subject = subjectOf(now, event);
    if (!/^[a-z][a-z0-9_]*\.[a-z]+$/.test(subject))
      return [`${event.typeName}: "${subject}" is not "<object>.<verb>" in lower-case letters`];
    const key = `${event.typeName.startsWith("tributary.system.") ? "sys" : "evt"} ${subject}`;
    const other = first.get(key);
    first.set(key, other ?? event.typeName);
    return other === undefined || unversioned(other) === unversioned(event.typeName)
      ? []
      : [`${event.typeName}: shares the subject "${subject}" with ${other}`];
  });
}

const unversioned = (typeName: string): string => typeName.replace(/\.v\d+\./, ".");
