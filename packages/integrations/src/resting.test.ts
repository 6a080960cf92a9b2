import type { Database } from "@tributary/db";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { createIngress } from "./ingress.ts";
import type { Runtime } from "./runtime.ts";
import { type Scheduler, startScheduler } from "./scheduler.ts";

let scheduler: Scheduler | undefined;
afterEach(() => scheduler?.stop());

/** Counts the looks for due connections, of which there are none. */
function counting(): { readonly runtime: Runtime; looks: number } {
  const counted = { runtime: {} as Runtime, looks: 0 };
  const database = {
    engine: "postgres",
    transaction: () => {
      counted.looks++;
      return Promise.resolve([]);
    },
  } as unknown as Database;
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  return Object.assign(counted, { runtime: { database, log, now: () => new Date(0) } as unknown as Runtime });
}

describe("while the intake rests", () => {
  it("the scheduler claims nothing, and goes on when it no longer does", async () => {
    const counted = counting();
    let resting = true;
    scheduler = startScheduler(counted.runtime, { pollMs: 5, resting: () => resting });
    await sleep(60);
    expect(counted.looks).toBe(0);
    resting = false;
    await expect.poll(() => counted.looks, { timeout: 30_000, interval: 5 }).toBeGreaterThan(2);
    resting = true;
    await sleep(30);
    const before = counted.looks;
    scheduler.nudge();
    await sleep(60);
    expect(counted.looks).toBe(before);
  });

  it("a delivery is refused for now, before anything of it is read", async () => {
    const ingress = createIngress({} as Runtime, { resting: () => true });
    const request = { contextId: "todoist", integration: "todoist", headers: new Headers(), body: new Uint8Array() };
    await expect(ingress.receive(request)).rejects.toMatchObject({ code: "temporarily_unavailable" });
  });
});
