import {
  type DescEnum,
  type DescField,
  type DescMessage,
  type FileRegistry,
  type JsonObject,
} from "@bufbuild/protobuf";
import { byText } from "../tree.ts";
import { createCommentReader } from "./comments.ts";
import { elementType, scalarName } from "./field-type.ts";
import { eventTypesOf, isPersonal, subjectOf } from "./registry.ts";

/** What packages/contracts exports as `EventCatalogue`, which says what each field means; its compiler compares them. */
export type Catalogue = ReturnType<typeof readCatalogue>;
export type CatalogueEvent = Catalogue["events"][number];
export type CatalogueType = Catalogue["types"][number];
export type CatalogueField = CatalogueEvent["fields"][number];

/** Facts that do not stand in a `.proto` file. */
export interface CatalogueFacts {
  /** The newest release; "" before the first. */
  readonly version: string;
  /** By event type: the release that it first came with. */
  readonly since: ReadonlyMap<string, string>;
  /** By event type: its example as protobuf JSON. An event without one has an empty example. */
  readonly examples: ReadonlyMap<string, JsonObject>;
}

/** Every event, and every type that an event is made of, in the words of the comments in the `.proto` files. */
export function readCatalogue(registry: FileRegistry, facts: CatalogueFacts) {
  const comment = createCommentReader();
  const fieldsOf = (message: DescMessage) =>
    message.fields.map((field) => readField(field, isPersonal(registry, field), comment(field)));
  const events = eventTypesOf(registry);
  const parts = partsOf(events);
  const packages = new Set([...events, ...parts].map((each) => each.file.proto.package));
  return {
    version: facts.version,
    families: [...packages]
      .toSorted(byText)
      .map((name) => ({ name, meaning: packageComment(registry, name, comment) })),
    events: events.map((event) => ({
      type: event.typeName,
      family: event.file.proto.package,
      file: `${event.file.name}.proto`,
      meaning: comment(event),
      subject: `${rootOf(event)}.v1.{organization}.{connector}.${subjectOf(registry, event)}`,
      since: facts.since.get(event.typeName) ?? null,
      deprecated: event.deprecated,
      fields: fieldsOf(event),
      example: facts.examples.get(event.typeName) ?? {},
    })),
    types: parts.map((part) => ({
      type: part.typeName,
      family: part.file.proto.package,
      kind: part.kind,
      meaning: comment(part),
      deprecated: part.deprecated,
      fields: part.kind === "message" ? fieldsOf(part) : [],
      values: part.kind === "message" ? [] : part.values.map((value) => readValue(value, comment(value))),
    })),
  };
}

/** `sys` for what the runtime says of itself; the same rule as `eventSubject` of packages/contracts, and tested so. */
const rootOf = (event: DescMessage): string => (event.typeName.startsWith("tributary.system.") ? "sys" : "evt");

/** Of the files of a package the first that says something; the others need not repeat it. */
function packageComment(registry: FileRegistry, name: string, comment: ReturnType<typeof createCommentReader>): string {
  const files = [...registry.files].filter((file) => file.proto.package === name);
  return files.toSorted((a, b) => byText(a.name, b.name)).reduce((found, file) => found || comment(file), "");
}

function readField(field: DescField, personalData: boolean, meaning: string) {
  return {
    name: field.name,
    jsonName: field.jsonName,
    number: field.number,
    type: elementType(field),
    repeated: field.fieldKind === "list",
    mapKey: field.fieldKind === "map" ? scalarName(field.mapKey) : null,
    oneof: field.oneof?.name ?? null,
    personalData,
    deprecated: field.deprecated,
    meaning,
  };
}

function readValue(value: DescEnum["values"][number], meaning: string) {
  return { name: value.name, number: value.number, meaning, deprecated: value.deprecated };
}

/** What the events hold, and what that holds, by name, without events. Google's own types are documented by Google. */
function partsOf(events: readonly DescMessage[]): (DescMessage | DescEnum)[] {
  const found: (DescMessage | DescEnum)[] = [];
  const known = new Set(events.map((event) => event.typeName));
  const visit = (message: DescMessage): void => {
    for (const field of message.fields) {
      const part = field.message ?? field.enum;
      if (part === undefined || known.has(part.typeName) || part.typeName.startsWith("google.")) continue;
      known.add(part.typeName);
      found.push(part);
      if (part.kind === "message") visit(part);
    }
  };
  for (const event of events) visit(event);
  return found.toSorted((a, b) => byText(a.typeName, b.typeName));
}
