import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import {
  DEAD_LETTER_STREAM,
  DEAD_LETTER_SUBJECTS,
  EVENT_STREAM,
  EVENT_SUBJECTS,
  eventCatalogue,
  eventHeaders,
  eventRegistry,
  eventSubject,
  eventTypes,
  HEADER,
  REPLAY_STREAM,
  REPLAY_SUBJECTS,
} from "./index.ts";

const readJson = (path: string): unknown =>
  JSON.parse(readFileSync(fileURLToPath(new URL(path, import.meta.url)), "utf8"));
const asyncApi = readJson("../../../docs/events/asyncapi.json") as {
  readonly components: {
    readonly messageTraits: {
      readonly event: { readonly headers: { readonly properties: object; readonly required: readonly string[] } };
    };
  };
};

/** A dead letter has headers of its own besides; they belong to who reads dead letters. */
const HEADERS_OF_EVENTS = [
  ...Object.values(HEADER).filter((name) => !name.startsWith("trib-dead-letter-")),
  "Nats-Msg-Id",
].toSorted();

describe("the event catalogue", () => {
  it("tells of exactly the types that are in the registry", () => {
    expect(eventCatalogue.events.map((event) => event.type)).toEqual([...eventTypes.keys()].toSorted());
  });

  it.each(eventCatalogue.events)("says of $type what the code does", ({ type, subject, fields, example, meaning }) => {
    const schema = eventTypes.get(type);
    if (schema === undefined) throw new Error(`${type} is not in the registry`);
    expect(subject.replace("{organization}", "acme").replace("{connector}", "todoist")).toBe(
      eventSubject(schema, "acme", "todoist"),
    );
    expect(fields.map(({ name, jsonName, number }) => ({ name, jsonName, number }))).toEqual(
      schema.fields.map(({ name, jsonName, number }) => ({ name, jsonName, number })),
    );
    for (const text of [meaning, ...fields.map((field) => field.meaning)]) expect(text).toMatch(/^[A-Z].+\.$/);
    const bytes = toBinary(schema, fromJson(schema, example, { registry: eventRegistry }));
    expect(toJson(schema, fromBinary(schema, bytes), { registry: eventRegistry })).toEqual(example);
  });

  it("tells of every type that an event is made of", () => {
    const told = new Set(eventCatalogue.types.map((each) => each.type));
    const named = [...eventCatalogue.events, ...eventCatalogue.types].flatMap((each) => each.fields);
    const ours = named.map((field) => field.type).filter((type) => type.startsWith("tributary."));
    expect(ours.filter((type) => !told.has(type) && !eventTypes.has(type))).toEqual([]);
    expect([...told].filter((type) => !ours.includes(type))).toEqual([]);
  });

  it("marks what can name a person", () => {
    const task = eventCatalogue.types.find((each) => each.type === "tributary.task.v1.Task");
    const personal = task?.fields.filter((field) => field.personalData).map((field) => field.name);
    expect(personal).toEqual(expect.arrayContaining(["title", "description", "assignee_id"]));
    expect(personal).not.toContain("id");
  });

  it("is the same as JSON", () => {
    expect(readJson("./gen/catalogue.json")).toEqual(eventCatalogue);
  });

  it("comes with an AsyncAPI document that knows the headers", () => {
    const event = {
      id: "i",
      type: "t",
      organizationId: "acme",
      connectionId: "c",
      connector: "todoist",
      objectKey: "task/1",
      sequence: 1n,
      time: "2026-11-21T00:00:00.000Z",
    };
    const always = eventHeaders({ ...event, backfill: false, traceparent: "" }).map(([name]) => name);
    const { properties, required } = asyncApi.components.messageTraits.event.headers;
    expect(required.toSorted()).toEqual(always.toSorted());
    expect(Object.keys(properties).toSorted()).toEqual(HEADERS_OF_EVENTS);
  });
});

describe("the page for other languages", () => {
  const page = readFileSync(fileURLToPath(new URL("../../../docs/other-languages.md", import.meta.url)), "utf8");

  it("tells of every header that an event can have", () => {
    const [, section = ""] = page.split("\n## Headers\n");
    const told = [...(section.split("\n## ")[0] ?? "").matchAll(/^\| `([\w-]+)` \|/gm)].map(([, name = ""]) => name);
    expect(told.toSorted()).toEqual(HEADERS_OF_EVENTS);
  });

  it("tells of every stream and where its subjects begin", () => {
    for (const name of [EVENT_STREAM, REPLAY_STREAM, DEAD_LETTER_STREAM]) expect(page).toContain(`\`${name}\``);
    for (const subject of [...EVENT_SUBJECTS, ...REPLAY_SUBJECTS, ...DEAD_LETTER_SUBJECTS])
      expect(page).toContain(`| \`${subject.replace(">", "<")}`);
  });
});
