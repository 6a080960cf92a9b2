import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import {
  type DescMessage,
  type FileRegistry,
  fromBinary,
  fromJson,
  type JsonObject,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { byText } from "../tree.ts";
import { eventTypesOf } from "./registry.ts";

/** One file an event type: `<type>.json`, protobuf JSON with made-up values, shown wherever the event is described. */
export const EXAMPLES = "proto/examples";

/** The examples by the name of their file, and what is wrong with those that are not JSON. */
export function readExamples(root: string): {
  readonly examples: ReadonlyMap<string, JsonObject>;
  readonly findings: readonly string[];
} {
  const folder = join(root, EXAMPLES);
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".json")) : [];
  const examples = new Map<string, JsonObject>();
  const findings: string[] = [];
  for (const name of names.toSorted(byText))
    try {
      examples.set(name.slice(0, -".json".length), JSON.parse(readFileSync(join(folder, name), "utf8")) as JsonObject);
    } catch (error) {
      findings.push(`${EXAMPLES}/${name}: ${messageOf(error)}`);
    }
  return { examples, findings };
}

/** Every event has an example, every example an event, and each survives JSON → message → binary → message → JSON. */
export function checkExamples(root: string, registry: FileRegistry): string[] {
  const { examples, findings } = readExamples(root);
  const events = eventTypesOf(registry);
  const known = new Set(events.map((event) => event.typeName));
  return [
    ...findings,
    ...events
      .filter((event) => !findings.some((finding) => finding.startsWith(`${EXAMPLES}/${event.typeName}.json:`)))
      .flatMap((event) => checkExample(registry, event, examples.get(event.typeName))),
    ...[...examples.keys()].filter((name) => !known.has(name)).map((name) => `${EXAMPLES}/${name}.json: no such event`),
  ];
}

function checkExample(registry: FileRegistry, event: DescMessage, example: JsonObject | undefined): string[] {
  const file = `${EXAMPLES}/${event.typeName}.json`;
  if (example === undefined) return [`${file}: missing; every event has an example, protobuf JSON with made-up values`];
  try {
    const bytes = toBinary(event, fromJson(event, example, { registry }));
    if (bytes.length === 0 && event.fields.length > 0) return [`${file}: shows nothing; set the fields that matter`];
    const again = toJson(event, fromBinary(event, bytes), { registry });
    return isDeepStrictEqual(again, example) ? [] : [`${file}: comes back as ${JSON.stringify(again)}`];
  } catch (error) {
    return [`${file}: ${messageOf(error)}`];
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : "cannot be read");
