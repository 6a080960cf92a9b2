import { EVENT_STREAM, TaskCompletedSchema } from "@tributary/contracts";
import { connect as connectNats } from "@nats-io/transport-node";
import { jetstream } from "@nats-io/jetstream";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { subscribe, type Subscription } from "./index.ts";
import { type NatsStage, openNatsStage, until } from "./testing/nats-stage.ts";

let stage: NatsStage;
const running: Subscription[] = [];
beforeEach(async () => {
  stage = await openNatsStage();
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((one) => one.stop(100)));
  await stage.stop();
});

const log = { info: () => {}, warn: () => {} };
const quick = { name: "billing", ackWaitMs: 1_000, backoffMs: { first: 20, longest: 200 }, log };

/** @returns what it handles, as sequences in the order of its handler's calls. */
async function listen(url = stage.nats.url, got: number[] = []) {
  const subscription = await subscribe({ ...quick, url })
    .on(TaskCompletedSchema, async (_, { sequence }) => {
      got.push(Number(sequence));
      await sleep(2);
    })
    .start();
  running.push(subscription);
  return { subscription, got };
}

/** @param handle is given each event's id. */
async function listenWith(url: string, handle: (id: string) => Promise<void> | void) {
  const subscription = await subscribe({ ...quick, url })
    .on(TaskCompletedSchema, (_, { id }) => handle(id))
    .start();
  running.push(subscription);
  return { subscription };
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);

/** A way to the broker on which what it sends can be swallowed, that can be cut, and that breaks at the next word to it. */
async function wire() {
  const { port, hostname } = new URL(stage.nats.url);
  const ends = new Set<Socket>();
  const state = { swallows: false, breaks: false };
  const proxy = createServer((near) => {
    const far = connect(Number(port), hostname);
    ends.add(near);
    far.on("data", (bytes) => state.swallows || near.write(bytes)).on("error", () => {});
    near.on("data", (bytes) => {
      if (!state.breaks) return far.write(bytes);
      state.breaks = false;
      return near.resetAndDestroy();
    });
    near.on("error", () => {});
    near.on("close", () => far.destroy() && ends.delete(near));
    far.on("close", () => near.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const url = `nats://127.0.0.1:${(proxy.address() as { port: number }).port}`;
  const cut = (): void => ends.forEach((end) => end.destroy());
  return { url, state, cut, close: () => proxy.close() };
}

describe("nothing is lost, and everything in order", () => {
  it("when the process before it died with an event in its hands, and others come all the time", async () => {
    await stage.publish("c1", 1);
    const { subscription } = await listen();
    await stage.settled();
    await subscription.stop();
    const gone = await connectNats({ servers: stage.nats.url });
    await stage.publish("c1", 1);
    for await (const _ of await (
      await jetstream(gone).consumers.get(EVENT_STREAM, "_billing")
    ).fetch({
      max_messages: 1,
    }))
      break;
    await gone.close();
    const publishing = stage.publish("c1", 300);
    const { got } = await listen();
    await publishing;
    await until("everything is handled", () => got.length >= 301);
    await stage.settled();
    expect(got).toEqual(upTo(302).slice(1));
  });

  it("when the connection breaks with events on their way", async () => {
    const { url, state, cut, close } = await wire();
    const { got } = await listen(url);
    await stage.publish("c1", 3);
    await until("the first are handled", () => got.length === 3);
    state.swallows = true;
    await stage.publish("c1", 2);
    await sleep(100);
    cut();
    state.swallows = false;
    await stage.publish("c1", 3);
    await until("everything is handled", () => got.length >= 8);
    await stage.settled();
    expect(got).toEqual(upTo(8));
    close();
  });

  it("when the broker's store is rolled back under an event that is being handled, and another takes its place", async () => {
    const { url, cut, close } = await wire();
    const [finish, never, got] = [Promise.withResolvers<void>(), Promise.withResolvers<void>(), [] as string[]];
    const { subscription } = await listenWith(url, async (id) => {
      got.push(id);
      if (id === "c1-2") await finish.promise;
      if (id === "c2-1") await never.promise;
    });
    await stage.publish("c1", 1);
    await until("the first is handled", () => got.includes("c1-1"));
    await stage.settled();
    await stage.nats.kill();
    stage.nats.saveStore();
    await stage.nats.restart();
    await stage.publish("c1", 1);
    await until("the second is being handled", () => got.includes("c1-2"));
    await stage.nats.kill();
    stage.nats.restoreStore();
    await stage.nats.restart();
    // It takes the place in the stream that the other had.
    await stage.publish("c2", 1);
    await until("the third is being handled", () => got.includes("c2-1"));
    finish.resolve();
    await until("the second is handled", () => subscription.stats().handled === 2);
    await sleep(200);
    // The process dies before the third is handled: another has to be given it.
    cut();
    close();
    const again: string[] = [];
    await listenWith(stage.nats.url, (id) => void again.push(id));
    await until("the third is given to another", () => again.includes("c2-1"));
    never.resolve();
    await stage.settled();
    expect(again).toEqual(["c2-1"]);
  });

  it("when the next connection breaks as well, while it is being made", async () => {
    const { url, state, cut, close } = await wire();
    const { got } = await listen(url);
    await stage.publish("c1", 1);
    await until("the first is handled", () => got.length === 1);
    state.breaks = true;
    cut();
    await stage.publish("c1", 3);
    await until("everything is handled", () => got.length >= 4);
    expect(got).toEqual(upTo(4));
    close();
  });

  it("when two processes begin at the same moment, and when the one that serves ends", async () => {
    const both: number[] = [];
    const [one, other] = await Promise.all([listen(stage.nats.url, both), listen(stage.nats.url, both)]);
    await stage.publish("c1", 20);
    await stage.settled();
    expect(both).toEqual(upTo(20));
    const counts = [one, other].map(({ subscription }) => subscription.stats().handled);
    expect(counts.toSorted((a, b) => a - b)).toEqual([0, 20]);
    const publishing = stage.publish("c1", 40);
    await (counts[0] === 20 ? one : other).subscription.stop();
    await publishing;
    await until("everything is handled", () => both.length >= 60);
    await stage.settled();
    expect(both).toEqual(upTo(60));
  });
});
