import type { DescEnum, DescField, DescMessage, FileRegistry } from "@bufbuild/protobuf";
import { fieldType } from "./field-type.ts";
import { filesOf, isPersonal, subjectOf } from "./registry.ts";

/**
 * What a release adds, in lines for proto/CHANGELOG.md: files, events, messages, fields, enums, values, methods, and
 * what is deprecated or marked as personal data from now on. Inside something new only events are told. Removals cannot be: the gate refuses them.
 */
export function contractChanges(before: FileRegistry | undefined, now: FileRegistry): string[] {
  const lines: string[] = [];
  const tell = (line: string): void => void lines.push(line);
  const known = before === undefined ? new Set<string>() : new Set(filesOf(before).map((file) => file.name));
  for (const file of filesOf(now)) {
    const isNew = !known.has(file.name);
    if (isNew) tell(`new file \`${file.name}.proto\``);
    for (const message of file.messages) messageChanges(before, now, message, isNew, tell);
    for (const each of file.enums) enumChanges(before, each, isNew, tell);
    for (const service of file.services) {
      const was = before?.getService(service.typeName);
      if (was === undefined) tell(`new service \`${service.typeName}\``);
      else
        for (const method of service.methods)
          if (!was.methods.some((each) => each.name === method.name))
            tell(`new method \`${service.typeName}.${method.name}\``);
    }
  }
  return lines;
}

type Tell = (line: string) => void;

function messageChanges(
  before: FileRegistry | undefined,
  now: FileRegistry,
  message: DescMessage,
  insideNew: boolean,
  tell: Tell,
): void {
  const was = before?.getMessage(message.typeName);
  const subject = subjectOf(now, message);
  if (was === undefined) {
    if (subject !== "") tell(`new event \`${message.typeName}\` on \`${subject}\``);
    else if (!insideNew) tell(`new message \`${message.typeName}\``);
    return;
  }
  if (message.deprecated && !was.deprecated) tell(`deprecated: \`${message.typeName}\``);
  for (const field of message.fields) {
    const old = was.fields.find((each) => each.number === field.number);
    fieldChanges(old, field, tell);
    if (before !== undefined && old !== undefined && isPersonal(now, field) && !isPersonal(before, old))
      tell(`personal data from now on: \`${message.typeName}.${field.name}\``);
  }
  for (const nested of message.nestedMessages)
    if (!nested.proto.options?.mapEntry) messageChanges(before, now, nested, false, tell);
  for (const nested of message.nestedEnums) enumChanges(before, nested, false, tell);
}

function fieldChanges(old: DescField | undefined, field: DescField, tell: Tell): void {
  const name = `\`${field.parent.typeName}.${field.name}\``;
  if (old === undefined) tell(`new field ${name} (\`${fieldType(field)}\`)`);
  else if (field.deprecated && !old.deprecated) tell(`deprecated: ${name}`);
}

function enumChanges(before: FileRegistry | undefined, each: DescEnum, insideNew: boolean, tell: Tell): void {
  const was = before?.getEnum(each.typeName);
  if (was === undefined) return insideNew ? undefined : tell(`new enum \`${each.typeName}\``);
  for (const value of each.values) {
    const old = was.values.find((one) => one.number === value.number);
    if (old === undefined) tell(`new value \`${value.name}\` of \`${each.typeName}\``);
    else if (value.deprecated && !old.deprecated) tell(`deprecated: \`${value.name}\` of \`${each.typeName}\``);
  }
}
