import type { DescExtension, DescMessage, FileRegistry } from "@bufbuild/protobuf";
import { placeOf } from "./comments.ts";
import { fieldType } from "./field-type.ts";
import { createWhoIsHurt } from "./harm.ts";
import { eventTypesOf, filesOf, isPersonal, subjectOf } from "./registry.ts";

/**
 * What buf's breaking rules do not look at, because it stands in options of ours: where an event is published, that a
 * field holds personal data, and the options themselves. Whoever filters by subject, redacts by mark or reads our
 * options from the descriptors relies on them.
 */
export function checkPromises(released: FileRegistry, now: FileRegistry): string[] {
  return [
    ...subjectFindings(released, now),
    ...markFindings(released, now),
    ...optionFindings(released, now),
    ...sharedSubjects(now),
  ];
}

function subjectFindings(released: FileRegistry, now: FileRegistry): string[] {
  return eventTypesOf(released).flatMap((event) => {
    const present = now.getMessage(event.typeName);
    const [before, after] = [subjectOf(released, event), present === undefined ? "" : subjectOf(now, present)];
    // A message that is gone is buf's finding.
    if (present === undefined || before === after) return [];
    const what = after === "" ? "is no event any more" : `is published as "${after}"`;
    return [
      `${placeOf(present)}: ${event.name} ${what}; it was released as "${before}". Breaks subscribers of ${event.name} that filter by subject. Give it its subject back; another subject is a new event beside it.`,
    ];
  });
}

function markFindings(released: FileRegistry, now: FileRegistry): string[] {
  const whoIsHurt = createWhoIsHurt(released);
  return filesOf(released)
    .flatMap((file) => file.messages.flatMap(withNested))
    .flatMap((message) => message.fields.filter((field) => isPersonal(released, field)))
    .flatMap((field) => {
      const { parent } = field;
      const present = now.getMessage(parent.typeName)?.fields.find((each) => each.number === field.number);
      if (present === undefined || isPersonal(now, present)) return [];
      const who = whoIsHurt(`${parent.file.name}.proto`, parent.name);
      return [
        `${placeOf(present)}: ${parent.name}.${field.name} is no longer marked as personal data. Breaks ${who}: their logs would show it. Put the mark back.`,
      ];
    });
}

function optionFindings(released: FileRegistry, now: FileRegistry): string[] {
  return filesOf(released)
    .flatMap((file) => file.extensions)
    .flatMap((option) => {
      const present = now.getExtension(option.typeName);
      // An option that is gone does not compile where it is used, and is buf's finding where it is not.
      if (present === undefined || shapeOf(present) === shapeOf(option)) return [];
      return [
        `proto/${present.file.name}.proto: the option ${option.typeName} is ${shapeOf(present)}; it was released as ${shapeOf(option)}. Breaks whoever reads it from the descriptors. Take the change back.`,
      ];
    });
}

const shapeOf = (option: DescExtension): string =>
  `${fieldType(option)} ${option.number} of ${option.extendee.typeName}`;

/** Two types on one subject cannot be told apart by a filter; two versions of one type may share it, as `ce-type` differs. */
function sharedSubjects(now: FileRegistry): string[] {
  const first = new Map<string, string>();
  return eventTypesOf(now).flatMap((event) => {
    const subject = subjectOf(now, event);
    if (!/^[a-z][a-z0-9_]*\.[a-z]+$/.test(subject))
      return [
        `${placeOf(event)}: the subject "${subject}" of ${event.name} is not "<object>.<verb>" in lower-case letters`,
      ];
    const key = `${event.typeName.startsWith("tributary.system.") ? "sys" : "evt"} ${subject}`;
    const other = first.get(key);
    first.set(key, other ?? event.typeName);
    return other === undefined || unversioned(other) === unversioned(event.typeName)
      ? []
      : [
          `${placeOf(event)}: ${event.name} shares the subject "${subject}" with ${other}; a filter could not tell them apart`,
        ];
  });
}

const withNested = (message: DescMessage): DescMessage[] => [message, ...message.nestedMessages.flatMap(withNested)];
const unversioned = (typeName: string): string => typeName.replace(/\.v\d+\./, ".");
