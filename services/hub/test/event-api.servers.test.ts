import { create, toBinary } from "@bufbuild/protobuf";
import { TaskCompletedSchema, TaskSchema } from "@tributary/contracts";
import { withOrganization } from "@tributary/db";
import { freePorts } from "@tributary/db/testing";
import { append } from "@tributary/pipeline";
import { drop, subscribe } from "@tributary/subscriber";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readConfig } from "../src/config.ts";
import { type Hub, startHub } from "../src/hub.ts";

/** What somebody has who has a terminal and nothing else: curl, against a hub as it is started. */
let hub: Hub;
const folder = mkdtempSync(join(tmpdir(), "tributary-event-api-"));
const children: ChildProcess[] = [];
const connectionId = randomUUID();
let written = 0;

beforeAll(async () => {
  const port = await freePorts(3);
  const settings = {
    TRIBUTARY_DATA_DIR: folder,
    TRIBUTARY_PORT: String(port),
    TRIBUTARY_SANDBOX: "true",
    TRIBUTARY_SANDBOX_PORT: String(port + 1),
    LOG_LEVEL: "silent",
  };
  hub = await startHub(readConfig(settings, ["todoist"]));
});
afterAll(async () => {
  for (const child of children) child.kill();
  await hub?.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function write(count: number, options: { to?: string; bytes?: number } = {}): Promise<void> {
  for (let left = count; left > 0; left -= 100) {
    const events = Array.from({ length: Math.min(left, 100) }, () => {
      written++;
      const task = create(TaskSchema, { id: String(written), title: "Water".padEnd(options.bytes ?? 5, ".") });
      return {
        id: `event-${written}`,
        type: TaskCompletedSchema.typeName,
        subject: "evt.v1.sample.todoist.task.completed",
        objectKey: `task/${written}`,
        timeMs: 1_763_683_200_000 + written,
        payload: toBinary(TaskCompletedSchema, create(TaskCompletedSchema, { task })),
      };
    });
    const to = options.to ?? connectionId;
    const shared = {
      organizationId: "sample",
      connectionId: to,
      connector: "todoist",
      backfill: false,
      traceparent: "",
    };
    await withOrganization(hub.database, "sample", (tx) => append(tx, { ...shared, events }));
  }
}

const run = promisify(execFile);
async function curl<T = Record<string, unknown>>(method: string, body: object, key = hub.localKey): Promise<T> {
  const { stdout } = await run("curl", [
    "-sS",
    "-H",
    "content-type: application/json",
    "-H",
    `authorization: Bearer ${key}`,
    "-d",
    JSON.stringify(body),
    `${hub.origin}/tributary.api.v1.${method}`,
  ]);
  return JSON.parse(stdout) as T;
}

/** Looks every 10 ms, for 60 s at most; what is expected then says what is missing. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 60_000; !(await condition()) && performance.now() < end;) await sleep(10);
}

interface Told {
  readonly id: string;
  readonly type: string;
  readonly json: {
    readonly id: string;
    readonly sequence: string;
    readonly data: { readonly task: { readonly title: string } };
  };
}

/** curl, as it prints server-sent events. */
function listen(query = "", headers: Record<string, string> = {}) {
  const flags = Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
  const child = spawn("curl", [
    "-sSN",
    "-H",
    `authorization: Bearer ${hub.localKey}`,
    ...flags,
    `${hub.origin}/api/events/stream${query}`,
  ]);
  children.push(child);
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  const told = (): Told[] =>
    [...text.matchAll(/^id: (.+)\nevent: (.+)\ndata: (.+)\n\n/gm)].map(([, id = "", type = "", data = ""]) => ({
      id,
      type,
      json: JSON.parse(data) as Told["json"],
    }));
  return {
    told,
    text: () => text,
    until: async (count: number) => {
      await until(() => told().length >= count);
      return told();
    },
    connected: () => until(() => text.includes(": connected")),
    stop: () => child.kill(),
  };
}

const sequences = (told: readonly Told[]): number[] => told.map(({ json }) => Number(json.sequence));

describe("with curl alone", () => {
  it("somebody lists events, shows one, has them again, and sees who is behind", async () => {
    await write(3);
    expect(await curl("EventService/List", { pageSize: 1 })).toMatchObject({
      events: [{ id: "event-3", type: "tributary.task.v1.TaskCompleted", payload: { task: { title: "[redacted]" } } }],
      nextPageToken: expect.any(String),
    });
    expect(await curl("EventService/Get", { id: "event-2", personalData: true })).toMatchObject({
      event: { payload: { task: { title: "Water" } } },
    });
    expect(await curl("EventService/Get", { id: "event-2" }, "a-key-that-nobody-was-ever-given-here")).toMatchObject({
      code: "unauthenticated",
    });
    await curl("ConsumerService/CreateConsumer", { name: "books" });
    expect(await curl("ConsumerService/ListConsumers", {})).toMatchObject({
      consumers: [{ name: "books", road: "ROAD_HTTP", lag: "3", afterDeadLetter: "AFTER_DEAD_LETTER_CONTINUE" }],
    });
    const { replay } = await curl<{ replay: { id: string } }>("EventService/Replay", { consumer: "books" });
    expect(replay).toMatchObject({ state: "REPLAY_STATE_RUNNING", eventsPerSecond: 1_000 });
    expect(await curl("EventService/CancelReplay", { id: replay.id })).toMatchObject({
      replay: { state: "REPLAY_STATE_CANCELLED" },
    });
    expect(await curl("EventService/Replay", { consummer: "books" })).toEqual({
      code: "invalid_argument",
      message: expect.stringMatching(/^validation_failed: .*consumer, from, until/),
    });
    expect(await curl("DeadLetterService/ListDeadLetters", {})).toEqual({});
    expect(await curl("ConnectionService/ListConnections", {})).toEqual({});
    expect(await curl("EventService/Catalogue", {})).toMatchObject({ types: expect.any(Array) });
  });

  it("somebody watches events as they are committed, comes back later, and misses and repeats nothing", async () => {
    const first = listen();
    await first.connected();
    await write(3);
    const other = randomUUID();
    await write(2, { to: other });
    await first.until(5);
    first.stop();
    const last = first.told().at(-1);
    expect(first.told()[0]?.json.data.task.title).toBe("Water");
    await write(2);
    await write(1, { to: other });
    const second = listen("", { "last-event-id": last?.id ?? "" });
    await second.until(3);
    await write(1);
    await second.until(4);
    await sleep(1_200);
    second.stop();
    const all = [...first.told(), ...second.told()];
    expect(new Set(all.map(({ json }) => json.id)).size).toBe(all.length);
    expect(all).toHaveLength(9);
    expect(first.text().startsWith("retry: 2000\n: connected\n\n")).toBe(true);
  });

  it("somebody watches one connection, or one type, and is told of a filter that makes no sense", async () => {
    const other = randomUUID();
    const [one, none] = [listen(`?connection=${other}`), listen("?type=tributary.task.v1.TaskDeleted")];
    await one.connected();
    await none.connected();
    await write(1);
    await write(2, { to: other });
    await one.until(2);
    await sleep(1_200);
    one.stop();
    none.stop();
    expect(sequences(one.told())).toEqual([1, 2]);
    expect(none.told()).toEqual([]);
    const proof = `authorization: Bearer ${hub.localKey}`;
    for (const query of ["type=a.B", "types=tributary.task.v1.TaskDeleted"]) {
      const { stdout } = await run("curl", ["-sS", "-H", proof, `${hub.origin}/api/events/stream?${query}`]);
      expect(JSON.parse(stdout)).toMatchObject({ error: "validation_failed" });
    }
    const { stdout: refused } = await run("curl", ["-sS", `${hub.origin}/api/events/stream`]);
    expect(JSON.parse(refused)).toEqual({ error: "missing_authorization" });
  });
});

describe("a subscriber", () => {
  it("has what it gave up on again when somebody redrives it, in whatever order, and everything when it is replayed", async () => {
    const to = randomUUID();
    await write(3, { to });
    let mended = false;
    const got: string[] = [];
    const effects = new Set<string>();
    const inbox = {
      once: async (key: string, effect: (tx: undefined) => Promise<void>): Promise<boolean> => {
        if (effects.has(key)) return false;
        await effect(undefined);
        effects.add(key);
        return true;
      },
    };
    const subscription = await subscribe({ url: hub.origin, name: "ledger", token: hub.localKey, inbox })
      .on(TaskCompletedSchema, (_, { connectionId: from, sequence, redrive = 0, replayId }) => {
        if (from !== to) return;
        if (sequence !== 3n && !mended) throw drop("the books are closed");
        got.push(`${sequence} ${redrive} ${replayId === undefined ? "live" : "replay"}`);
      })
      .start();
    type Letters = { deadLetters?: { id: string; sequence: string; reason: string }[] };
    const letters = async () =>
      (await curl<Letters>("DeadLetterService/ListDeadLetters", { consumer: "ledger" })).deadLetters ?? [];
    await until(async () => (await letters()).length >= 2);
    mended = true;
    for (const sequence of ["2", "1"]) {
      const letter = (await letters()).find((one) => one.sequence === sequence);
      expect(letter?.reason).toBe("the books are closed");
      expect(await curl("DeadLetterService/RedriveDeadLetters", { id: letter?.id })).toEqual({ redriven: 1 });
      await until(() => got.includes(`${sequence} 1 live`));
    }
    await until(async () => (await letters()).length === 0);
    expect(await letters()).toEqual([]);
    const { replay } = await curl<{ replay: { id: string } }>("EventService/Replay", {
      consumer: "ledger",
      connectionIds: [to],
    });
    await until(() => got.length >= 6);
    expect(got).toEqual(["3 0 live", "2 1 live", "1 1 live", "1 0 replay", "2 0 replay", "3 0 replay"]);
    let state = "";
    await until(async () => {
      ({ state } = (await curl<{ replay: { state: string } }>("EventService/GetReplay", { id: replay.id })).replay);
      return state === "REPLAY_STATE_DONE";
    });
    expect(state).toBe("REPLAY_STATE_DONE");
    await subscription.stop();
  });
});

describe("a reader that stops reading", () => {
  /** Sends the request and reads nothing of the answer. */
  function stalled(path: string, options: { method: string; headers?: Record<string, string>; body?: Buffer }) {
    const request = httpRequest(`${hub.origin}${path}`, {
      method: options.method,
      headers: { authorization: `Bearer ${hub.localKey}`, ...options.headers },
    });
    request.on("response", (response) => response.pause());
    request.on("error", () => {});
    request.end(options.body);
    return request;
  }

  it("holds no more than its window and delays no neighbour, on a stream and on server-sent events", async () => {
    const body = Buffer.from(JSON.stringify({ consumer: "sleeper", window: 64 }));
    const head = Buffer.alloc(5);
    head.writeUInt32BE(body.length, 1);
    const sleepers = [
      stalled("/tributary.api.v1.EventService/Subscribe", {
        method: "POST",
        headers: { "content-type": "application/connect+json", "connect-protocol-version": "1" },
        body: Buffer.concat([head, body]),
      }),
      stalled("/api/events/stream", { method: "GET" }),
    ];
    await sleep(500);
    const got: number[] = [];
    const to = randomUUID();
    const committed: number[] = [];
    const waits: number[] = [];
    const neighbour = await subscribe({ url: hub.origin, name: "neighbour", token: hub.localKey, window: 500 })
      .on(TaskCompletedSchema, (_, event) => {
        if (event.connectionId !== to) return;
        got.push(Number(event.sequence));
        if (got.length > 300) waits.push(performance.now() - (committed[got.length - 301] ?? 0));
      })
      .start();
    // 6 MB that nobody takes off the stalled sockets.
    await write(300, { to, bytes: 20_000 });
    await until(() => got.length >= 300);
    expect(got).toHaveLength(300);
    for (let turn = 0; turn < 10; turn++) {
      committed.push(performance.now());
      await write(1, { to });
      await until(() => got.length >= 301 + turn);
    }
    const consumers = await curl<{ consumers: { name: string; outstanding?: string }[] }>(
      "ConsumerService/ListConsumers",
      {},
    );
    const sleeper = consumers.consumers.find(({ name }) => name === "sleeper");
    await neighbour.stop();
    for (const request of sleepers) request.destroy();
    expect(Number(sleeper?.outstanding ?? 0)).toBeLessThanOrEqual(64);
    expect(got).toEqual(Array.from({ length: 310 }, (_, index) => index + 1));
    // Nothing tells the neighbour but its own look, once a second: here the writer is not the hub.
    expect(waits.toSorted((a, b) => a - b)[5]).toBeLessThan(3_000);
  });
});
