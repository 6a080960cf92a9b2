import { create, type DescField, type DescMessage, type Message, ScalarType } from "@bufbuild/protobuf";
import { reflect, type ReflectMessage } from "@bufbuild/protobuf/reflect";

/** A message inside itself is filled this deep and left empty below. */
const DEPTH_MAX = 4;

/**
 * A message with every field set to a value that is not its default and that follows from the field's number alone, so
 * that the same contract always gives the same bytes. Of a oneof the last member wins.
 */
export function filledMessage(schema: DescMessage): Message {
  return fill(reflect(schema, create(schema)), 1).message;
}

function fill(message: ReflectMessage, depth: number): ReflectMessage {
  // Well-known types mean something: a Timestamp filled blindly would lie outside its range.
  if (message.desc.typeName === "google.protobuf.Timestamp") return setTimestamp(message);
  for (const field of message.desc.fields) {
    if (field.fieldKind === "list") {
      const list = message.get(field);
      for (const turn of [0, 1]) list.add(element(message, field, depth, turn));
    } else if (field.fieldKind === "map") {
      const key = field.mapKey === ScalarType.STRING ? `key ${field.number}` : scalar(field.mapKey, field.number, 0);
      message.get(field).set(key, element(message, field, depth, 0));
    } else {
      const value = element(message, field, depth, 0);
      if (value !== undefined) message.set(field, value);
    }
  }
  return message;
}

function element(parent: ReflectMessage, field: DescField, depth: number, turn: number): never {
  if (field.message !== undefined) {
    const child = reflect(field.message, create(field.message));
    return (
      depth >= DEPTH_MAX && field.message.typeName === parent.desc.typeName ? child : fill(child, depth + 1)
    ) as never;
  }
  if (field.enum !== undefined) {
    const values = field.enum.values.filter((value) => value.number !== 0);
    return (values[(field.number + turn) % values.length]?.number ?? 0) as never;
  }
  return scalar(field.scalar ?? ScalarType.STRING, field.number, turn, field.name) as never;
}

function scalar(type: ScalarType, number: number, turn: number, name = "field"): unknown {
  const value = number * 10 + turn + 1;
  switch (type) {
    case ScalarType.STRING:
      return `${name} ${value} Zażółć`;
    case ScalarType.BYTES:
      return new Uint8Array([0, value % 256, 255]);
    case ScalarType.BOOL:
      return true;
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return value + 0.5;
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return -(2n ** 53n) - BigInt(value);
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return 2n ** 53n + BigInt(value);
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return -value;
    default:
      return value;
  }
}

function setTimestamp(message: ReflectMessage): ReflectMessage {
  for (const field of message.desc.fields) message.set(field, field.name === "seconds" ? 1_763_683_200n : 123_456_000);
  return message;
}
