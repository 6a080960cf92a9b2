import type { Identity } from "@tributary/auth";
import { ConnectionService, ConsumerService, DeadLetterService, EventService } from "@tributary/contracts";
import { run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import type { Hono } from "hono";
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { RPC_ACCESS } from "./rpc-access.ts";
import { all, envelopes } from "./testing/envelopes.ts";
import { ACME, GLOBEX, openRpcStage, type RpcStage } from "./testing/rpc-stage.ts";

const UNKNOWN = "a-key-that-nobody-has-been-given-yet";
const eventId = "event-2";
let stage: RpcStage;
let app: Hono;
let connectionId = "";
let replayId = "";
let letterId = "";
let session: Identity | undefined;

beforeAll(async () => {
  stage = await openRpcStage(() => session);
  ({ app, connectionId, letterId } = stage);
  const wish = { organizationId: "acme", types: [], connectionIds: [], createdBy: "acme" };
  replayId = (await stage.replays.start(wish)).id;
});
afterAll(() => stage?.close());

async function call(
  method: string,
  body: object = {},
  key: string | undefined = ACME,
  headers: Record<string, string> = {},
) {
  const response = await app.request(`https://tributary.example.com/tributary.api.v1.${method}`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      ...(key === undefined || key === "" ? {} : { authorization: `Bearer ${key}` }),
      ...headers,
    },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, text, json: (text === "" ? {} : JSON.parse(text)) as Record<string, never> };
}

/** The server's streams speak in envelopes: a flag, a length, JSON. */
async function* open(
  method: string,
  body: object,
  key = ACME,
  headers: Record<string, string> = {},
  signal: AbortSignal | null = null,
) {
  const text = Buffer.from(JSON.stringify(body));
  const head = Buffer.alloc(5);
  head.writeUInt32BE(text.length, 1);
  const response = await app.request(`https://tributary.example.com/tributary.api.v1.${method}`, {
    method: "POST",
    headers: {
      "content-type": "application/connect+json",
      "connect-protocol-version": "1",
      ...(key === "" ? {} : { authorization: `Bearer ${key}` }),
      ...headers,
    },
    body: Buffer.concat([head, text]),
    signal,
  });
  yield* envelopes(response);
}

const SERVICES = [EventService, DeadLetterService, ConsumerService, ConnectionService];
const CALLS = SERVICES.flatMap((service) =>
  service.methods.map((method) => ({ name: `${service.typeName}/${method.name}`, kind: method.methodKind })),
);

describe("every call", () => {
  it("has a rule, and every rule a call", () => {
    expect(CALLS.map(({ name }) => name).toSorted()).toEqual(Object.keys(RPC_ACCESS).toSorted());
  });

  it.each(CALLS.filter(({ kind }) => kind === "unary"))(
    "$name is refused without proof of who asks",
    async ({ name }) => {
      const method = name.replace("tributary.api.v1.", "");
      expect(await call(method, {}, "")).toMatchObject({ status: 401, json: { code: "unauthenticated" } });
      expect(await call(method, {}, UNKNOWN)).toMatchObject({ status: 401, json: { code: "unauthenticated" } });
    },
  );

  it.each(CALLS.filter(({ kind }) => kind !== "unary"))("$name, too", async ({ name }) => {
    const method = name.replace("tributary.api.v1.", "");
    const refusal = [{ last: true, json: { error: { code: "unauthenticated" } } }];
    expect(await all(open(method, {}, ""))).toMatchObject(refusal);
    expect(await all(open(method, {}, UNKNOWN))).toMatchObject(refusal);
  });

  it("that changes something needs the permission, and shows what is personal to nobody without it", async () => {
    const person = { name: "Ada", organizationName: "Acme", email: "", userId: "u1", sessionHash: "h" };
    session = { kind: "user", ...person, organizationId: "acme", permissions: ["integrations.view"] };
    const own = { origin: "https://tributary.example.com" };
    const changing = Object.keys(RPC_ACCESS).filter((method) => RPC_ACCESS[method] === "integrations.manage");
    for (const method of changing.filter((name) => !name.endsWith("/Subscribe")))
      expect([method, (await call(method.replace("tributary.api.v1.", ""), {}, "", own)).status]).toEqual([
        method,
        403,
      ]);
    expect(await all(open("EventService/Subscribe", { consumer: "c" }, "", own))).toMatchObject([
      { last: true, json: { error: { code: "permission_denied" } } },
    ]);
    expect(await call("EventService/Get", { id: eventId }, "", own)).toMatchObject({ status: 200 });
    expect(await call("EventService/Get", { id: eventId, personalData: true }, "", own)).toMatchObject({ status: 403 });
    expect(await call("EventService/List", { personalData: true }, "", own)).toMatchObject({ status: 403 });
    expect(await call("DeadLetterService/GetDeadLetter", { id: letterId, personalData: true }, "", own)).toMatchObject({
      status: 403,
    });
    // A page of somebody else's cannot ask with the person's cookie.
    expect(
      await call("EventService/Get", { id: eventId }, "", { origin: "https://elsewhere.example.com" }),
    ).toMatchObject({
      status: 403,
    });
    session = undefined;
  });
});

