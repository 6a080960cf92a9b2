import { EmptySchema } from "@bufbuild/protobuf/wkt";
import { expect, it } from "vitest";
import { signal } from "./signal.ts";

const at = new Date("2026-11-20T10:00:00Z");
const make = (id: string, occurredAt = at) => signal(EmptySchema, { id, occurredAt, data: {} });

it.each([["1"], ["x".repeat(512)], ["zażółć 🐈"], ["a\nb"]])("takes the id %j", (id) => {
  expect(make(id).id).toBe(id);
});

it.each([[""], ["x".repeat(513)], ["\ud800"], ["a\0b"]])("refuses the id %j, without repeating it", (id) => {
  expect(() => make(id)).toThrow("signal: the id must have 1 to 512 characters, well-formed and without NUL");
});

it.each([["0001-01-01T00:00:00.000Z"], ["9999-12-31T23:59:59.999Z"]])("takes the date %s", (text) => {
  expect(make("1", new Date(text)).occurredAt.toISOString()).toBe(text);
});

it.each([[Number.NaN], [-8.64e15], [8.64e15], [Date.parse("9999-12-31T23:59:59.999Z") + 1]])(
  "refuses the date %d",
  (ms) => {
    expect(() => make("1", new Date(ms))).toThrow("signal: occurredAt is not a date in the years 1 to 9999");
  },
);
