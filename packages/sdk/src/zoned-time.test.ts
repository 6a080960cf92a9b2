import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { clockIn, instantOf } from "./zoned-time.ts";

describe("a local time in a zone", () => {
  it.each([
    ["2026-01-15T09:00:00", "Europe/Warsaw", "2026-01-15T08:00:00.000Z"],
    ["2026-07-15T09:00:00", "Europe/Warsaw", "2026-07-15T07:00:00.000Z"],
    ["2026-07-15T09:00:00", "America/New_York", "2026-07-15T13:00:00.000Z"],
    ["2026-07-15T09:00:00", "Asia/Kathmandu", "2026-07-15T03:15:00.000Z"],
    // Clocks went back at 03:00: 02:30 was twice, and the later one is meant.
    ["2026-10-25T02:30:00", "Europe/Warsaw", "2026-10-25T01:30:00.000Z"],
    ["2026-07-15T09:00:00", "Nowhere/Else", "2026-07-15T09:00:00.000Z"],
  ])("%s in %s is %s", (local, zone, instant) => {
    expect(instantOf(local, zone).toISOString()).toBe(instant);
  });

  it("comes back from every instant that a clock shows once", () => {
    const zones = fc.constantFrom("Europe/Warsaw", "America/New_York", "Asia/Tokyo", "UTC");
    const hours = fc.integer({ min: 0, max: 8000 });
    fc.assert(
      fc.property(zones, hours, (zone, hour) => {
        const instant = new Date(Date.UTC(2026, 0, 1) + hour * 3_600_000);
        const twin = new Date(instant.getTime() + 3_600_000);
        fc.pre(clockIn(zone, instant) !== clockIn(zone, twin));
        expect(clockIn(zone, instantOf(clockIn(zone, instant), zone))).toBe(clockIn(zone, instant));
      }),
    );
  });
});
