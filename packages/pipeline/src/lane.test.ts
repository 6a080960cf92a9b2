import { describe, expect, it } from "vitest";
import { createLane, type Lane } from "./lane.ts";

const CONNECTION = "11111111-1111-1111-1111-111111111111";

const stored = (settled: bigint, ahead: readonly bigint[] = []) => ({ connectionId: CONNECTION, settled, ahead });

/** Settled up to 4, with event 5 handed out. */
function laneAtFive(): Lane {
  const lane = createLane(CONNECTION, stored(4n));
  lane.step({ sequence: 5n }, true);
  return lane;
}

const told = (lane: Lane) => ({ settled: lane.settled, outstanding: lane.outstanding });

describe("what is gone and told, in a lane", () => {
  it("is settled by way of another process, ahead of an event that is not", () => {
    const lane = laneAtFive();
    expect(lane.pass({ sequence: 10n }, true)).toBe(5n);
    expect(lane.merge(stored(4n, [10n]))).toBe(1);
    expect(told(lane)).toEqual({ settled: 4n, outstanding: 1 });
    expect(lane.settle(5n)).toBe(true);
    expect(told(lane)).toEqual({ settled: 10n, outstanding: 0 });
  });

  it("is settled by way of another process that has come further", () => {
    const lane = laneAtFive();
    lane.pass({ sequence: 10n }, true);
    expect(lane.merge(stored(12n))).toBe(2);
    expect(told(lane)).toEqual({ settled: 12n, outstanding: 0 });
  });

  it("stays before all of it while another process has come to within it", () => {
    const lane = laneAtFive();
    lane.pass({ sequence: 10n }, true);
    expect(lane.merge(stored(8n))).toBe(1);
    expect(told(lane)).toEqual({ settled: 5n, outstanding: 1 });
  });

  it("is not settled with an event that was the first of it, sent while it was still there", () => {
    const lane = laneAtFive();
    lane.pass({ sequence: 10n }, true);
    expect(lane.settle(6n)).toBe(false);
    expect(lane.settle(5n)).toBe(true);
    expect(told(lane)).toEqual({ settled: 5n, outstanding: 1 });
    expect(lane.settle(10n)).toBe(true);
    expect(told(lane)).toEqual({ settled: 10n, outstanding: 0 });
  });

  it("counts all that was not settled, whatever was settled before it", () => {
    const lane = createLane(CONNECTION, stored(4n, [6n, 8n]));
    lane.merge(stored(6n));
    expect(lane.pass({ sequence: 9n }, true)).toBe(2n);
  });

  it("is told where it is one event, though one before it was settled out of turn", () => {
    const lane = createLane(CONNECTION, stored(4n, [6n]));
    lane.merge(stored(6n));
    expect(lane.pass({ sequence: 7n }, true)).toBe(1n);
  });
});
