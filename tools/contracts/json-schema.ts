import type { JsonObject } from "@bufbuild/protobuf";
import type { CatalogueField, CatalogueType } from "./catalogue.ts";

/**
 * A message's protobuf JSON as JSON Schema (protobuf.dev, "ProtoJSON format"). Names of fields are the JSON names, which
 * every writer uses; 64-bit numbers are strings. Fields that a later contract adds are allowed.
 * @param refer where the schema of another type stands.
 */
export function messageSchema(
  fields: readonly CatalogueField[],
  meaning: string,
  refer: (type: string) => string,
): JsonObject {
  return {
    type: "object",
    description: meaning,
    properties: Object.fromEntries(fields.map((field) => [field.jsonName, fieldSchema(field, refer)])),
  };
}

export const enumSchema = ({ values, meaning }: CatalogueType): JsonObject => ({
  type: "string",
  description: meaning,
  enum: values.map((value) => value.name),
});

function fieldSchema(field: CatalogueField, refer: (type: string) => string): JsonObject {
  const one: JsonObject = SCALARS[field.type] ?? WELL_KNOWN[field.type] ?? { $ref: refer(field.type) };
  const notes = {
    description: field.meaning,
    ...(field.deprecated ? { deprecated: true } : {}),
    ...(field.personalData ? { "x-personal-data": true } : {}),
    "x-protobuf-field": field.number,
  };
  if (field.mapKey !== null) return { type: "object", additionalProperties: one, ...notes };
  if (field.repeated) return { type: "array", items: one, ...notes };
  // JSON Schema draft 7 ignores what stands beside a $ref.
  return "$ref" in one ? { allOf: [one], ...notes } : { ...one, ...notes };
}

const NUMBER: JsonObject = { type: "integer" };
const LONG: JsonObject = { type: "string", pattern: "^-?[0-9]+$" };
const FLOAT: JsonObject = { oneOf: [{ type: "number" }, { enum: ["NaN", "Infinity", "-Infinity"] }] };
const SCALARS: Readonly<Record<string, JsonObject>> = {
  string: { type: "string" },
  bytes: { type: "string", contentEncoding: "base64" },
  bool: { type: "boolean" },
  double: FLOAT,
  float: FLOAT,
  ...Object.fromEntries(["int32", "sint32", "sfixed32", "uint32", "fixed32"].map((type) => [type, NUMBER])),
  ...Object.fromEntries(["int64", "sint64", "sfixed64", "uint64", "fixed64"].map((type) => [type, LONG])),
};
const WELL_KNOWN: Readonly<Record<string, JsonObject>> = {
  "google.protobuf.Timestamp": { type: "string", format: "date-time" },
  "google.protobuf.Duration": { type: "string", pattern: "^-?[0-9]+(\\.[0-9]+)?s$" },
  "google.protobuf.FieldMask": { type: "string" },
  "google.protobuf.Struct": { type: "object" },
  "google.protobuf.ListValue": { type: "array" },
  "google.protobuf.Value": {},
  "google.protobuf.Any": { type: "object" },
  "google.protobuf.Empty": { type: "object" },
  ...Object.fromEntries(
    ["Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes"].map((name) => [
      `google.protobuf.${name}Value`,
      SCALARS[name.toLowerCase()] ?? {},
    ]),
  ),
};
