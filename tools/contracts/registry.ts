import {
  createFileRegistry,
  type DescExtension,
  type DescField,
  type DescFile,
  type DescMessage,
  type FileRegistry,
  fromBinary,
  getOption,
  hasOption,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { byText } from "../tree.ts";

/** The released contracts, as an image of buf. Only `npm run contracts:release` moves it. */
export const BASELINE = "proto/baseline.binpb";

/** Every type of an image, with the options that Tributary's files declare. */
export function registryOf(image: Uint8Array): FileRegistry {
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, image));
}

/** The files that are ours, sorted; an image holds what they import as well. */
export function filesOf(registry: FileRegistry): DescFile[] {
  return [...registry.files]
    .filter((file) => file.proto.package.startsWith("tributary."))
    .toSorted((a, b) => byText(a.name, b.name));
}

/** The messages that are published as events, by name. */
export function eventTypesOf(registry: FileRegistry): DescMessage[] {
  return [...registry]
    .filter((type) => type.kind === "message")
    .filter((type) => subjectOf(registry, type) !== "")
    .toSorted((a, b) => byText(a.typeName, b.typeName));
}

/** "<object>.<verb>" of an event; "" for any other message. */
export function subjectOf(registry: FileRegistry, message: DescMessage): string {
  const option = registry.getExtension("tributary.options.v1.event_subject");
  return option !== undefined && hasOption(message, option) ? String(getOption(message, option)) : "";
}

/** Whether a field is marked as one that can name or describe a person. */
export function isPersonal(registry: FileRegistry, field: DescField): boolean {
  const option: DescExtension | undefined = registry.getExtension("tributary.options.v1.personal_data");
  return option !== undefined && hasOption(field, option) && getOption(field, option) === true;
}
