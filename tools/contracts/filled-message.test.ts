import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DescMessage, fromBinary, fromJson, isFieldSet, toBinary, toJson } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, it } from "vitest";
import { command } from "../command.ts";
import { filledMessage } from "./filled-message.ts";
import { registryOf } from "./registry.ts";

const SCALARS =
  "double float int32 int64 uint32 uint64 sint32 sint64 fixed32 fixed64 sfixed32 sfixed64 bool string bytes";
const WELL_KNOWN = "Timestamp Duration FieldMask Value Struct ListValue Any Int64Value StringValue BoolValue";

const lower = (name: string): string => name.toLowerCase();
const fields = [
  ...SCALARS.split(" ").flatMap((type) => [`${type} ${type}_one = `, `repeated ${type} ${type}_many = `]),
  ...WELL_KNOWN.split(" ").map((type) => `google.protobuf.${type} ${lower(type)}_known = `),
  "repeated Everything children = ",
  "Everything child = ",
  "Colour colour = ",
  "map<string, Everything> by_name = ",
  "map<int64, string> by_number = ",
  "optional string maybe = ",
];
const proto = `syntax = "proto3";
package demo.v1;
${["timestamp", "duration", "field_mask", "struct", "any", "wrappers"].map((file) => `import "google/protobuf/${file}.proto";`).join("\n")}
enum Colour { COLOUR_UNSPECIFIED = 0; COLOUR_RED = 1; COLOUR_BLUE = 2; }
message Everything {
${fields.map((field, index) => `  ${field}${index + 1};`).join("\n")}
  oneof choice { string left = 200; int32 right = 201; }
}
`;

const folder = mkdtempSync(join(tmpdir(), "tributary-filled-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let everything: DescMessage;
beforeAll(async () => {
  mkdirSync(join(folder, "demo/v1"), { recursive: true });
  writeFileSync(join(folder, "demo/v1/demo.proto"), proto);
  const image = join(folder, "image.binpb");
  const built = await command("buf", ["build", folder, "-o", image], { cwd: folder });
  const found = registryOf(readFileSync(image)).getMessage("demo.v1.Everything");
  if (found === undefined) throw new Error(built.output);
  everything = found;
});

it("sets every field of a message, and the last member of a oneof", () => {
  const message = filledMessage(everything);
  expect(everything.fields.filter((field) => !isFieldSet(message, field)).map((field) => field.name)).toEqual(["left"]);
});

it("gives the same bytes every time", () => {
  expect(toBinary(everything, filledMessage(everything))).toEqual(toBinary(everything, filledMessage(everything)));
});

it("holds only values that survive both encodings", () => {
  const bytes = toBinary(everything, filledMessage(everything));
  const json = toJson(everything, fromBinary(everything, bytes));
  expect(toBinary(everything, fromJson(everything, json))).toEqual(bytes);
});
