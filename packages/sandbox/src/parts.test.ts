import { describe, expect, it } from "vitest";
import { createChangeLog, TokenRefused } from "./change-log.ts";
import { createClock } from "./clock.ts";
import { createJournal } from "./journal.ts";
import { createRateWindow } from "./rate-window.ts";

describe("the clock", () => {
  it("follows the real one, jumps, stops and runs on, never back", () => {
    let real = 1000;
    const clock = createClock(() => real);
    const read = (): number => clock.now().getTime();
    clock.advance(500);
    real += 1;
    expect(read()).toBe(1501);
    clock.freeze();
    real += 100;
    clock.advance(9);
    expect(read()).toBe(1510);
    clock.thaw();
    real += 5;
    expect(read()).toBe(1515);
    expect(() => clock.advance(-1)).toThrow(RangeError);
    expect(() => clock.freeze(new Date(0))).toThrow(RangeError);
    clock.freeze(new Date(5000));
    expect(read()).toBe(5000);
  });
});

describe("the change log", () => {
  const filled = () => {
    const log = createChangeLog<string>("key");
    log.put("a", "1");
    log.put("b", "1");
    return log;
  };

  it("tells what changed since a token: each object once, as it is now, tombstones included", () => {
    const log = filled();
    const since = log.read(log.token("p"), "p");
    log.put("b", "2");
    log.put("a", "2");
    log.remove("b", "gone");
    expect(log.changedSince(since)).toEqual([
      { id: "a", value: "2", deleted: false },
      { id: "b", value: "gone", deleted: true },
    ]);
    expect(log.live()).toEqual(["2"]);
    expect(log.changedSince(log.sequence)).toEqual([]);
  });

  it.each<[string, (log: ReturnType<typeof filled>) => unknown, TokenRefused["reason"]]>([
    ["garbage", (log) => log.read("garbage", "p"), "malformed"],
    ["an empty token", (log) => log.read("", "p"), "malformed"],
    ["another log's token", (log) => log.read(createChangeLog("other").token("p"), "p"), "malformed"],
    ["other parameters", (log) => log.read(log.token("q"), "p"), "parameters"],
    [
      "a token from before it was compacted",
      (log) => {
        const token = log.token("p");
        log.expireTokens();
        return log.read(token, "p");
      },
      "expired",
    ],
    [
      "a token from before it was cleared",
      (log) => {
        const token = log.token("p");
        log.clear();
        return log.read(token, "p");
      },
      "expired",
    ],
  ])("refuses %s", (_what, act, reason) => {
    expect(() => act(filled())).toThrow(expect.objectContaining({ reason }));
  });

  it("forgets the oldest changes, and says so", () => {
    const log = filled();
    const [old, ...changes] = [log.token("p"), ...Array.from({ length: 100_001 }, (_, index) => String(index))];
    for (const change of changes) log.put("a", change);
    expect(() => log.read(old ?? "", "p")).toThrow(TokenRefused);
    expect(log.changedSince(log.read(log.token("p"), "p"))).toEqual([]);
  });
});

it("the journal keeps the newest thousand requests and counts", () => {
  const journal = createJournal();
  for (let index = 0; index < 2500; index++)
    journal.record({ at: "", method: "GET", path: `/${index}`, query: {}, headers: {}, status: 200 });
  expect([journal.entries.length, journal.entries[0]?.path]).toEqual([1000, "/1500"]);
  journal.count("x");
  expect([journal.counted("x"), journal.counted("y")]).toEqual([1, 0]);
});

it("a rate window lets so many through per key, then says how long to wait", () => {
  const clock = createClock(() => 0);
  const window = createRateWindow(clock, 2, 10_000);
  expect([window.take("a"), window.take("a"), window.take("b")]).toEqual([undefined, undefined, undefined]);
  clock.advance(3500);
  expect(window.take("a")).toBe(7);
  clock.advance(6500);
  expect(window.take("a")).toBeUndefined();
});
