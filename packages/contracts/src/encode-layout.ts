import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { Edition, FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";

/** What the encoder has to know of a message type. */
export interface Layout {
  readonly typeName: string;
  /** By number: the order in which protobuf-es writes them. */
  readonly fields: readonly Field[];
}

export interface Field {
  /** The message's property: the field's, or that of the oneof which it belongs to. */
  readonly property: string;
  readonly shape: "single" | "oneof" | "list";
  /** The case of a oneof; "" of every other shape. */
  readonly oneofCase: string;
  /** A single field with this value is not written. */
  readonly absent: unknown;
  /** A list whose values stand behind one tag. */
  readonly packed: boolean;
  /** The field's number and wire type in one, as it is written. */
  readonly tag: number;
  /** An enum is written as an INT32. */
  readonly type: ScalarType | typeof MESSAGE;
  /** Of a MESSAGE alone. */
  readonly layout: Layout | undefined;
}

/** Beside the scalar types, which begin with 1. */
const MESSAGE = 0;

/** What no field's value is: for a type of which no value compares as the absent one, and for a schema without a layout. */
const NOTHING = Symbol("nothing");

const layouts = new WeakMap<DescMessage, Layout | typeof NOTHING>();

/**
 * The schema's layout, made at the first call and kept for as long as the schema is. Undefined when the type, or one that
 * it is made of, has what no layout tells: another syntax than proto3, a map, a 64-bit number as text, itself, or a field
 * of `google.protobuf.Struct` or of a wrapper, which a message holds as plain values.
 */
export function layoutOf(schema: DescMessage): Layout | undefined {
  let layout = layouts.get(schema);
  if (layout === undefined) layouts.set(schema, (layout = makeLayout(schema, new Map()) ?? NOTHING));
  return layout === NOTHING ? undefined : layout;
}

/** @param made the types looked through before; one that is still under way contains itself, and how deep has no bound. */
function makeLayout(schema: DescMessage, made: Map<DescMessage, Layout | undefined>): Layout | undefined {
  if (made.has(schema)) return made.get(schema);
  made.set(schema, undefined);
  if (schema.file.edition !== Edition.EDITION_PROTO3) return undefined;
  const fields: Field[] = [];
  for (const field of schema.fields.toSorted((a, b) => a.number - b.number)) {
    const one = makeField(field, made);
    if (one === undefined) return undefined;
    fields.push(one);
  }
  const layout = { typeName: schema.typeName, fields };
  made.set(schema, layout);
  return layout;
}

function makeField(field: DescField, made: Map<DescMessage, Layout | undefined>): Field | undefined {
  if (field.fieldKind === "map" || ("longAsString" in field && field.longAsString)) return undefined;
  const layout = field.message === undefined ? undefined : makeNested(field.message, made);
  if (field.message !== undefined && layout === undefined) return undefined;
  const type = field.message === undefined ? (field.scalar ?? ScalarType.INT32) : MESSAGE;
  const packed = field.fieldKind === "list" && field.packed;
  const implicit = field.presence === FeatureSet_FieldPresence.IMPLICIT;
  return {
    property: field.oneof?.localName ?? field.localName,
    shape: field.fieldKind === "list" ? "list" : field.oneof === undefined ? "single" : "oneof",
    oneofCase: field.oneof === undefined ? "" : field.localName,
    absent: implicit ? (field.enum?.values[0]?.number ?? zeroOf(type)) : undefined,
    packed,
    tag: ((field.number << 3) | (packed ? LENGTH_DELIMITED : wireTypeOf(type))) >>> 0,
    type,
    layout,
  };
}

const PLAIN_VALUES = /^google\.protobuf\.(?:Struct|\w+Value)$/;

const makeNested = (schema: DescMessage, made: Map<DescMessage, Layout | undefined>): Layout | undefined =>
  PLAIN_VALUES.test(schema.typeName) ? undefined : makeLayout(schema, made);

function zeroOf(type: Field["type"]): unknown {
  switch (type) {
    case ScalarType.STRING:
      return "";
    case ScalarType.BOOL:
      return false;
    case ScalarType.BYTES:
      return NOTHING;
    case ScalarType.INT64:
    case ScalarType.UINT64:
    case ScalarType.SINT64:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return 0n;
    default:
      return 0;
  }
}

const LENGTH_DELIMITED = 2;

function wireTypeOf(type: Field["type"]): number {
  switch (type) {
    case MESSAGE:
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return LENGTH_DELIMITED;
    case ScalarType.DOUBLE:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return 1;
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return 5;
    default:
      return 0;
  }
}
