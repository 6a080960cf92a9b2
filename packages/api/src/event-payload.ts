import {
  type DescField,
  fromBinary,
  getOption,
  hasOption,
  type JsonObject,
  type Message,
  toJson,
} from "@bufbuild/protobuf";
import { reflect, type ReflectMessage } from "@bufbuild/protobuf/reflect";
import { eventRegistry, eventTypes, personal_data } from "@tributary/contracts";

/** What stands where a field that carries personal data was not asked for. */
export const REDACTED = "[redacted]";

/**
 * A payload as protobuf JSON, for people to read.
 * @param personalData Whether fields that carry personal data keep their content.
 * @returns undefined when the type is unknown here, or the bytes are none of it.
 */
export function payloadJson(type: string, payload: Uint8Array, personalData: boolean): JsonObject | undefined {
  const schema = eventTypes.get(type);
  if (schema === undefined) return undefined;
  try {
    const message: Message = fromBinary(schema, payload);
    if (!personalData) redact(reflect(schema, message));
    const json = toJson(schema, message, { registry: eventRegistry });
    return typeof json === "object" && json !== null && !Array.isArray(json) ? json : undefined;
  } catch {
    return undefined;
  }
}

/** Texts say that something stood there; whatever else is personal is taken out. */
function redact(message: ReflectMessage): void {
  // What a newer contract added travels along unread, and nobody here knows what it says.
  message.setUnknown([]);
  for (const field of message.fields) {
    if (!message.isSet(field)) continue;
    if (isPersonal(field)) {
      if (field.fieldKind === "scalar" && typeof message.get(field) === "string") message.set(field, REDACTED);
      else message.clear(field);
    } else if (field.fieldKind === "message") redact(message.get(field));
    else if (field.fieldKind === "list" && field.listKind === "message")
      for (const one of message.get(field)) redact(one as ReflectMessage);
    else if (field.fieldKind === "map" && field.mapKind === "message")
      for (const one of message.get(field).values()) redact(one as ReflectMessage);
  }
}

const isPersonal = (field: DescField): boolean => hasOption(field, personal_data) && getOption(field, personal_data);