describe("another organisation", () => {
  it.each([
    ["EventService/Get", () => ({ id: eventId }), { id: "event-9" }],
    ["EventService/GetReplay", () => ({ id: replayId }), { id: randomUUID() }],
    ["EventService/CancelReplay", () => ({ id: replayId }), { id: randomUUID() }],
    ["EventService/Replay", () => ({ consumer: "billing" }), { consumer: "nobody" }],
    [
      "EventService/Ack",
      () => ({ consumer: "billing", connectionId, sequence: "1" }),
      { consumer: "nobody", connectionId: randomUUID(), sequence: "1" },
    ],
    [
      "EventService/Ack",
      () => ({ consumer: "billing", connectionId, sequence: "1", replayId }),
      { consumer: "nobody", connectionId, sequence: "1", replayId: randomUUID() },
    ],
    ["DeadLetterService/GetDeadLetter", () => ({ id: letterId }), { id: randomUUID() }],
    ["DeadLetterService/RedriveDeadLetters", () => ({ id: letterId }), { id: randomUUID() }],
    ["DeadLetterService/DropDeadLetters", () => ({ id: letterId, reason: "r" }), { id: randomUUID(), reason: "r" }],
    ["DeadLetterService/RedriveDeadLetters", () => ({ consumer: "billing" }), { consumer: "nobody" }],
    [
      "DeadLetterService/DropDeadLetters",
      () => ({ consumer: "billing", reason: "r" }),
      { consumer: "nobody", reason: "r" },
    ],
    ["ConsumerService/GetConsumer", () => ({ name: "billing" }), { name: "nobody" }],
    ["ConsumerService/UpdateConsumer", () => ({ name: "billing" }), { name: "nobody" }],
    ["ConsumerService/RemoveConsumer", () => ({ name: "billing" }), { name: "nobody" }],
    ["ConnectionService/SyncConnection", () => ({ id: connectionId }), { id: randomUUID() }],
    ["ConnectionService/PauseConnection", () => ({ id: connectionId }), { id: randomUUID() }],
    ["ConnectionService/ResumeConnection", () => ({ id: connectionId }), { id: randomUUID() }],
    ["ConnectionService/DisconnectConnection", () => ({ id: connectionId }), { id: randomUUID() }],
    [
      "ConnectionService/Act",
      () => ({ connectionId, type: "complete", input: {}, idempotencyKey: randomUUID() }),
      { connectionId: randomUUID(), type: "complete", input: {}, idempotencyKey: randomUUID() },
    ],
  ])("%s: what is foreign and what is unknown get the same bytes", async (method, foreign, unknown) => {
    const theirs = await call(method, foreign(), GLOBEX);
    expect(theirs).toMatchObject({ status: 404, json: { code: "not_found" } });
    expect((await call(method, unknown, GLOBEX)).text).toBe(theirs.text);
  });

  it.each([
    ["EventService/List", "events"],
    ["EventService/ListReplays", "replays"],
    ["DeadLetterService/ListDeadLetters", "deadLetters"],
    ["ConsumerService/ListConsumers", "consumers"],
  ])("%s shows it nothing", async (method, field) => {
    expect((await call(method)).json[field]).not.toHaveLength(0);
    expect((await call(method, {}, GLOBEX)).json).toEqual({});
  });

  it("does not follow a foreign replay, and changed nothing of acme's", async () => {
    const [first] = await all(open("EventService/WatchReplay", { id: replayId }, GLOBEX));
    expect(first).toMatchObject({ last: true, json: { error: { code: "not_found" } } });
    expect((await call("EventService/GetReplay", { id: replayId })).json).toMatchObject({
      replay: { state: "REPLAY_STATE_RUNNING" },
    });
    expect((await call("ConsumerService/GetConsumer", { name: "billing" })).status).toBe(200);
    expect((await call("DeadLetterService/GetDeadLetter", { id: letterId })).status).toBe(200);
  });
});

