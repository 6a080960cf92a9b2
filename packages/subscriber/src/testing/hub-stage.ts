import { TaskCompletedSchema } from "@tributary/contracts";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach } from "vitest";
import { type EventContext, subscribe, type SubscribeOptions, type Subscription } from "../index.ts";
import { type FakeHub, startFakeHub, TOKEN } from "./fake-hub.ts";

/** A hub for each test of a file, and subscriptions to completed tasks that end with it. */
export interface HubStage {
  readonly hub: FakeHub;
  /** Options for a subscriber of it that is in no hurry to give up, and quick. */
  readonly quick: SubscribeOptions;
  /** What was warned of since the test began, with the words last. */
  readonly warned: (readonly [fields: Readonly<Record<string, unknown>>, message: string])[];
  /** Stopped when the test ends. */
  readonly running: Subscription[];
  listen<Tx = undefined>(
    handle: (context: EventContext<Tx>, title: string) => Promise<void> | void,
    options?: Partial<SubscribeOptions<Tx>>,
  ): Promise<Subscription>;
}

/** Registers what comes before and after each test of the file that calls it. */
export function useHubStage(): HubStage {
  let hub: FakeHub;
  const running: Subscription[] = [];
  const warned: HubStage["warned"] = [];
  const log = { info: () => {}, warn: (fields: object, message: string) => void warned.push([{ ...fields }, message]) };
  const quick = () => ({
    url: hub.url,
    name: "billing",
    token: TOKEN,
    backoffMs: { first: 2, longest: 10 },
    log,
  });
  beforeEach(async () => {
    warned.splice(0);
    hub = await startFakeHub();
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((one) => one.stop(0)));
    await hub.close();
  });
  return {
    get hub() {
      return hub;
    },
    get quick() {
      return quick();
    },
    warned,
    running,
    listen: async <Tx>(
      handle: (context: EventContext<Tx>, title: string) => Promise<void> | void,
      options: Partial<SubscribeOptions<Tx>> = {},
    ) => {
      const subscription = await subscribe<Tx>({ ...quick(), ...options })
        .on(TaskCompletedSchema, ({ task }, context) => handle(context, task?.title ?? ""))
        .start();
      running.push(subscription);
      return subscription;
    },
  };
}

/** Looks every 10 ms, for 30 s at most. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 30_000; performance.now() < end; await sleep(10)) if (condition()) return;
  throw new Error(`not within 30 s: ${what}`);
}
