import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { fromBinary, type JsonValue, toJson } from "@bufbuild/protobuf";
import { expect, it } from "vitest";
import { eventRegistry, eventTypes } from "./index.ts";

const folder = fileURLToPath(new URL("../../../proto/golden", import.meta.url));
const releases = JSON.parse(readFileSync(join(folder, "releases.json"), "utf8")) as readonly {
  readonly version: string;
  readonly payloads: Readonly<Record<string, string>>;
}[];
const released = releases.flatMap(({ version, payloads }) =>
  Object.keys(payloads).map((typeName) => [version, typeName] as const),
);

it("has something to decode", () => {
  expect(released.length).toBeGreaterThanOrEqual(7);
});

it.each(released)("decodes what %s published as %s", (version, typeName) => {
  const schema = eventTypes.get(typeName);
  if (schema === undefined) throw new Error(`${typeName} is not in the event catalogue`);
  const path = join(folder, version, typeName);
  const expected = JSON.parse(readFileSync(`${path}.json`, "utf8")) as JsonValue;
  expect(toJson(schema, fromBinary(schema, readFileSync(`${path}.binpb`)), { registry: eventRegistry })).toEqual(
    expected,
  );
});
