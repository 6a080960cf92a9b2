import { TaskChangedSchema, TaskCompletedSchema } from "@tributary/contracts";
import fc from "fast-check";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { drop, retry, subscribe } from "./index.ts";
import { completed, Outcome, startFakeHub } from "./testing/fake-hub.ts";
import { until, useHubStage } from "./testing/hub-stage.ts";

const stage = useHubStage();
const { listen } = stage;

describe("a subscription over HTTP", () => {
  it("hands over the typed message and everything that is known of it, then acknowledges", async () => {
    const got: unknown[] = [];
    await listen(({ signal, tx, ...context }, title) => void got.push([context, title, signal.aborted, tx]));
    stage.hub.publish(completed("c1", 1));
    await until("acknowledged", () => stage.hub.acks.length === 1);
    expect(got).toEqual([
      [
        {
          id: "c1-1",
          type: "tributary.task.v1.TaskCompleted",
          organizationId: "acme",
          connectionId: "c1",
          connector: "todoist",
          objectKey: "task/1",
          sequence: 1n,
          time: new Date(1_763_683_200_001),
          backfill: false,
          traceparent: "",
          attempt: 1,
        },
        "Water",
        false,
        undefined,
      ],
    ]);
    expect(stage.hub.requests[0]).toMatchObject({
      consumer: "billing",
      types: ["tributary.task.v1.TaskCompleted"],
      window: 1000,
    });
    expect(stage.hub.acks[0]).toMatchObject({
      consumer: "billing",
      connectionId: "c1",
      sequence: 1n,
      outcome: Outcome.HANDLED,
    });
  });

  it("keeps the order of every connection whatever fails, and reaches every event once", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ lane: fc.nat(3), failures: fc.nat(3) }), { maxLength: 25 }),
        async (drawn) => {
          const own = await startFakeHub();
          const counts = new Map<string, number>();
          const events = drawn.map(({ lane, failures }) => {
            const sequence = (counts.get(`c${lane}`) ?? 0) + 1;
            counts.set(`c${lane}`, sequence);
            return { connectionId: `c${lane}`, sequence, failures };
          });
          const left = new Map(events.map((one) => [`${one.connectionId}-${one.sequence}`, one.failures]));
          const done: string[] = [];
          const subscription = await subscribe({ ...stage.quick, url: own.url, concurrency: 2 })
            .on(TaskCompletedSchema, (_, { id }) => {
              const failures = left.get(id) ?? 0;
              left.set(id, failures - 1);
              if (failures > 0) throw retry(1);
              done.push(id);
            })
            .start();
          own.publish(...events.map(({ connectionId, sequence }) => completed(connectionId, sequence)));
          await until("everything is acknowledged", () => own.acks.length >= events.length);
          await subscription.stop();
          await own.close();
          for (const [id, count] of counts)
            expect(done.filter((one) => one.startsWith(`${id}-`))).toEqual(
              Array.from({ length: count }, (_, index) => `${id}-${index + 1}`),
            );
        },
      ),
      { numRuns: 15 },
    );
  });

  it("calls again with growing pauses, counts the calls, and gives up into a dead letter; successors go on", async () => {
    const attempts: number[] = [];
    const subscription = await listen(
      ({ sequence, attempt }) => {
        if (sequence > 1n) return;
        attempts.push(attempt);
        throw Object.assign(new TypeError("about a person"), { code: "E_ADDRESS" });
      },
      { attemptsMax: 4 },
    );
    stage.hub.publish(completed("c1", 1), completed("c1", 2));
    await until("both are settled", () => stage.hub.acks.length === 2);
    expect(attempts).toEqual([1, 2, 3, 4]);
    expect(stage.hub.acks.map(({ sequence, outcome, reason }) => [sequence, outcome, reason])).toEqual([
      [1n, Outcome.DEAD_LETTER, "attempts exhausted: TypeError E_ADDRESS"],
      [2n, Outcome.HANDLED, ""],
    ]);
    expect(subscription.stats()).toMatchObject({ handled: 1, retried: 3, deadLetters: 1 });
  });

  it("gives an event up at once when the handler says so, or when it cannot be read", async () => {
    await listen(() => {
      throw drop("unknown customer");
    });
    stage.hub.publish(completed("c1", 1), { ...completed("c1", 2), data: new Uint8Array([255, 255]) });
    await until("both are settled", () => stage.hub.acks.length === 2);
    expect(stage.hub.acks.map(({ reason }) => reason)).toEqual(["unknown customer", "undecodable"]);
  });

  it("neither loses nor repeats an effect when streams are cut and acknowledgements fail", async () => {
    const done: string[] = [];
    const subscription = await listen(async ({ id }) => {
      await sleep(15);
      done.push(id);
    });
    const events = Array.from({ length: 60 }, (_, index) => completed(`c${index % 3}`, 1 + Math.floor(index / 3)));
    for (const [index, event] of events.entries()) {
      stage.hub.publish(event);
      if (index % 10 === 5) stage.hub.cut();
      if (index % 20 === 15) stage.hub.failAcks(5);
      await sleep(2);
    }
    await until(
      "everything is acknowledged",
      () => new Set(stage.hub.acks.map((a) => `${a.connectionId}-${a.sequence}`)).size === 60,
    );
    expect(done.toSorted()).toEqual(events.map(({ id }) => id).toSorted());
    expect(stage.hub.requests.length).toBeGreaterThan(2);
    expect(subscription.stats().handled).toBe(60);
  });

  it("runs the effect in the inbox's transaction, and not at all for an event that is recorded", async () => {
    const recorded = new Set(["c1-1"]);
    const got: unknown[] = [];
    const subscription = await subscribe({
      ...stage.quick,
      url: stage.hub.url,
      inbox: {
        once: async (eventId: string, effect: (tx: { readonly id: number }) => Promise<void>) => {
          if (recorded.has(eventId)) return false;
          await effect({ id: 7 });
          recorded.add(eventId);
          return true;
        },
      },
    })
      .on(TaskCompletedSchema, (_, { id, tx }) => void got.push([id, tx.id]))
      .start();
    stage.running.push(subscription);
    stage.hub.publish(completed("c1", 1), completed("c1", 2));
    await until("both are settled", () => stage.hub.acks.length === 2);
    expect(got).toEqual([["c1-2", 7]]);
  });

  it("lets a running handler finish when it stops, and acknowledges nothing that it did not do", async () => {
    const begun = Promise.withResolvers<void>();
    const done: bigint[] = [];
    const subscription = await listen(async ({ sequence }) => {
      begun.resolve();
      await sleep(50);
      done.push(sequence);
    });
    stage.hub.publish(completed("c1", 1), completed("c1", 2));
    await begun.promise;
    await subscription.stop();
    expect(done).toEqual([1n]);
    expect(stage.hub.acks.map(({ sequence }) => sequence)).toEqual([1n]);
    await subscription.done;
  });

  it("ends with a reason when the hub refuses it", async () => {
    await expect(listen(() => {}, { token: "wrong" })).rejects.toThrow(
      /^refused: the hub at .* answers Unauthenticated/,
    );
    const subscription = await listen(() => {});
    stage.hub.knows();
    await expect(subscription.done).rejects.toThrow("refused: the hub answers Unauthenticated: no");
  });

  it("says at its start that no hub is there", async () => {
    await expect(listen(() => {}, { url: "http://127.0.0.1:1" })).rejects.toThrow(/^unreachable: the hub at /);
  });

  it("keeps a dead letter for a hub that is away for long, and goes on when it is back", async () => {
    const subscription = await listen(
      ({ sequence }) => {
        if (sequence === 1n) throw drop("must be kept");
      },
      { window: 1 },
    );
    stage.hub.failAcks(25);
    stage.hub.publish(completed("c1", 1), completed("c1", 2));
    await until("both are settled", () => stage.hub.acks.length === 2);
    expect(stage.hub.acks.map(({ sequence, outcome, reason }) => [sequence, outcome, reason])).toEqual([
      [1n, Outcome.DEAD_LETTER, "must be kept"],
      [2n, Outcome.HANDLED, ""],
    ]);
    expect(subscription.stats()).toMatchObject({ handled: 1, deadLetters: 1 });
  });

  it("stops within the time it is given, although the hub does not hear of an outcome", async () => {
    stage.hub.failAcks(Number.POSITIVE_INFINITY);
    const handled = Promise.withResolvers<void>();
    const subscription = await listen(() => handled.resolve(), { backoffMs: { first: 30_000, longest: 30_000 } });
    stage.hub.publish(completed("c1", 1));
    await handled.promise;
    const since = performance.now();
    await subscription.stop(50);
    // The next attempt would be after 30 s.
    expect(performance.now() - since).toBeLessThan(20_000);
    expect(stage.hub.acks).toEqual([]);
  });

  it("counts calls and not deliveries before it gives an event up", async () => {
    const calls: string[] = [];
    const first = Promise.withResolvers<void>();
    await listen(
      async ({ id, attempt }) => {
        calls.push(id);
        if (id === "c1-1") await first.promise;
        else if (calls.filter((one) => one === id).length < 3) throw new Error(`delivery ${attempt}`);
      },
      { attemptsMax: 3 },
    );
    stage.hub.publish(completed("c1", 1), completed("c1", 2));
    await until("the first is being handled", () => calls.length === 1);
    for (let streams = 2; streams <= 5; streams++) {
      stage.hub.cut();
      await until("it reads again", () => stage.hub.requests.length === streams);
    }
    first.resolve();
    await until("both are settled", () => stage.hub.acks.length === 2);
    expect(stage.hub.acks.map(({ outcome }) => outcome)).toEqual([Outcome.HANDLED, Outcome.HANDLED]);
    expect(calls).toEqual(["c1-1", "c1-2", "c1-2", "c1-2"]);
  });

  it("tells a handler that goes on for too long that it has to end, and gives nothing up because it then fails", async () => {
    const begun = Promise.withResolvers<void>();
    const subscription = await listen(
      ({ signal }) =>
        new Promise((_, reject) => {
          begun.resolve();
          signal.addEventListener("abort", () => reject(new Error("ended")));
        }),
      { attemptsMax: 1 },
    );
    stage.hub.publish(completed("c1", 1));
    await begun.promise;
    await subscription.stop(20);
    expect(stage.hub.acks).toEqual([]);
    expect(subscription.stats().deadLetters).toBe(0);
  });
});