it("says of a request of more than 1 MiB that it is too large", async () => {
  expect(await call("EventService/Get", { id: "x".repeat(1024 * 1024) })).toMatchObject({
    status: 429,
    json: { code: "resource_exhausted", message: "payload_too_large: the request has more than 1 MiB" },
  });
});

describe("looking at events", () => {
  it("shows what is personal only to who asks for it", async () => {
    const { json } = await call("EventService/Get", { id: eventId });
    expect(json).toMatchObject({
      event: { id: eventId, connectionId, sequence: "2", payload: { task: { id: "2", title: "[redacted]" } } },
    });
    expect((await call("EventService/Get", { id: eventId, personalData: true })).json).toMatchObject({
      event: { payload: { task: { title: "Water the ferns" } }, data: expect.any(String) },
    });
    const letter = await call("DeadLetterService/GetDeadLetter", { id: letterId });
    expect(letter.json).toMatchObject({
      deadLetter: { consumer: "billing", reason: "no such customer", road: "ROAD_HTTP" },
      payload: { task: { title: "[redacted]" } },
    });
    expect(letter.text).not.toContain("ferns");
  });

  it("lists pages, the newest first, by type, time and connection", async () => {
    const ids = (page: { readonly json: Record<string, never> }) =>
      (page.json["events"] as { id: string }[] | undefined)?.map(({ id }) => id) ?? [];
    const first = await call("EventService/List", { pageSize: 2 });
    expect(ids(first)).toEqual(["event-3", "event-2"]);
    const pageToken: string = first.json["nextPageToken"] ?? "";
    const second = await call("EventService/List", { pageSize: 2, pageToken });
    expect(ids(second)).toEqual(["event-1"]);
    expect(second.json["nextPageToken"]).toBeUndefined();
    expect(ids(await call("EventService/List", { types: ["tributary.task.v1.TaskDeleted"] }))).toEqual([]);
    expect(ids(await call("EventService/List", { connectionId }))).toHaveLength(3);
    expect(ids(await call("EventService/List", { connectionId: randomUUID() }))).toEqual([]);
    expect(ids(await call("EventService/List", { until: "2020-01-01T00:00:00Z" }))).toEqual([]);
    expect(ids(await call("EventService/List", { from: new Date(Date.now() - 3_600_000).toISOString() }))).toHaveLength(
      3,
    );
    for (const wrong of [{ pageToken: "x" }, { pageSize: 201 }, { types: ["a.B"] }, { connectionId: "c" }])
      expect(await call("EventService/List", wrong)).toMatchObject({ status: 400, json: { code: "invalid_argument" } });
  });

  it("tells of every type what it means, where it is published, what is personal, and an example", async () => {
    const { json } = await call("EventService/Catalogue", { type: "tributary.task.v1.TaskCompleted" });
    expect(json).toMatchObject({
      types: [
        {
          subject: "evt.v1.<organization>.<connector>.task.completed",
          meaning: expect.stringContaining("ticked off"),
          fields: expect.arrayContaining([expect.objectContaining({ path: "task.title", personalData: true })]),
          example: expect.objectContaining({ task: expect.anything() }),
        },
      ],
    });
    expect((await call("EventService/Catalogue", { type: "a.B" })).status).toBe(404);
  });
});

