import { describe, expect, it } from "vitest";
import { createSeen } from "./seen.ts";

describe("what was seen", () => {
  it("is pending until it is settled, and settled from then on", () => {
    const seen = createSeen();
    expect(seen.take("a", 1n)).toBe("new");
    expect(seen.take("a", 1n)).toBe("pending");
    seen.settled("a", 1n);
    expect(seen.take("a", 1n)).toBe("settled");
    expect(seen.take("b", 1n)).toBe("new");
  });

  it("is new again when it was given back", () => {
    const seen = createSeen();
    seen.take("a", 1n);
    seen.released("a", 1n);
    expect(seen.take("a", 1n)).toBe("new");
  });

  it("is never taken for granted: what comes behind its successors is new", () => {
    const seen = createSeen();
    for (const sequence of [1n, 3n]) {
      seen.take("a", sequence);
      seen.settled("a", sequence);
    }
    expect(seen.take("a", 2n)).toBe("new");
  });

  it("is forgotten before memory grows, the oldest first", () => {
    const seen = createSeen();
    for (let sequence = 1n; sequence <= 110_000n; sequence++) {
      seen.take("a", sequence);
      seen.settled("a", sequence);
    }
    expect(seen.take("a", 110_000n)).toBe("settled");
    expect(seen.take("a", 60_000n)).toBe("settled");
    expect(seen.take("a", 1n)).toBe("new");
  });
});
