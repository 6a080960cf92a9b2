import { create, toJson } from "@bufbuild/protobuf";
import { TaskSchema } from "@tributary/contracts";
import { describe, expect, it } from "vitest";
import { Item } from "./schemas.ts";
import { taskOf } from "./task.ts";

const item = (fields: object): Item =>
  Item.parse({ id: "1", is_deleted: false, checked: false, content: "Title", priority: 1, ...fields });
const json = (fields: object, timeZone = "Europe/Warsaw"): unknown =>
  toJson(TaskSchema, create(TaskSchema, taskOf(item(fields), timeZone)));
const due = (fields: object) => ({ due: { is_recurring: false, string: "words", lang: "en", ...fields } });

describe("Todoist's item as a task", () => {
  it("carries everything that the contract has a place for", () => {
    const full = item({
      description: "Notes",
      priority: 4,
      labels: ["b", "a"],
      project_id: "p",
      parent_id: "1000",
      responsible_uid: "42",
      added_at: "2026-01-02T03:04:05.000000Z",
      updated_at: "2026-01-02T03:04:06.123000Z",
      ...due({ date: "2026-01-31", is_recurring: true, string: "every month" }),
    });
    expect(toJson(TaskSchema, create(TaskSchema, taskOf(full, "UTC")))).toEqual({
      id: "1",
      title: "Title",
      description: "Notes",
      due: { date: "2026-01-31", recurrence: { rule: "every month", language: "en" } },
      priority: "PRIORITY_URGENT",
      labels: ["b", "a"],
      projectId: "p",
      parentId: "1000",
      assigneeId: "42",
      createdAt: "2026-01-02T03:04:05Z",
      updatedAt: "2026-01-02T03:04:06.123Z",
    });
  });

  it("needs little more than an id and a title", () => {
    expect(json({ due: null, labels: null, description: null })).toEqual({
      id: "1",
      title: "Title",
      priority: "PRIORITY_NORMAL",
    });
  });

  it.each([
    [1, "PRIORITY_NORMAL"],
    [2, "PRIORITY_MEDIUM"],
    [3, "PRIORITY_HIGH"],
    [4, "PRIORITY_URGENT"],
  ])("reads priority %i as %s", (priority, name) => expect(json({ priority })).toMatchObject({ priority: name }));

  it("leaves a priority that it does not know unspecified", () =>
    expect(json({ priority: 7 })).not.toHaveProperty("priority"));

  it.each([
    ["a day", "2026-07-01", null, { date: "2026-07-01" }],
    [
      "a floating time, on the person's clock",
      "2026-07-01T09:00:00",
      null,
      { date: "2026-07-01", time: "2026-07-01T07:00:00Z" },
    ],
    ["the same in winter", "2026-01-01T09:00:00", null, { date: "2026-01-01", time: "2026-01-01T08:00:00Z" }],
    [
      "a floating time just before clocks go forward",
      "2026-03-29T01:30:00",
      null,
      { date: "2026-03-29", time: "2026-03-29T00:30:00Z" },
    ],
    [
      "a floating time just after clocks go forward",
      "2026-03-29T03:30:00",
      null,
      { date: "2026-03-29", time: "2026-03-29T01:30:00Z" },
    ],
    [
      "an instant, on the day it has in its own zone",
      "2026-07-01T22:30:00Z",
      "America/New_York",
      { date: "2026-07-01", time: "2026-07-01T22:30:00Z", timeZone: "America/New_York" },
    ],
    [
      "an instant that is tomorrow where it was meant",
      "2026-07-01T22:30:00Z",
      "Europe/Warsaw",
      { date: "2026-07-02", time: "2026-07-01T22:30:00Z", timeZone: "Europe/Warsaw" },
    ],
    [
      "an instant in a zone that nobody knows",
      "2026-07-01T22:30:00Z",
      "Moon/Base",
      { date: "2026-07-01", time: "2026-07-01T22:30:00Z", timeZone: "Moon/Base" },
    ],
  ])("reads %s", (_what, date, timezone, expected) =>
    expect(json(due({ date, timezone }))).toMatchObject({ due: expected }),
  );
});