describe("consumers and replays", () => {
  it("say in what a consumer differs, and change nothing", async () => {
    const types = ["tributary.task.v1.TaskCompleted"];
    expect((await call("ConsumerService/CreateConsumer", { name: "books", types })).json).toMatchObject({
      created: true,
    });
    expect((await call("ConsumerService/CreateConsumer", { name: "books", types })).json).not.toHaveProperty("created");
    const other = await call("ConsumerService/CreateConsumer", { name: "books" });
    expect(other).toMatchObject({ status: 400, json: { code: "failed_precondition" } });
    expect(other.text).toContain(
      "consumer_differs: it does not read every type; it reads tributary.task.v1.TaskCompleted",
    );
    const [refusal] = await all(open("EventService/Subscribe", { consumer: "books" }));
    expect(refusal).toMatchObject({ last: true, json: { error: { code: "failed_precondition" } } });
    expect((await call("ConsumerService/RemoveConsumer", { name: "books" })).status).toBe(200);
  });

  it("refuse what makes no sense, without a value in the answer", async () => {
    for (const [method, body] of [
      ["EventService/Replay", { eventsPerSecond: 100_001 }],
      ["EventService/Replay", { connectionIds: ["not-a-uuid"] }],
      ["EventService/Replay", { from: "2026-01-02T00:00:00Z", until: "2026-01-01T00:00:00Z" }],
      ["EventService/Replay", { from: "2999-01-01T00:00:00Z" }],
      ["EventService/Replay", { idempotencyKey: "A B" }],
      ["DeadLetterService/ListDeadLetters", { type: "no.such.Type" }],
      ["DeadLetterService/ListDeadLetters", { type: "\0" }],
      ["DeadLetterService/RedriveDeadLetters", { consumer: "billing", type: "no.such.Type" }],
      ["DeadLetterService/DropDeadLetters", { consumer: "billing", type: "no.such.Type", reason: "r" }],
      ["ConsumerService/CreateConsumer", { name: "Not A Name" }],
      ["DeadLetterService/DropDeadLetters", { id: letterId, reason: "" }],
      ["DeadLetterService/RedriveDeadLetters", { id: letterId, consumer: "billing" }],
      ["ConnectionService/Act", { connectionId, type: "t", idempotencyKey: "k" }],
    ] as const) {
      const answer = await call(method, body);
      expect([method, answer.status, answer.json["code"]]).toEqual([method, 400, "invalid_argument"]);
      expect(answer.text).not.toMatch(/not-a-uuid|Not A Name/);
    }
    expect(await call("EventService/Replay", { idempotencyKey: "again" })).toMatchObject({ status: 200 });
    await call("EventService/Replay");
    expect(await call("EventService/Replay")).toMatchObject({ status: 429, json: { code: "resource_exhausted" } });
  });
});

it("tells somebody who misspelt a call so, in the protocol's words", async () => {
  expect(await call("EventService/Gett")).toMatchObject({ status: 404, json: { code: "unimplemented" } });
  expect(await call("EventsService/Get", {}, "")).toMatchObject({ status: 404, json: { code: "unimplemented" } });
});

