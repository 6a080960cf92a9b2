import fc from "fast-check";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { createLanes } from "./lanes.ts";

interface Task {
  readonly lane: number;
  readonly sequence: number;
  /** How often it fails before it succeeds, and how long each call takes, in turns of the event loop. */
  readonly failures: number;
  readonly turns: number;
}

const tasks = fc.array(
  fc.record({ lane: fc.nat(4), sequence: fc.constant(0), failures: fc.nat(3), turns: fc.nat(3) }),
  { maxLength: 40 },
);

/** Runs what was pushed and says what was done in which lane, and how many ran at once. */
async function drive(pushed: readonly Task[], concurrency: number) {
  const done: Task[] = [];
  let running = 0;
  let most = 0;
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const lanes = createLanes<Task>(concurrency, async (task, place) => {
    for (let attempt = 0; ; attempt++) {
      most = Math.max(most, ++running);
      for (let count = 0; count < task.turns; count++) await turn();
      running--;
      if (attempt >= task.failures) break;
      await place.yieldFor(turn());
    }
    done.push(task);
  });
  for (const task of pushed) lanes.push(String(task.lane), task);
  await lanes.idle();
  return { done, most };
}

describe("lanes", () => {
  it("keep the order of every lane whatever fails and however long it takes, and do everything once", async () => {
    await fc.assert(
      fc.asyncProperty(tasks, fc.integer({ min: 1, max: 4 }), async (drawn, concurrency) => {
        const pushed = drawn.map((task, sequence) => ({ ...task, sequence }));
        const { done, most } = await drive(pushed, concurrency);
        for (const lane of [0, 1, 2, 3, 4])
          expect(done.filter((task) => task.lane === lane)).toEqual(pushed.filter((task) => task.lane === lane));
        expect(most).toBeLessThanOrEqual(concurrency);
      }),
      { numRuns: 60 },
    );
  });

  it("go on with other lanes while one waits for its retry", async () => {
    const done: string[] = [];
    const lanes = createLanes<string>(1, async (task, place) => {
      if (task === "slow") await place.yieldFor(sleep(30));
      done.push(task);
    });
    for (const [lane, task] of [
      ["a", "slow"],
      ["a", "after"],
      ["b", "other"],
    ] as const)
      lanes.push(lane, task);
    await lanes.idle();
    expect(done).toEqual(["other", "slow", "after"]);
  });

  it("give back what has not begun", async () => {
    const begun = Promise.withResolvers<void>();
    const lanes = createLanes<number>(1, () => begun.promise);
    for (const task of [1, 2, 3]) lanes.push("a", task);
    await sleep(1);
    expect(lanes.clear()).toEqual([2, 3]);
    begun.resolve();
    await lanes.idle();
  });
});
