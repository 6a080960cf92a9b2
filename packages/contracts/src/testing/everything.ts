import { create, createFileRegistry, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  type FieldDescriptorProto,
  type FieldDescriptorProtoSchema,
  FieldOptions_JSType as JsType,
  type FileDescriptorProto,
  type FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
} from "@bufbuild/protobuf/wkt";

type Field = Exclude<MessageInitShape<typeof FieldDescriptorProtoSchema>, FieldDescriptorProto>;
type File = Exclude<MessageInitShape<typeof FileDescriptorProtoSchema>, FileDescriptorProto>;

const PARENTS = ["google/protobuf/struct.proto", "google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto"];

function registryOf(file: File) {
  const parents = [file_google_protobuf_struct, file_google_protobuf_timestamp, file_google_protobuf_wrappers];
  const own = { name: "made_up.proto", package: "made.up", syntax: "proto3", dependency: PARENTS, ...file };
  return createFileRegistry(create(FileDescriptorSetSchema, { file: [...parents.map(({ proto }) => proto), own] }));
}

function messageOf(file: File, name: string): DescMessage {
  const schema = registryOf(file).getMessage(`made.up.${name}`);
  if (schema === undefined) throw new Error(`${name} was not made`);
  return schema;
}

const COLOUR = { name: "Colour", value: ["NONE", "RED", "GREEN"].map((name, number) => ({ name, number })) };
const INNER: Field[] = [
  { name: "note", number: 1, type: Type.STRING, label: Label.OPTIONAL },
  { name: "at", number: 2, type: Type.MESSAGE, typeName: ".google.protobuf.Timestamp", label: Label.OPTIONAL },
];

/** Every type that a field can have: the scalar types, an enum, a message. */
const KINDS: readonly Field[] = [
  ...Object.values(Type)
    .filter((type) => typeof type === "number")
    .filter((type) => ![Type.ENUM, Type.MESSAGE, Type.GROUP].includes(type))
    .map((type) => ({ name: Type[type].toLowerCase(), type })),
  { name: "colour", type: Type.ENUM, typeName: ".made.up.Colour" },
  { name: "inner", type: Type.MESSAGE, typeName: ".made.up.Inner" },
];

/** Every kind in every shape; the numbers fall, so that the order of the fields is not that of their numbers. */
function everyField(): Field[] {
  const one = { label: Label.OPTIONAL };
  const many = { label: Label.REPEATED };
  const shapes: readonly (readonly [string, (index: number) => Field])[] = [
    ["implicit", () => one],
    ["choice", () => ({ ...one, oneofIndex: 0 })],
    ["list", () => many],
    ["unpacked", () => ({ ...many, options: { packed: false } })],
    ["optional", (index) => ({ ...one, proto3Optional: true, oneofIndex: index + 1 })],
  ];
  const fields = shapes.flatMap(([shape, of]) =>
    KINDS.filter(({ type }) => shape !== "unpacked" || type === undefined || !UNPACKABLE.includes(type)).map(
      (kind, index) => ({
        ...kind,
        ...of(index),
        name: `${shape}_${kind.name}`,
      }),
    ),
  );
  return fields.map((field, index) => ({ ...field, number: index === 0 ? 536_870_911 : (fields.length - index) * 40 }));
}

const UNPACKABLE: readonly Type[] = [Type.STRING, Type.BYTES, Type.MESSAGE];

/** A type with every kind of field that the encoder is prepared for. */
export const EVERYTHING: DescMessage = messageOf(
  {
    enumType: [COLOUR],
    messageType: [
      { name: "Inner", field: INNER },
      {
        name: "Everything",
        field: everyField(),
        oneofDecl: [{ name: "choice" }, ...KINDS.map(({ name }) => ({ name: `_optional_${name ?? ""}` }))],
      },
    ],
  },
  "Everything",
);

const withField = (field: Field, file: File = {}): DescMessage => {
  const entry = [
    { name: "key", number: 1, type: Type.STRING, label: Label.OPTIONAL },
    { name: "value", number: 2, type: Type.STRING, label: Label.OPTIONAL },
  ];
  const own = { name: "value", number: 1, label: Label.OPTIONAL, ...field };
  const nestedType = [{ name: "ValueEntry", field: entry, options: { mapEntry: true } }];
  return messageOf({ ...file, messageType: [{ name: "Own", field: [own], nestedType }] }, "Own");
};

const message = (typeName: string): Field => ({ type: Type.MESSAGE, typeName });

/** Types that the encoder leaves to protobuf-es, by what they have, each with a value of its field. */
export const OTHERS: readonly (readonly [string, DescMessage, unknown])[] = [
  ["a map", withField({ ...message(".made.up.Own.ValueEntry"), label: Label.REPEATED }), { b: "x", a: "", 1: "z" }],
  [
    "a 64-bit number as text",
    withField({ type: Type.INT64, options: { jstype: JsType.JS_STRING } }),
    "-9007199254740993",
  ],
  ["a wrapper", withField(message(".google.protobuf.StringValue")), ""],
  ["a struct", withField(message(".google.protobuf.Struct")), { a: [1, null, { b: "x" }] }],
  ["itself", withField(message(".made.up.Own")), { value: { value: {} } }],
  ["proto2", withField({ type: Type.STRING, defaultValue: "x" }, { syntax: "proto2" }), "x"],
  ["a required field", withField({ type: Type.STRING, label: Label.REQUIRED }, { syntax: "proto2" }), "x"],
];
