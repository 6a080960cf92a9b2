import { jetstream, type JetStreamManager } from "@nats-io/jetstream";
import { connect, headers, type NatsConnection } from "@nats-io/transport-node";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  EVENT_STREAM,
  eventHeaders,
  eventSubject,
  REPLAY_STREAM,
  REPLAY_SUBJECTS,
  replaySubject,
  TaskChangedSchema,
  TaskCompletedSchema,
} from "@tributary/contracts";
import type { PrivateNats } from "@tributary/pipeline/testing";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { drop, type Handler, subscribe, type SubscribeOptions, type Subscription } from "./index.ts";
import { headerText } from "./nats-headers.ts";
import { type NatsStage, openNatsStage, until } from "./testing/nats-stage.ts";

let stage: NatsStage;
let nats: PrivateNats;
let nc: NatsConnection;
let jsm: JetStreamManager;
const running: Subscription[] = [];
beforeEach(async () => {
  stage = await openNatsStage();
  ({ nats, nc, jsm } = stage);
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((one) => one.stop(100)));
  await stage.stop();
});

const publish: NatsStage["publish"] = (...what) => stage.publish(...what);
const settled = (): Promise<void> => stage.settled();

async function listen(handler: Handler<typeof TaskCompletedSchema>, options: Partial<SubscribeOptions> = {}) {
  const quick = { name: "billing", ackWaitMs: 1_000, backoffMs: { first: 20, longest: 200 }, log: SILENT };
  const subscription = await subscribe({ ...quick, url: nats.url, ...options })
    .on(TaskCompletedSchema, handler)
    .start();
  running.push(subscription);
  return subscription;
}

const SILENT = { info: () => {}, warn: () => {} };
const upTo = (count: number, from = 1): number[] => Array.from({ length: count }, (_, index) => index + from);

describe("a subscription over NATS", () => {
  it("hands over typed events in the order of their connection, and passes over types without a handler", async () => {
    await publish("c1", 3);
    const got: unknown[] = [];
    const subscription = await listen(
      ({ task }, { connectionId, objectKey, attempt, time }) =>
        void got.push([connectionId, task?.title, objectKey, attempt, time.toISOString()]),
    );
    await publish("c1", 2, TaskChangedSchema);
    await publish("c1", 1);
    await settled();
    expect(got).toEqual(
      [1, 2, 3, 6].map((sequence) => ["c1", "Water", `task/${sequence}`, 1, "2026-11-21T04:00:00.000Z"]),
    );
    expect(subscription.stats()).toEqual({
      handled: 4,
      retried: 0,
      deadLetters: 0,
      passedOver: 2,
      repeated: 0,
      holding: 0,
      gone: 0,
    });
  });

  it("finds the bytes of a message's headers where this version of the client keeps them", async () => {
    await publish("c1", 1);
    await jsm.consumers.add(EVENT_STREAM, { durable_name: "one", ack_policy: "explicit" });
    const message = await (await jetstream(nc).consumers.get(EVENT_STREAM, "one")).next();
    expect(message === null ? undefined : headerText(message)).toContain("ce-id: c1-1");
  });

  it("keeps what it gave up on as a dead letter with its reason, and goes on", async () => {
    const got: bigint[] = [];
    await listen((_, { sequence }) => {
      if (sequence === 2n) throw drop("żółw");
      got.push(sequence);
    });
    await publish("c1", 3);
    await settled();
    expect(got).toEqual([1n, 3n]);
    const letter = await jsm.streams.getMessage("TRIBUTARY_DEAD_LETTERS", { last_by_subj: "dlq.v1._billing.acme" });
    const header = (name: string): string => decodeURIComponent(letter?.header.get(name) ?? "");
    expect([header("ce-id"), header("trib-dead-letter-reason"), header("trib-dead-letter-attempts")]).toEqual([
      "c1-2",
      "żółw",
      "1",
    ]);
    expect(fromBinary(TaskCompletedSchema, letter?.data ?? new Uint8Array()).task?.title).toBe("Water");
  });

  it("neither loses nor repeats an effect when the broker is killed", async () => {
    const done = new Map<string, number[]>();
    await listen(async (_, { connectionId, sequence }) => {
      await sleep(2);
      done.set(connectionId, [...(done.get(connectionId) ?? []), Number(sequence)]);
    });
    const publishing = (async () => {
      for (let turn = 0; turn < 30; turn++) for (const id of ["c1", "c2"]) await publish(id, 5);
    })();
    for (let kill = 0; kill < 2; kill++) {
      await sleep(150);
      await nats.kill();
      await sleep(100);
      await nats.restart();
    }
    await publishing;
    await settled();
    expect([...done].toSorted(([one], [other]) => one.localeCompare(other))).toEqual([
      ["c1", upTo(150)],
      ["c2", upTo(150)],
    ]);
  });

  it("tells the broker that it is still at work, however long a handler takes", async () => {
    const calls: number[] = [];
    await listen(async (_, { attempt }) => {
      calls.push(attempt);
      await sleep(2_500);
    });
    await publish("c1", 1);
    await settled();
    expect(calls).toEqual([1]);
  });

  it("keeps the order when the process before it died with events in its hands", async () => {
    const first = await listen(() => {});
    await publish("c1", 1);
    await settled();
    await first.stop();
    // A process that took events and never spoke again.
    const gone = await connect({ servers: nats.url });
    await publish("c1", 3);
    const messages = await (await jetstream(gone).consumers.get(EVENT_STREAM, "_billing")).fetch({ max_messages: 3 });
    let taken = 0;
    for await (const _ of messages) if (++taken === 3) break;
    await gone.close();
    await publish("c1", 2);
    const got: string[] = [];
    await listen((_, { sequence, attempt }) => void got.push(`${sequence}/${attempt}`));
    await settled();
    expect(got).toEqual(["2/2", "3/2", "4/2", "5/1", "6/1"]);
  });

  it("gives back at once what it has not begun when it stops", async () => {
    const begun = Promise.withResolvers<void>();
    const first = await listen(
      async () => {
        begun.resolve();
        await sleep(50);
      },
      { ackWaitMs: 60_000 },
    );
    await publish("c1", 4);
    await begun.promise;
    await first.stop();
    const got: bigint[] = [];
    await listen((_, { sequence }) => void got.push(sequence));
    await settled();
    expect(got.at(-1)).toBe(4n);
    expect(got).toEqual(upTo(got.length, 5 - got.length).map(BigInt));
    expect(first.stats().handled + got.length).toBe(4);
  });

  it("stands by while another process serves the consumer, and takes over when that ends", async () => {
    const [one, two]: [bigint[], bigint[]] = [[], []];
    const first = await listen((_, { sequence }) => void one.push(sequence));
    await publish("c1", 3);
    await settled();
    await listen((_, { sequence }) => void two.push(sequence));
    await publish("c1", 3);
    await settled();
    await first.stop();
    await publish("c1", 3);
    await settled();
    expect([one, two]).toEqual([upTo(6).map(BigInt), upTo(3, 7).map(BigInt)]);
  });
});

