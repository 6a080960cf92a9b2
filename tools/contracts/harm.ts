import type { DescFile, DescMessage, FileRegistry } from "@bufbuild/protobuf";
import { eventTypesOf, filesOf } from "./registry.ts";

/** More names than this are counted instead of told. */
const NAMES_MAX = 4;

/**
 * Tells whom a change of something released would hurt: the subscribers of the events that hold it, and the callers of
 * the services that carry it. Consumers that say what they read are named besides, by checkConsumers.
 * @param file its path below `proto/`.
 * @param name of a message, an enum or a service in that file, without its package; a nested one may come without its
 * parent. Undefined: everything in the file.
 */
export type WhoIsHurt = (file: string, name: string | undefined) => string;

export function createWhoIsHurt(released: FileRegistry): WhoIsHurt {
  const events = eventTypesOf(released).map((event) => ({ name: event.name, holds: heldBy([event]) }));
  const services = filesOf(released).flatMap((file) =>
    file.services.map((service) => ({
      name: service.name,
      holds: heldBy(service.methods.flatMap(({ input, output }) => [input, output])).add(service.typeName),
    })),
  );
  return (path, name) => {
    const file = filesOf(released).find((each) => `${each.name}.proto` === path);
    const types = file === undefined ? [] : typesIn(file).filter((type) => name === undefined || isNamed(type, name));
    const touched = ({ holds }: { holds: ReadonlySet<string> }): boolean => types.some((type) => holds.has(type));
    const hurt = [...told("subscribers of", events.filter(touched)), ...told("callers of", services.filter(touched))];
    return hurt.length === 0 ? "whoever uses these files" : hurt.join(" and ");
  };
}

function told(who: string, all: readonly { readonly name: string }[]): string[] {
  if (all.length === 0) return [];
  const names = all.slice(0, NAMES_MAX).map(({ name }) => name);
  const more = all.length > NAMES_MAX ? ` and ${all.length - NAMES_MAX} more` : "";
  return [`${who} ${names.join(", ")}${more}`];
}

/** Full names of all that these messages are made of, they themselves included. */
function heldBy(messages: readonly DescMessage[]): Set<string> {
  const found = new Set<string>();
  const visit = (message: DescMessage): void => {
    if (found.has(message.typeName)) return;
    found.add(message.typeName);
    for (const field of message.fields) {
      if (field.message !== undefined) visit(field.message);
      if (field.enum !== undefined) found.add(field.enum.typeName);
    }
  };
  for (const message of messages) visit(message);
  return found;
}

function typesIn(file: DescFile): string[] {
  const nested = (message: DescMessage): string[] => [
    message.typeName,
    ...message.nestedEnums.map((each) => each.typeName),
    ...message.nestedMessages.flatMap(nested),
  ];
  return [...file.messages.flatMap(nested), ...[...file.enums, ...file.services].map((each) => each.typeName)];
}

const isNamed = (typeName: string, name: string): boolean => typeName.endsWith(`.${name}`);
