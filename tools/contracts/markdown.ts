import type { Catalogue, CatalogueEvent, CatalogueField, CatalogueType } from "./catalogue.ts";

/** Stands on every page, so that nobody edits one. */
const GENERATED = "<!-- Written by `npm run generate` from proto/; edit the comments there. -->";

/** The pages for people, by file name: `README.md` lists every event, and one page a family tells them in full. */
export function markdownPages(catalogue: Catalogue): ReadonlyMap<string, string> {
  return new Map([
    ["README.md", indexPage(catalogue)],
    ...catalogue.families.map(({ name }): [string, string] => [pageOf(name), familyPage(catalogue, name)]),
  ]);
}

/** "tributary.task.v1" is told in "task.v1.md". */
const pageOf = (family: string): string => `${family.replace(/^tributary\./, "")}.md`;

function indexPage({ version, families, events }: Catalogue): string {
  const blocks = [
    "# Events",
    GENERATED,
    version === ""
      ? "Nothing is released yet."
      : `The newest release of the contracts is ${version}. A released type never changes its meaning; an event without a release may still.`,
    "A handler in TypeScript is given the schema that is named like the event, `.on(TaskCompletedSchema, …)`: [@tributary/subscriber](../../packages/subscriber/README.md). Without our library: [other languages](../other-languages.md). Events of one connection come in order, and each has an id that stays the same however often it comes. Strings that are not set are empty, numbers 0; messages are absent.",
    "Subjects are those on NATS; `{organization}` and `{connector}` stand for one token each, as in `evt.v1.acme.todoist.task.completed`. The same catalogue for programs: `packages/contracts/src/gen/catalogue.json`, and [asyncapi.json](asyncapi.json) (AsyncAPI 3). What each release added: [CHANGELOG](../../proto/CHANGELOG.md).",
    ...families.flatMap(({ name, meaning }) => {
      const own = events.filter((event) => event.family === name);
      const heading = [`## [${name}](${pageOf(name)})`, meaning];
      if (own.length === 0) return heading;
      const rows = own.map((event) => [
        `[${shortName(event.type)}](${pageOf(name)}#${anchor(event.type)})`,
        event.meaning + (event.deprecated ? " Deprecated." : ""),
        `\`${event.subject}\``,
        event.since ?? "not yet",
      ]);
      return [...heading, table(["event", "meaning", "subject", "released in"], rows)];
    }),
  ];
  return page(blocks);
}

function familyPage(catalogue: Catalogue, family: string): string {
  const meaning = catalogue.families.find((each) => each.name === family)?.meaning ?? "";
  const events = catalogue.events.filter((event) => event.family === family);
  const types = catalogue.types.filter((type) => type.family === family);
  return page([
    `# ${family}`,
    GENERATED,
    meaning,
    [
      "[All events](README.md)",
      ...[...events, ...types].map(({ type }) => `[${shortName(type)}](#${anchor(type)})`),
    ].join(" · "),
    ...events.flatMap((event) => eventBlocks(event, catalogue)),
    ...(types.length === 0 || events.length === 0 ? [] : ["---"]),
    ...types.flatMap((type) => typeBlocks(type, family)),
  ]);
}

function eventBlocks(event: CatalogueEvent, catalogue: Catalogue): string[] {
  const personal = personalPaths(event.fields, catalogue, [event.type]);
  const since = event.since === null ? "not yet released" : `since ${event.since}`;
  return [
    `## ${shortName(event.type)}`,
    event.meaning,
    `\`${event.type}\` (${since}${event.deprecated ? "; deprecated" : ""}), on \`${event.subject}\`.`,
    fieldTable(event.fields, event.family),
    personal.length === 0
      ? "No field is marked as personal data."
      : `Personal data: ${personal.map((path) => `\`${path}\``).join(", ")}.`,
    "An example, as protobuf JSON:",
    `\`\`\`json\n${JSON.stringify(event.example, null, 2)}\n\`\`\``,
  ];
}

/** Where in an event, however deep, something can name or describe a person: "task.title". A type inside itself is told once. */
function personalPaths(fields: readonly CatalogueField[], catalogue: Catalogue, above: readonly string[]): string[] {
  return fields.flatMap((field) => {
    if (field.personalData) return [field.name];
    const inside = [...catalogue.types, ...catalogue.events].find(({ type }) => type === field.type);
    if (inside === undefined || above.includes(field.type)) return [];
    return personalPaths(inside.fields, catalogue, [...above, field.type]).map((path) => `${field.name}.${path}`);
  });
}

function typeBlocks(type: CatalogueType, family: string): string[] {
  const rows = type.values.map((value) => [
    `\`${value.name}\``,
    String(value.number),
    value.meaning + (value.deprecated ? " Deprecated." : ""),
  ]);
  return [
    `## ${shortName(type.type)}`,
    type.meaning + (type.deprecated ? " Deprecated." : ""),
    type.kind === "enum" ? table(["value", "number", "meaning"], rows) : fieldTable(type.fields, family),
  ];
}

function fieldTable(fields: readonly CatalogueField[], family: string): string {
  if (fields.length === 0) return "It has no fields.";
  const rows = fields.map((field) => [
    `\`${field.name}\``,
    String(field.number),
    typeText(field, family),
    [
      field.meaning,
      ...(field.personalData ? ["*Personal data.*"] : []),
      ...(field.oneof === null ? [] : [`At most one of \`${field.oneof}\` is set.`]),
      ...(field.deprecated ? ["Deprecated."] : []),
    ].join(" "),
  ]);
  return table(["field", "number", "type", "meaning"], rows);
}

function typeText(field: CatalogueField, family: string): string {
  const { type } = field;
  const named = type.startsWith("tributary.") ? `[${shortName(type)}](${linkTo(type, family)})` : `\`${type}\``;
  if (field.mapKey !== null) return `map from \`${field.mapKey}\` to ${named}`;
  return field.repeated ? `repeated ${named}` : named;
}

function linkTo(type: string, family: string): string {
  const home = type.split(".").slice(0, 3).join(".");
  return `${home === family ? "" : pageOf(home)}#${anchor(type)}`;
}

/** Behind the package, which is "tributary.<domain>.v<n>"; a nested type keeps the name of its parent. */
const shortName = (type: string): string => type.split(".").slice(3).join(".");
/** As GitHub makes them from headings. */
const anchor = (type: string): string => shortName(type).toLowerCase().replaceAll(".", "");

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), `|${head.map(() => "---").join("|")}|`, ...rows.map(line)].join("\n");
}

const page = (blocks: readonly string[]): string => `${blocks.filter((block) => block !== "").join("\n\n")}\n`;