describe("consumers of one name", () => {
  it("are apart when they are two organisations', or everybody's: events, replays and dead letters", async () => {
    await jsm.streams.add({ name: REPLAY_STREAM, subjects: [...REPLAY_SUBJECTS] });
    const got: string[] = [];
    const organizations = ["acme", "globex", undefined];
    for (const organization of organizations)
      await listen(
        (_, { id, redrive }) => {
          got.push(`${organization} ${id}${redrive === undefined ? "" : " again"}`);
          if (id.endsWith("-1") && redrive === undefined) throw drop(`for ${organization}`);
        },
        organization === undefined ? {} : { organization },
      );
    await until("all stand", async () => (await jsm.streams.info(REPLAY_STREAM)).state.consumer_count === 3);
    await publish("a", 2);
    await publish("g", 2, TaskCompletedSchema, "globex");
    await until("all came", () => got.length >= 8);
    const each = (ids: string[], organization?: string) => ids.map((id) => `${organization} ${id}`);
    expect(got.toSorted()).toEqual(
      [
        ...each(["a-1", "a-2"], "acme"),
        ...each(["g-1", "g-2"], "globex"),
        ...each(["a-1", "a-2", "g-1", "g-2"]),
      ].toSorted(),
    );
    const letters: string[] = [];
    await until("four letters", async () => (await jsm.streams.info("TRIBUTARY_DEAD_LETTERS")).state.messages === 4);
    for (let seq = 1; seq <= 4; seq++) {
      const letter = await jsm.streams.getMessage("TRIBUTARY_DEAD_LETTERS", { seq });
      letters.push(`${letter?.subject} ${decodeURIComponent(letter?.header.get("trib-dead-letter-reason") ?? "")}`);
    }
    expect(letters.toSorted()).toEqual([
      "dlq.v1._billing.acme for undefined",
      "dlq.v1._billing.globex for undefined",
      "dlq.v1.billing.acme for acme",
      "dlq.v1.billing.globex for globex",
    ]);
    got.splice(0);
    await again("d1", { onlyFor: "billing", redrive: 1 }, "a");
    await again("d2", { onlyFor: "_billing", redrive: 1 }, "a");
    await again("r1", {}, "a");
    await until("they came", () => got.length >= 4);
    expect(got.toSorted()).toEqual(["acme a-1", "acme a-1 again", "undefined a-1", "undefined a-1 again"]);
  });
});

/** Publishes the first event of a connection of acme's again, as a hub does. */
async function again(replayId: string, more: { onlyFor?: string; redrive?: number } = {}, connectionId = "c1") {
  const attributes = {
    id: `${connectionId}-1`,
    type: TaskCompletedSchema.typeName,
    organizationId: "acme",
    connectionId,
    connector: "todoist",
    objectKey: "task/1",
    sequence: 1n,
    time: "2026-11-21T04:00:00.000Z",
    backfill: false,
    traceparent: "",
    replayId,
    ...more,
  };
  const head = headers();
  for (const [name, value] of eventHeaders(attributes)) head.set(name, value);
  const subject = replaySubject(replayId, eventSubject(TaskCompletedSchema, "acme", "todoist"));
  const data = toBinary(TaskCompletedSchema, create(TaskCompletedSchema, { task: { id: "1", title: "Again" } }));
  await jetstream(nc).publish(subject, data, { headers: head, msgID: `${replayId}:${attributes.id}` });
}

