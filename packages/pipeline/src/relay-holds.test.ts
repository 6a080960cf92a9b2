import { describe, expect, it } from "vitest";
import { createHolds, ID_REMEMBERED } from "./relay-holds.ts";

describe("connections that the broker refuses", () => {
  it("are tried again after pauses that grow to half a minute", () => {
    let now = 0;
    const holds = createHolds(() => now);
    const pauses = Array.from({ length: 10 }, (_, turn) => {
      expect(holds.refuse("a", "no_stream", turn)).toBe("hold");
      const since = now;
      while (holds.has("a")) now += 50;
      return now - since;
    });
    expect(pauses).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  });

  it("are parked when they stay refused while others get through", () => {
    const holds = createHolds(() => 0);
    const verdicts = Array.from({ length: 14 }, (_, turn) => holds.refuse("a", "refused_10077", turn));
    expect(verdicts).toEqual([...Array<string>(13).fill("hold"), "park"]);
  });

  it.each([
    ["nobody gets through", "refused_10077", () => 7],
    ["the broker remembers the id of a message that it purged", ID_REMEMBERED, (turn: number) => turn],
  ])("are never parked while %s", (_, reason, elsewhere) => {
    const holds = createHolds(() => 0);
    for (let turn = 0; turn < 100; turn++) expect(holds.refuse("a", reason, elsewhere(turn))).toBe("hold");
  });

  it("start anew once they got through", () => {
    const holds = createHolds(() => 0);
    for (let turn = 0; turn < 13; turn++) holds.refuse("a", "no_stream", turn);
    holds.clear("a");
    expect(holds.has("a")).toBe(false);
    expect(holds.refuse("a", "no_stream", 99)).toBe("hold");
  });

  it("are forgotten, the oldest first, past ten thousand", () => {
    const holds = createHolds(() => 0);
    for (let index = 0; index <= 10_000; index++) holds.refuse(String(index), "no_stream", index);
    expect([holds.has("0"), holds.has("1"), holds.size]).toEqual([false, true, 10_000]);
  });
});