describe("what a handler throws", () => {
  it.each([-1, Number.NaN, "soon" as unknown as number])("refuses to wait for %s", (afterMs) => {
    expect(() => retry(afterMs)).toThrow(RangeError);
  });

  it("waits no longer than a timer can", () => {
    expect(retry(90 * 86_400_000).afterMs).toBe(2 ** 31 - 1);
  });

  it.each([
    [`${"x".repeat(499)}🌊`, `${"x".repeat(499)}\uFFFD`],
    ["bad\0 customer\n", "bad  customer "],
    [undefined as unknown as string, "no reason given"],
  ])("gives a reason that every road can carry", (given, reason) => {
    expect(drop(given).reason).toBe(reason);
  });
});

describe("what makes no sense", () => {
  const url = "http://127.0.0.1:1";
  it.each([
    ["a name with spaces", () => subscribe({ url, name: "my service" })],
    ["another protocol", () => subscribe({ url: "amqp://127.0.0.1", name: "a" })],
    ["no window", () => subscribe({ url, name: "a", window: 0 })],
    ["an impatient broker", () => subscribe({ url, name: "a", ackWaitMs: 10 })],
    ["half a window", () => subscribe({ url, name: "a", window: 1.5 })],
    ["no concurrency", () => subscribe({ url, name: "a", concurrency: 0 })],
    ["half a concurrency", () => subscribe({ url, name: "a", concurrency: 1.5 })],
    ["a hyphen in front", () => subscribe({ url, name: "-a" })],
    ["an organisation that is none", () => subscribe({ url, name: "a", organization: "*" })],
    ["pauses that are none", () => subscribe({ url, name: "a", backoffMs: { first: Number.NaN, longest: 1 } })],
    ["pauses that no timer has", () => subscribe({ url, name: "a", backoffMs: { first: 1, longest: Infinity } })],
    ["servers of two kinds", () => subscribe({ url: "nats://one:4222,tls://two:4222", name: "a" })],
    ["several hubs", () => subscribe({ url: "http://one,two", name: "a" })],
    ["half an address", () => subscribe({ url: "nats://one:4222,", name: "a" })],
    [
      "two handlers of one type",
      () =>
        subscribe({ url, name: "a" })
          .on(TaskChangedSchema, () => {})
          .on(TaskChangedSchema, () => {}),
    ],
  ])("is refused: %s", (_, call) => {
    expect(call).toThrow("usage: ");
  });

  it("is refused: credentials that are none", async () => {
    const subscriber = subscribe({ url: "nats://127.0.0.1:1", name: "a", credentials: "nonsense" });
    await expect(subscriber.on(TaskChangedSchema, () => {}).start()).rejects.toThrow("usage: credentials are");
  });

  it("is refused: no handler", async () => {
    await expect(subscribe({ url, name: "a" }).start()).rejects.toThrow("usage: ");
  });
});
