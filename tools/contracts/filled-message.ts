import { create, type DescField, type DescMessage, type Message, ScalarType } from "@bufbuild/protobuf";
import { reflect, type ReflectMessage } from "@bufbuild/protobuf/reflect";

/** A type that holds itself is filled this often on the way down and left empty below. */
const RECURSION_MAX = 2;

/**
 * A message with every field set to a value that is not its default and that follows from the field's number and name
 * alone, so that the same contract always gives the same bytes. Of a oneof the last member wins.
 */
export function filledMessage(schema: DescMessage): Message {
  return fill(reflect(schema, create(schema)), []).message;
}

function fill(message: ReflectMessage, above: readonly string[]): ReflectMessage {
  const known = WELL_KNOWN[message.desc.typeName];
  const path = [...above, message.desc.typeName];
  for (const field of message.desc.fields) {
    if (known !== undefined) {
      const value = known[field.name];
      if (value !== undefined && field.fieldKind === "list") message.get(field).add(value);
      else if (value !== undefined) message.set(field, value);
    } else if (field.fieldKind === "list") {
      for (const turn of [0, 1]) message.get(field).add(element(field, path, turn));
    } else if (field.fieldKind === "map") {
      const key = scalar(field.mapKey, field.number, 0, "key");
      message.get(field).set(key, element(field, path, 0));
    } else message.set(field, element(field, path, 0));
  }
  return message;
}

/** These mean something, and JSON refuses values outside their meaning. What is not named stays empty. */
const WELL_KNOWN: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "google.protobuf.Timestamp": { seconds: 1_763_683_200n, nanos: 123_456_000 },
  "google.protobuf.Duration": { seconds: 90n, nanos: 500_000_000 },
  "google.protobuf.FieldMask": { paths: "first_path" },
  "google.protobuf.Value": { string_value: "a value" },
  "google.protobuf.Any": {},
};

function element(field: DescField, path: readonly string[], turn: number): unknown {
  if (field.message !== undefined) {
    const { typeName } = field.message;
    const child = reflect(field.message, create(field.message));
    return path.filter((each) => each === typeName).length < RECURSION_MAX ? fill(child, path) : child;
  }
  if (field.enum !== undefined) {
    const values = field.enum.values.filter((value) => value.number !== 0);
    return values[(field.number + turn) % values.length]?.number ?? 0;
  }
  return scalar(field.scalar ?? ScalarType.STRING, field.number, turn, field.name);
}

function scalar(type: ScalarType, number: number, turn: number, name: string): unknown {
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
