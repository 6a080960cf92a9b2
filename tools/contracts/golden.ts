import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type FileRegistry, fromBinary, fromJson, type JsonValue, toBinary, toJson } from "@bufbuild/protobuf";
import { isDeepStrictEqual } from "node:util";
import { byText } from "../tree.ts";
import { eventTypesOf } from "./registry.ts";

/** One folder a release, one binary and one JSON file an event type. Nothing in it ever changes. */
export const GOLDEN = "proto/golden";

/** What the golden check looked at. */
export interface GoldenResult {
  readonly types: number;
  readonly payloads: number;
  readonly findings: readonly string[];
}

/**
 * Decodes every payload ever released with the contracts as they are now, and compares it with the JSON beside it. What
 * is wrong with a type is said once, with the releases that it concerns.
 */
export function checkGolden(root: string, registry: FileRegistry): GoldenResult {
  const events = eventTypesOf(registry);
  const files = goldenFiles(root);
  const wrong = new Map<string, string[]>();
  for (const file of files) {
    const [, , version = "", name = ""] = file.split("/");
    const type = name.replace(/\.binpb$/, "");
    for (const what of checkPayload(root, registry, file, type))
      wrong.set(`${type} ${what}`, [...(wrong.get(`${type} ${what}`) ?? []), version]);
  }
  const findings = [...wrong].map(([what, versions]) => `${GOLDEN}: the payload of ${what} (${versions.join(", ")})`);
  if (events.length === 0) findings.push("proto/: no message is marked as an event; the golden check sees nothing");
  if (files.length === 0) findings.push(`${GOLDEN}: no released payload`);
  return { types: events.length, payloads: files.length, findings };
}

/** `proto/golden/<version>/<type>.binpb`, relative to the root. */
export function goldenFiles(root: string): string[] {
  const folder = join(root, GOLDEN);
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name }) => readdirSync(join(folder, name)).map((file) => `${GOLDEN}/${name}/${file}`))
    .filter((file) => file.endsWith(".binpb"))
    .toSorted(byText);
}

/** @returns what is wrong, to be read behind "the payload of <type>". */
function checkPayload(root: string, registry: FileRegistry, file: string, typeName: string): string[] {
  const schema = registry.getMessage(typeName);
  if (schema === undefined) return ["was released, and the type is gone"];
  try {
    const bytes = readFileSync(join(root, file));
    const expected = JSON.parse(readFileSync(join(root, file.replace(/\.binpb$/, ".json")), "utf8")) as JsonValue;
    const decoded = toJson(schema, fromBinary(schema, bytes), { registry });
    const fromText = toBinary(schema, fromJson(schema, expected, { registry }));
    return [
      ...(isDeepStrictEqual(decoded, expected) ? [] : ["decodes to something else than when it was released"]),
      ...(bytes.equals(fromText) ? [] : ["has JSON that encodes to other bytes than when it was released"]),
    ];
  } catch (error) {
    return [`does not decode any more: ${error instanceof Error ? error.message : "unknown error"}`];
  }
}
