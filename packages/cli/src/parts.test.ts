import { create } from "@bufbuild/protobuf";
import { timestampDate, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { ConsumerSchema, Road } from "@tributary/contracts";
import { describe, expect, it } from "vitest";
import { count, moment, shown } from "./moment.ts";
import { serverSentEvents } from "./sse.ts";
import { passingName, strayConsumers } from "./stray-consumers.ts";
import { plainJson, table } from "./table.ts";

const now = new Date("2026-11-21T12:00:00Z");

describe("a time on the command line", () => {
  it.each([
    ["90s", "2026-11-21T11:58:30.000Z"],
    ["30m", "2026-11-21T11:30:00.000Z"],
    ["12h", "2026-11-21T00:00:00.000Z"],
    ["7d", "2026-11-14T12:00:00.000Z"],
    ["2026-11-01", "2026-11-01T00:00:00.000Z"],
    ["2026-11-01T10:00:00+02:00", "2026-11-01T08:00:00.000Z"],
  ])("%s is %s", (text, iso) => {
    expect(timestampDate(moment(text, now)).toISOString()).toBe(iso);
  });

  it.each(["", "yesterday", "12", "-3h", "7w", "2026-13-01", "1e3s"])("is refused: %j", (text) => {
    expect(() => moment(text, now)).toThrow("A time is");
  });

  it("is shown to the second, or as a dash", () => {
    expect(shown(moment("30m", now))).toBe("2026-11-21 11:30:00");
    expect(shown(undefined)).toBe("-");
  });

  it("and a count is a whole number within its bounds", () => {
    expect(count(200)("200")).toBe(200);
    for (const text of ["0", "201", "1.5", "many", ""]) expect(() => count(200)(text)).toThrow("from 1 to 200");
  });
});

describe("a consumer that a killed listen left", () => {
  const DAY_MS = 24 * 3_600_000;
  const seen = (name: string, agoMs: number, connected = false) =>
    create(ConsumerSchema, {
      name,
      connected,
      road: Road.HTTP,
      createdAt: timestampFromMs(0),
      lastSeenAt: timestampFromMs(now.getTime() - agoMs),
    });

  it("is known by its name, and by nobody having seen it for a day", () => {
    const left = passingName();
    const never = create(ConsumerSchema, { name: passingName(), road: Road.HTTP, createdAt: timestampFromMs(0) });
    const others = [
      seen(passingName(), DAY_MS + 1, true),
      seen(passingName(), DAY_MS - 1),
      seen("billing", 9 * DAY_MS),
      create(ConsumerSchema, { ...seen(passingName(), 9 * DAY_MS), road: Road.NATS }),
      seen("listen-office", 9 * DAY_MS),
      create(ConsumerSchema, { name: passingName(), road: Road.HTTP, createdAt: timestampFromMs(now.getTime()) }),
    ];
    expect(strayConsumers([...others, seen(left, DAY_MS + 1), never], now)).toEqual([left, never.name]);
  });
});

it("JSON is the same to a program, and nothing that a terminal obeys", () => {
  const said = { title: "\u009b31m\u202egnirts\u007f\u2066 👨‍👩‍👧 ż" };
  const text = plainJson(JSON.stringify(said));
  expect(JSON.parse(text)).toEqual(said);
  expect(text).toBe(String.raw`{"title":"\u009b31m\u202egnirts\u007f\u2066 👨‍👩‍👧 ż"}`);
});

describe("a table", () => {
  it("may have as many rows as can be listed", () => {
    expect(
      table(
        ["A"],
        Array.from({ length: 300_000 }, () => ["x"]),
      ),
    ).toHaveLength(300_001);
  });

  it("has columns as wide as they need, and shows no control characters", () => {
    expect(
      table(
        ["A", "LONGER"],
        [
          ["value", "x"],
          ["\u001B[31mred", "y\r\nz"],
        ],
      ),
    ).toEqual(["A         LONGER", "value     x", "?[31mred  y??z"]);
  });
});

describe("a stream of server-sent events", () => {
  const read = async (...chunks: readonly string[]) => {
    const events: unknown[] = [];
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk));
        controller.close();
      },
    });
    for await (const event of serverSentEvents(body)) events.push(event);
    return events;
  };

  it("is read however it is cut, comments passed over", async () => {
    const whole = ': hello\n\nid: 7\nevent: a\ndata: {"x":"ż"}\n\n: beat\n\ndata: one\ndata: two\n\n';
    const expected = [
      { id: "7", event: "a", data: '{"x":"ż"}' },
      { id: "", event: "", data: "one\ntwo" },
    ];
    expect(await read(whole)).toEqual(expected);
    for (let at = 1; at < whole.length; at += 3)
      expect(await read(whole.slice(0, at), whole.slice(at))).toEqual(expected);
    expect(await read(whole.replaceAll("\n", "\r\n"))).toEqual(expected);
  });

  it("ends with an error when an event has no end", async () => {
    const chunk = "x".repeat(1024 * 1024);
    await expect(read(...Array.from({ length: 9 }, () => `data: ${chunk}`))).rejects.toThrow("no end");
  });
});