describe("a stream", () => {
  it("ends when the proof of who asked for it expires", async () => {
    const person = { name: "Ada", organizationName: "Acme", email: "", userId: "u1" };
    const permissions = ["integrations.view", "integrations.manage"] as const;
    // Time enough for a first message on any machine.
    const expiresAtMs = Date.now() + 4_000;
    session = { kind: "user", ...person, organizationId: "acme", permissions, expiresAtMs };
    const streams = await Promise.all([
      all(open("EventService/Subscribe", { consumer: "short" }, "")),
      all(open("EventService/WatchReplay", { id: replayId }, "")),
    ]);
    // A timer may be a little early by the clock.
    expect(Date.now()).toBeGreaterThan(expiresAtMs - 100);
    for (const messages of streams) {
      expect(messages.at(-1)).toMatchObject({ last: true, json: { error: { code: "unauthenticated" } } });
      expect(messages.length).toBeGreaterThan(1);
    }
    session = undefined;
  });

  it("gives what a replay brings its mark, and takes it back with the acknowledgement", async () => {
    const got: { replayId?: string; sequence: string }[] = [];
    for await (const { json } of open("EventService/Subscribe", { consumer: "billing" })) {
      const event = json as unknown as { replayId?: string; sequence: string };
      got.push(event);
      const { sequence, replayId: from } = event;
      const settled = { consumer: "billing", connectionId, sequence, outcome: "OUTCOME_HANDLED" };
      await call("EventService/Ack", { ...settled, ...(from === undefined ? {} : { replayId: from }) });
      if (got.filter((one) => one.replayId === replayId).length === 3) break;
    }
    const target = { consumer: "billing", road: "ROAD_HTTP", done: "3", ended: true };
    await vi.waitFor(
      async () =>
        expect((await call("EventService/GetReplay", { id: replayId })).json).toMatchObject({
          replay: { targets: expect.arrayContaining([target]) },
        }),
      30_000,
    );
  });
});

it("tells of what is gone who asks for it, and keeps of its dead letter what the consumer said", async () => {
  const messages = async (count: number, more: object = {}) => {
    const got: (string | undefined)[][] = [];
    // As a connection does that ends: the consumer is free again.
    const over = new AbortController();
    for await (const { json } of open("EventService/Subscribe", { consumer: "late", ...more }, ACME, {}, over.signal)) {
      const { sequence, gone = "0" } = json as { sequence?: string; gone?: string };
      if (got.push([sequence, gone]) === count) over.abort();
      if (over.signal.aborted) break;
    }
    return got;
  };
  const settle = (more: object) => call("EventService/Ack", { consumer: "late", connectionId, ...more });
  expect(await messages(1)).toEqual([["1", "0"]]);
  expect((await settle({ sequence: 1 })).status).toBe(200);
  // What the retention does, a day at a time.
  await asOwner(stage.database, (tx) => run(tx, "DELETE FROM pipeline.event WHERE sequence = 2"));
  expect(await messages(1)).toEqual([["3", "0"]]);
  expect(await messages(2, { tellGone: true })).toEqual([
    ["2", "1"],
    ["3", "0"],
  ]);
  const died = { sequence: 2, outcome: "OUTCOME_DEAD_LETTER", reason: "too late", attempts: 4 };
  expect((await settle({ ...died, eventId: "two words" })).json).toMatchObject({ code: "invalid_argument" });
  expect((await settle({ ...died, eventId })).status).toBe(200);
  const { json } = await call("DeadLetterService/ListDeadLetters", { consumer: "late" });
  expect(json).toMatchObject({ deadLetters: [{ eventId, attempts: 4, reason: "too late", eventGone: true }] });
  const [{ id } = { id: "" }] = (json as unknown as { deadLetters: { id: string }[] }).deadLetters;
  expect((await call("DeadLetterService/GetDeadLetter", { id })).json).not.toHaveProperty("payload");
  expect((await call("DeadLetterService/RedriveDeadLetters", { id })).json).toMatchObject({ code: "aborted" });
});
