import { RateLimited } from "@tributary/sdk";
import { describe, expect, it } from "vitest";
import { createThrottle } from "./throttle.ts";

const limit = { requests: 10, perMs: 900_000, scope: "connection" } as const;
const { signal } = new AbortController();

describe("the throttle", () => {
  it("lets a burst of the whole limit through, and no more", async () => {
    const throttle = createThrottle(() => 0);
    for (let i = 0; i < 10; i++) await throttle.turn("a", limit, signal);
    await expect(throttle.turn("a", limit, signal)).rejects.toThrow(RateLimited);
    await throttle.turn("b", limit, signal);
  });

  it("fills up again with time, and never beyond the limit", async () => {
    let now = 0;
    const throttle = createThrottle(() => now);
    for (let i = 0; i < 10; i++) await throttle.turn("a", limit, signal);
    now = 90_000;
    await throttle.turn("a", limit, signal);
    await expect(throttle.turn("a", limit, signal)).rejects.toMatchObject({ retryAfterMs: 90_000 });
    now = 100 * 900_000;
    for (let i = 0; i < 10; i++) await throttle.turn("a", limit, signal);
    await expect(throttle.turn("a", limit, signal)).rejects.toThrow(RateLimited);
  });

  it("waits out a short time instead of ending the run", async () => {
    const throttle = createThrottle(() => 0);
    const quick = { requests: 1, perMs: 20, scope: "connection" } as const;
    await throttle.turn("a", quick, signal);
    const before = performance.now();
    await throttle.turn("a", quick, signal);
    expect(performance.now() - before).toBeGreaterThan(10);
  });

  it("asks nothing where there is no limit", async () => {
    await expect(createThrottle(() => 0).turn("a", undefined, signal)).resolves.toBeUndefined();
  });
});
