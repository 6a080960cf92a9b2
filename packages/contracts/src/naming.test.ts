import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  eventHeaders,
  eventId,
  eventSubject,
  eventSubjectFilter,
  eventTypes,
  parseEventHeaders,
  TaskCompletedSchema,
  TaskSchema,
} from "./index.ts";

describe("names on the wire", () => {
  it("puts an event on a subject of six lower-case tokens", () => {
    expect(eventSubject(TaskCompletedSchema, "acme", "todoist")).toBe("evt.v1.acme.todoist.task.completed");
    expect(eventSubjectFilter(TaskCompletedSchema)).toBe("evt.v1.*.*.task.completed");
  });

  it("gives every event type its own subject, with a past-tense verb", () => {
    const subjects = [...eventTypes.values()].map((type) => eventSubject(type, "o", "c"));
    expect(new Set(subjects).size).toBe(subjects.length);
    expect(subjects.length).toBeGreaterThanOrEqual(7);
    for (const subject of subjects) expect(subject).toMatch(/^(evt|sys)\.v1\.o\.c\.[a-z]+\.[a-z]+ed$/);
  });

  it("refuses tokens that NATS would read as wildcards or separators", () => {
    for (const token of ["*", ">", "a.b", "", "Ä", "a b", "A"])
      expect(() => eventSubject(TaskCompletedSchema, token, "todoist")).toThrow(TypeError);
  });

  it("refuses a message that is not an event", () => {
    expect(() => eventSubject(TaskSchema, "acme", "todoist")).toThrow("tributary.task.v1.Task is not an event");
  });

  it("derives ids that differ whenever any part differs", () => {
    const part = fc.string({ maxLength: 12 });
    fc.assert(
      fc.property(fc.tuple(part, part), fc.tuple(part, part), ([object, revision], [otherObject, otherRevision]) => {
        const same = object === otherObject && revision === otherRevision;
        expect(eventId("c", "t", object, revision) === eventId("c", "t", otherObject, otherRevision)).toBe(same);
      }),
    );
  });

  it("keeps an id for ever", () => {
    expect(eventId("3f1c", "tributary.task.v1.TaskCompleted", "task/1", "7")).toMatchInlineSnapshot(
      `"7_Ocwg6PFBX70OzDpo7mgg"`,
    );
  });

  it("carries any object key through the headers", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, unit: "grapheme" }), (objectKey) => {
        const event = {
          id: "i",
          type: "t",
          organizationId: "acme",
          connectionId: "c",
          connector: "todoist",
          objectKey,
          sequence: 9_007_199_254_740_993n,
          time: "2026-11-21T00:00:00.000Z",
          backfill: true,
          traceparent: "",
        };
        const headers = new Map(eventHeaders(event));
        for (const value of headers.values()) expect(value).toMatch(/^[\x21-\x7e]+$/);
        expect(parseEventHeaders((name) => headers.get(name))).toEqual(event);
      }),
    );
  });
});
