import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FileRegistry, type JsonObject, toJson } from "@bufbuild/protobuf";
import { Ajv } from "ajv";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { command } from "../command.ts";
import { repositoryRoot } from "../tree.ts";
import { asyncApi } from "./asyncapi.ts";
import { type Catalogue, readCatalogue } from "./catalogue.ts";
import { filledMessage } from "./filled-message.ts";
import { markdownPages } from "./markdown.ts";
import { registryOf } from "./registry.ts";

// Everything that a contract may hold and that today's do not.
const PROTO = `syntax = "proto3";

// Words for
// a test.
package tributary.demo.v2;

import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "tributary/options/v1/options.proto";

// A thing happened | or did not.
message ThingHappened {
  option (tributary.options.v1.event_subject) = "thing.happened";
  option deprecated = true;

  // A part of it.
  message Part {
    // How it feels.
    enum Mood {
      // Not said.
      MOOD_UNSPECIFIED = 0;
      // Fine.
      MOOD_FINE = 1;
    }
    // The mood.
    Mood mood = 1;
    // Whose it is.
    string owner = 2 [(tributary.options.v1.personal_data) = true];
  }

  // By name.
  map<string, Part> parts = 1;
  // One of two.
  oneof choice {
    // A word.
    string word = 2 [(tributary.options.v1.personal_data) = true];
    // A number.
    int64 number = 3;
  }
  // Old.
  repeated bytes blobs = 4 [deprecated = true];
  // Numbers.
  map<int32, double> measures = 5;
  // Further in.
  repeated ThingHappened before = 6;
  // A share.
  float share = 7;
  // Whether.
  optional bool certain = 8;
  // Unsigned.
  uint64 total = 9;
  // Small.
  sint32 small = 10;
${[
  "Timestamp",
  "Duration",
  "FieldMask",
  "Value",
  "Struct",
  "ListValue",
  "Int64Value",
  "StringValue",
  "BoolValue",
  "DoubleValue",
]
  .map((type, index) => `  // Known.\n  google.protobuf.${type} known_${index + 1} = ${index + 20};`)
  .join("\n")}
}
`;

const TYPE = "tributary.demo.v2.ThingHappened";
const folder = mkdtempSync(join(tmpdir(), "tributary-catalogue-"));
let registry: FileRegistry;
let catalogue: Catalogue;
beforeAll(async () => {
  cpSync(join(repositoryRoot, "proto/tributary/options"), join(folder, "tributary/options"), { recursive: true });
  mkdirSync(join(folder, "tributary/demo/v2"), { recursive: true });
  writeFileSync(join(folder, "tributary/demo/v2/demo.proto"), PROTO);
  const built = await command("buf", ["build", folder, "-o", join(folder, "image.binpb")], { cwd: folder });
  if (built.code !== 0) throw new Error(built.output);
  registry = registryOf(readFileSync(join(folder, "image.binpb")));
  const examples = new Map([[TYPE, { word: "a" }]]);
  catalogue = readCatalogue(registry, { version: "3.1.0", since: new Map([[TYPE, "2.0.0"]]), examples });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the catalogue", () => {
  it("tells of an event in the words of its file", () => {
    expect(catalogue).toMatchObject({
      version: "3.1.0",
      families: [{ name: "tributary.demo.v2", meaning: "Words for a test." }],
      events: [
        {
          type: TYPE,
          family: "tributary.demo.v2",
          file: "tributary/demo/v2/demo.proto",
          meaning: "A thing happened | or did not.",
          subject: "evt.v1.{organization}.{connector}.thing.happened",
          since: "2.0.0",
          deprecated: true,
          example: { word: "a" },
        },
      ],
    });
  });

  it("tells how a field is held, who it is about, and whether it will go", () => {
    const byName = new Map(catalogue.events[0]?.fields.map((field) => [field.name, field]));
    expect(byName.get("parts")).toMatchObject({ mapKey: "string", type: `${TYPE}.Part`, repeated: false });
    expect(byName.get("word")).toMatchObject({ oneof: "choice", personalData: true, meaning: "A word." });
    expect(byName.get("number")).toMatchObject({ oneof: "choice", personalData: false, type: "int64" });
    expect(byName.get("blobs")).toMatchObject({ repeated: true, deprecated: true, type: "bytes" });
    expect(byName.get("measures")).toMatchObject({ mapKey: "int32", type: "double" });
    // A field that is only optional is in no group that anybody wrote.
    expect(byName.get("certain")).toMatchObject({ oneof: null });
  });

  it("tells of types inside types, once each", () => {
    expect(catalogue.types).toMatchObject([
      {
        type: `${TYPE}.Part`,
        kind: "message",
        meaning: "A part of it.",
        fields: [{ meaning: "The mood." }, { personalData: true }],
      },
      {
        type: `${TYPE}.Part.Mood`,
        kind: "enum",
        meaning: "How it feels.",
        values: [{ meaning: "Not said." }, { name: "MOOD_FINE", number: 1, meaning: "Fine." }],
      },
    ]);
  });

  it("says nothing about what an image without source information does not hold", async () => {
    const bare = join(folder, "bare.binpb");
    await command("buf", ["build", folder, "--exclude-source-info", "-o", bare], { cwd: folder });
    const { events } = readCatalogue(registryOf(readFileSync(bare)), {
      version: "",
      since: new Map(),
      examples: new Map(),
    });
    expect(events).toMatchObject([{ meaning: "", since: null, example: {} }]);
  });
});

describe("the pages", () => {
  it("link every type to the place that tells of it", () => {
    const pages = markdownPages(catalogue);
    expect([...pages.keys()]).toEqual(["README.md", "demo.v2.md"]);
    const page = pages.get("demo.v2.md") ?? "";
    const anchors = [...page.matchAll(/^## (.+)$/gm)].map(([, title = ""]) => title.toLowerCase().replaceAll(".", ""));
    const links = [...page.matchAll(/\]\(#([\w-]+)\)/g)].map(([, anchor = ""]) => anchor);
    expect(new Set(anchors).size).toBe(anchors.length);
    expect(links.length).toBeGreaterThan(2);
    expect(links.filter((anchor) => !anchors.includes(anchor))).toEqual([]);
  });

  it("say of each event where it holds personal data, however deep, and of a type inside itself once", () => {
    expect(markdownPages(catalogue).get("demo.v2.md")).toContain("\nPersonal data: `parts.owner`, `word`.\n");
    const events = catalogue.events.map((event) => ({ ...event, fields: [] }));
    expect(markdownPages({ ...catalogue, events }).get("demo.v2.md")).toContain("No field is marked as personal data.");
  });

  it("keep a table a table, whatever a comment holds", () => {
    const [row = ""] = /^\| \[ThingHappened\].*$/m.exec(markdownPages(catalogue).get("README.md") ?? "") ?? [];
    expect(row.replaceAll("\\|", "").split("|")).toHaveLength(6);
    expect(row).toContain("A thing happened \\| or did not. Deprecated.");
  });
});

describe("the schemas of the AsyncAPI document", () => {
  it("take whatever protobuf writes as JSON, of every kind of field", () => {
    const schema = registry.getMessage(TYPE);
    if (schema === undefined) throw new Error("the test's own type is missing");
    const json = toJson(schema, filledMessage(schema), { registry }) as JsonObject;
    const { components } = asyncApi(catalogue) as { components: { schemas: Readonly<Record<string, object>> } };
    const validate = new Ajv({ strict: false, validateFormats: false }).compile({
      $ref: `#/components/schemas/${TYPE}`,
      components: { schemas: components.schemas },
    });
    validate(json);
    expect(validate.errors).toBeNull();
    const wrong: JsonObject = {
      number: 3,
      share: "much",
      blobs: "x",
      parts: [],
      known1: 0,
      known2: "1 minute",
      total: 1,
    };
    for (const [name, value] of Object.entries(wrong)) expect(validate({ [name]: value }), name).toBe(false);
  });
});
