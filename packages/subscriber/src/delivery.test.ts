import { create, createFileRegistry, type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import {
  type Context,
  type ContextManager,
  context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  trace,
} from "@opentelemetry/api";
import { TaskCompletedSchema } from "@tributary/contracts";
import { AsyncLocalStorage } from "node:async_hooks";
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { drop, type Inbox, subscribe } from "./index.ts";
import { completed, Outcome, TOKEN } from "./testing/fake-hub.ts";
import { until, useHubStage } from "./testing/hub-stage.ts";

const stage = useHubStage();
const { listen } = stage;

/** An event that a replay brings again. */
const replayed = (sequence: number, replayId: string, redrive = 0) => ({
  ...completed("c1", sequence),
  replayId,
  redrive,
});

describe("what follows an event that is given up", () => {
  it("waits behind it for as long as it takes, when nothing may overtake it; other connections go on", async () => {
    let mended = false;
    const done: string[] = [];
    const subscription = await listen(
      ({ id }) => {
        if (id === "c1-1" && !mended) throw new Error("not yet");
        done.push(id);
      },
      { attemptsMax: 2, afterLastAttempt: "hold" },
    );
    stage.hub.publish(completed("c1", 1), completed("c1", 2), completed("c2", 1));
    await until("it holds", () => subscription.stats().holding === 1);
    await until("another connection goes on", () => done.includes("c2-1"));
    expect(done).toEqual(["c2-1"]);
    expect(stage.hub.acks.some(({ outcome }) => outcome === Outcome.DEAD_LETTER)).toBe(false);
    mended = true;
    await until("everything is done", () => done.length === 3);
    expect(done).toEqual(["c2-1", "c1-1", "c1-2"]);
    await until("it holds no more", () => subscription.stats().holding === 0);
  });

  it("goes on when the handler drops it, under either policy", async () => {
    const done: string[] = [];
    await listen(
      ({ id, sequence }) => {
        if (sequence === 1n) throw drop("unknown customer");
        done.push(id);
      },
      { afterLastAttempt: "hold" },
    );
    stage.hub.publish(completed("c1", 1), completed("c1", 2));
    await until("both are settled", () => stage.hub.acks.length === 2);
    expect(done).toEqual(["c1-2"]);
    expect(stage.hub.acks[0]).toMatchObject({ outcome: Outcome.DEAD_LETTER, reason: "unknown customer" });
  });
});

describe("an event that is delivered again", () => {
  it("has its effect once more for each replay, and once only; a redriven dead letter counts as the event itself", async () => {
    const keys: string[] = [];
    const recorded = new Set<string>();
    const inbox: Inbox<string> = {
      once: async (key, effect) => {
        if (recorded.has(key)) return false;
        await effect(key);
        recorded.add(key);
        return true;
      },
    };
    await listen<string>(({ tx }) => void keys.push(tx), { inbox });
    stage.hub.publish(completed("c1", 1), replayed(1, "r1"), replayed(1, "r2"), replayed(1, "r1"));
    // Letters come again in the order in which somebody chose them; the one of a replay is still the replay's.
    stage.hub.publish(replayed(4, "r3", 1), replayed(3, "", 1), replayed(2, "", 1), completed("c1", 2));
    await until("all are settled", () => stage.hub.acks.length >= 7);
    await sleep(30);
    expect(keys.toSorted()).toEqual(["c1-1", "c1-1 r1", "c1-1 r2", "c1-2", "c1-3", "c1-4 r3"]);
  });

  it("says which replay brings it, keeps its own order, and holds no live event up", async () => {
    const got: string[] = [];
    const live = Promise.withResolvers<void>();
    await listen(async ({ sequence, replayId = "live" }) => {
      if (replayId !== "live" && sequence === 1n) await live.promise;
      got.push(`${replayId} ${sequence}`);
      if (replayId === "live") live.resolve();
    });
    stage.hub.publish(replayed(1, "r1"), replayed(2, "r1"), completed("c1", 3));
    await until("all came", () => got.length === 3);
    expect(got).toEqual(["live 3", "r1 1", "r1 2"]);
    await until("all are acknowledged", () => stage.hub.acks.length === 3);
    // Each lane's in its order; those of two lanes go out side by side.
    const acknowledged = (id: string) =>
      stage.hub.acks.filter(({ replayId }) => replayId === id).map(({ sequence }) => sequence);
    expect([acknowledged(""), acknowledged("r1")]).toEqual([[3n], [1n, 2n]]);
  });
});

describe("a process that is told to end", () => {
  it("lets what runs finish, gives the rest back, and leaves nothing open", async () => {
    const child = spawn(
      process.execPath,
      [fileURLToPath(new URL("testing/draining.ts", import.meta.url)), stage.hub.url, TOKEN],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    let said = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
    stage.hub.publish(completed("c1", 1), completed("c1", 2));
    await until("the first is being handled", () => said.includes("begun 1"));
    child.kill("SIGTERM");
    // Not "exit": what it has said may still be on its way then.
    const code = await new Promise((resolve) => child.once("close", resolve));
    expect({ code, said }).toEqual({ code: 0, said: "begun 1\ndone 1\nstopped\n" });
    expect(stage.hub.acks.map(({ sequence }) => sequence)).toEqual([1n]);
  });
});

describe("the trace", () => {
  /** What an SDK brings: a context that follows the call, and spans that remember their parents. */
  const storage = new AsyncLocalStorage<Context>();
  const following: ContextManager = {
    active: () => storage.getStore() ?? ROOT_CONTEXT,
    with: (active, work, thisArg, ...args) => storage.run(active, () => work.call(thisArg as never, ...args)),
    bind: (_, target) => target,
    enable: () => following,
    disable: () => following,
  };
  const PARENT = Symbol("parent");
  afterEach(() => {
    context.disable();
    propagation.disable();
    trace.disable();
  });

  it("goes on from the run that read the event, into the handler and what it sends", async () => {
    const spans: { readonly name: string; readonly parent: unknown; ended: boolean }[] = [];
    context.setGlobalContextManager(following);
    propagation.setGlobalPropagator({
      fields: () => ["traceparent"],
      extract: (into, carrier) => into.setValue(PARENT, (carrier as { traceparent: string }).traceparent),
      inject: (from, carrier) => void Object.assign(carrier as object, { traceparent: from.getValue(PARENT) }),
    });
    const startSpan = (name: string, _: unknown, parent: Context = context.active()): Span => {
      const span = { name, parent: parent.getValue(PARENT), ended: false };
      spans.push(span);
      return { end: () => void (span.ended = true), setStatus: () => {} } as unknown as Span;
    };
    trace.setGlobalTracerProvider({
      getTracer: () => ({
        startSpan,
        startActiveSpan: ((name: string, options: unknown, parent: Context, work: (span: Span) => unknown) =>
          context.with(parent, () => work(startSpan(name, options, parent)))) as never,
      }),
    });
    const sent: Record<string, string>[] = [];
    await listen(() => {
      const headers: Record<string, string> = {};
      propagation.inject(context.active(), headers);
      sent.push(headers);
    });
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    stage.hub.publish({ ...completed("c1", 1), traceparent });
    await until("acknowledged", () => stage.hub.acks.length === 1);
    expect(spans).toEqual([{ name: "process tributary.task.v1.TaskCompleted", parent: traceparent, ended: true }]);
    expect(sent).toEqual([{ traceparent }]);
  });
});

describe("versions of a contract", () => {
  /** The same message in a later version, with a field that today's does not have. */
  const later = (version: string): DescMessage => {
    const file = create(FileDescriptorProtoSchema, {
      name: `tributary/task/${version}/task_events.proto`,
      package: `tributary.task.${version}`,
      syntax: "proto3",
      messageType: [
        {
          name: "TaskCompleted",
          field: [
            {
              name: "note",
              number: 900,
              type: FieldDescriptorProto_Type.STRING,
              label: FieldDescriptorProto_Label.OPTIONAL,
              jsonName: "note",
            },
          ],
        },
      ],
    });
    const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: [file] }));
    const schema = registry.getMessage(`tributary.task.${version}.TaskCompleted`);
    if (schema === undefined) throw new Error("the message was not made");
    return schema;
  };

  it("lets a subscriber read an event that has grown a field, and keep the field", async () => {
    const grown = later("v1");
    const extra = toBinary(grown, create(grown, { note: "new" }));
    const event = completed("c1", 1);
    const titles: string[] = [];
    const subscription = await subscribe({ ...stage.quick })
      .on(TaskCompletedSchema, (message) => {
        titles.push(message.task?.title ?? "");
        const again = fromBinary(grown, toBinary(TaskCompletedSchema, message)) as { readonly note?: string };
        titles.push(again.note ?? "");
      })
      .start();
    stage.running.push(subscription);
    stage.hub.publish({ ...event, data: Buffer.concat([event.data, extra]) });
    await until("acknowledged", () => stage.hub.acks.length === 1);
    expect(titles).toEqual(["Water", "new"]);
  });

  it("handles an old and a new version side by side, each by its own handler", async () => {
    const v2 = later("v2");
    const got: string[] = [];
    const subscription = await subscribe({ ...stage.quick })
      .on(TaskCompletedSchema, () => void got.push("v1"))
      .on(v2, (message) => void got.push(`v2 ${(message as { readonly note?: string }).note}`))
      .start();
    stage.running.push(subscription);
    const data = toBinary(v2, create(v2, { note: "x" }));
    stage.hub.publish(completed("c1", 1), { ...completed("c1", 2), type: v2.typeName, data });
    await until("both are acknowledged", () => stage.hub.acks.length === 2);
    expect(got).toEqual(["v1", "v2 x"]);
    expect(stage.hub.requests[0]?.types).toEqual([
      "tributary.task.v1.TaskCompleted",
      "tributary.task.v2.TaskCompleted",
    ]);
  });

  it("passes over a type that it has no handler for, and counts it", async () => {
    const subscription = await listen(() => {});
    stage.hub.publish({ ...completed("c1", 1), type: "tributary.task.v9.TaskForgotten" }, completed("c1", 2));
    await until("both are acknowledged", () => stage.hub.acks.length === 2);
    expect(subscription.stats()).toMatchObject({ handled: 1, passedOver: 1 });
  });
});