describe("a consumer that exists", () => {
  const existing = (more: object = {}) =>
    jsm.consumers.add(EVENT_STREAM, {
      durable_name: "_billing",
      ack_policy: "explicit",
      filter_subject: "evt.v1.*.>",
      ack_wait: 2_000e6,
      max_ack_pending: 2,
      ...more,
    });

  it("keeps its own ack wait and window, which are obeyed and told", async () => {
    await existing();
    const told: unknown[] = [];
    const warn = (fields: object, message: string) => void (message.includes("keeps") && told.push(fields));
    const finish = Promise.withResolvers<void>();
    const begun: string[] = [];
    const log = { info: () => {}, warn };
    const asked = { ackWaitMs: 60_000, window: 100, log };
    const subscription = await listen(async (_, { id }) => (begun.push(id), finish.promise), asked);
    for (const connection of ["c1", "c2", "c3"]) await publish(connection, 1);
    // For longer than its ack wait.
    await sleep(4_500);
    expect(begun).toEqual(["c1-1", "c2-1"]);
    expect((await jsm.consumers.info(EVENT_STREAM, "_billing")).num_redelivered).toBe(0);
    finish.resolve();
    await settled();
    expect(subscription.stats()).toMatchObject({ handled: 3, repeated: 0 });
    expect(told).toEqual([
      {
        consumer: "_billing",
        stream: EVENT_STREAM,
        asked: { ackWaitMs: 60_000, window: 100 },
        has: { ackWaitMs: 2_000, window: 2 },
      },
    ]);
  });

  it("goes on from where somebody made it begin", async () => {
    await publish("c1", 3);
    await existing({ deliver_policy: "by_start_sequence", opt_start_seq: 3 });
    const got: string[] = [];
    await listen((_, { id }) => void got.push(id));
    await settled();
    expect(got).toEqual(["c1-3"]);
  });

  it("is not spoken of when nothing else was asked for", async () => {
    await existing();
    const told: string[] = [];
    const log = { info: () => {}, warn: (_: object, message: string) => void told.push(message) };
    const subscription = await subscribe({ url: nats.url, name: "billing", log })
      .on(TaskCompletedSchema, () => {})
      .start();
    running.push(subscription);
    await publish("c1", 1);
    await settled();
    expect(told).toEqual([]);
  });

  it.each([
    ["gives up by itself", { max_deliver: 3 }, "its max_deliver is 3 and has to be -1"],
    ["bounds nothing", { max_ack_pending: -1 }, "its max_ack_pending is -1 and has to be 1 to 10000"],
    ["leaves the payload out", { headers_only: true }, "it has headers_only"],
    ["hears something else", { filter_subject: "evt.v1.globex.>" }, "its filter_subject is evt.v1.globex.>"],
  ])("is refused when it %s", async (_, more, words) => {
    await existing(more);
    await expect(listen(() => {})).rejects.toThrow(words);
  });
});

describe("what cannot work over NATS", () => {
  it.each([
    ["no stream", "stream_missing", async () => void (await jsm.streams.delete(EVENT_STREAM))],
    ["no broker", "unreachable", () => nats.kill()],
  ])("is said at the start: %s", async (_, code, prepare) => {
    await prepare();
    await expect(listen(() => {})).rejects.toThrow(code);
  });

  it("hears replays beside the live events: those for everybody, and those for itself", async () => {
    await jsm.streams.add({ name: REPLAY_STREAM, subjects: [...REPLAY_SUBJECTS] });
    const got: string[] = [];
    await listen(({ task }, { sequence, replayId = "live", redrive = 0 }) => {
      if (replayId === "r3") throw drop("again");
      got.push(`${replayId} ${sequence} ${redrive} ${task?.title}`);
    });
    await until("it is there", () =>
      jsm.consumers.info(REPLAY_STREAM, "_billing").then(
        () => true,
        () => false,
      ),
    );
    await publish("c1", 1);
    await again("r1");
    await again("r2", { onlyFor: "another" });
    await again("r3");
    await again("d1", { onlyFor: "_billing", redrive: 1 });
    await until("all came", () => got.length === 3);
    expect(got.toSorted()).toEqual(["d1 1 1 Again", "live 1 0 Water", "r1 1 0 Again"]);
    await until("nothing is open", async () => {
      const { num_ack_pending: open, num_pending: unread } = await jsm.consumers.info(REPLAY_STREAM, "_billing");
      return open === 0 && unread === 0;
    });
    const letter = await jsm.streams.getMessage("TRIBUTARY_DEAD_LETTERS", { last_by_subj: "dlq.v1._billing.acme" });
    expect(letter?.header.get("trib-replay")).toBe("r3");
  });
});
