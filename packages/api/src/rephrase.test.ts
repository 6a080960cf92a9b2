import { create, toBinary } from "@bufbuild/protobuf";
import { EventService, ReplayRequestSchema } from "@tributary/contracts";
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { all, envelopes } from "./testing/envelopes.ts";
import { ACME, GLOBEX, openRpcStage, type RpcStage } from "./testing/rpc-stage.ts";

/** In every request: no answer may hold it. */
const CANARY = "s3cret-token";
let stage: RpcStage;
beforeAll(async () => {
  stage = await openRpcStage();
});
afterAll(() => stage?.close());

interface Sent {
  readonly body: string | Uint8Array<ArrayBuffer>;
  readonly type?: string;
  readonly key?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const post = (method: string, { body, type = "application/json", key = ACME, headers = {} }: Sent) =>
  stage.app.request(`https://tributary.example.com/tributary.api.v1.${method}`, {
    method: "POST",
    headers: { "content-type": type, ...(key === "" ? {} : { authorization: `Bearer ${key}` }), ...headers },
    body,
  });

async function told(method: string, body: object, key = ACME) {
  const response = await post(method, { body: JSON.stringify(body), key });
  const text = await response.text();
  return { status: response.status, text, json: JSON.parse(text) as Record<string, unknown> };
}

function envelope(content: string | Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = Buffer.from(content);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes.length, 1);
  return new Uint8Array(Buffer.concat([head, bytes]));
}

/** What is wrong with a request, and what is said of it. */
const MALFORMED: readonly (readonly [string, Sent, RegExp])[] = [
  ["a field of another type", { body: `{"eventsPerSecond":"${CANARY}"}` }, /^validation_failed: events_per_second /],
  ["a time that is none", { body: `{"from":"${CANARY}"}` }, /^validation_failed: from or until /],
  ["a list that is none", { body: `{"types":"${CANARY}"}` }, /^validation_failed: types /],
  ["an unknown field", { body: `{"${CANARY}":1}` }, /^validation_failed: .*: consumer, from, until, types, /],
  ["no JSON", { body: CANARY }, /^malformed_body: /],
  ["JSON that is no message", { body: `"${CANARY}"` }, /^malformed_body: /],
  ["one name twice", { body: `{"consumer":"${CANARY}","consumer":"b"}` }, /^malformed_body: /],
  [
    "bytes that are no message",
    { body: Buffer.from(`\u007f${CANARY}`), type: "application/proto" },
    /^malformed_body: /,
  ],
  ["a time limit that is none", { body: "{}", headers: { "connect-timeout-ms": CANARY } }, /^malformed_body: /],
  ["an encoding that is none", { body: "{}", headers: { "content-encoding": CANARY } }, /^unsupported_media_type: /],
];

describe("a refusal of a malformed request holds a code, at most a field, and nothing of the request", () => {
  it.each(MALFORMED)("%s", async (_, sent, said) => {
    const response = await post("EventService/Replay", sent);
    const text = await response.text();
    const { code, message } = JSON.parse(text) as { code: string; message: string };
    expect(message).toMatch(said);
    expect([response.status, code]).toEqual([400, "invalid_argument"]);
    expect(response.headers.get("tributary-error")).toBe(message.split(":")[0]);
    expect(response.headers.get("content-length")).toBe(String(text.length));
    expect(`${text} ${JSON.stringify([...response.headers])}`).not.toContain(CANARY);
  });

  it("in a stream, too", async () => {
    for (const [content, said] of [
      [`{"window":"${CANARY}"}`, "validation_failed: window "],
      [`{"${CANARY}":1}`, "validation_failed: "],
      [CANARY, "malformed_body: "],
    ] as const) {
      const type = "application/connect+json";
      const response = await post("EventService/Subscribe", { body: envelope(content), type });
      const [end, ...more] = await all(envelopes(response));
      expect(more).toEqual([]);
      expect(end).toMatchObject({ last: true, json: { error: { code: "invalid_argument" } } });
      expect(end?.json["error"]).toMatchObject({ message: expect.stringContaining(said) });
      expect(end?.json["metadata"]).toMatchObject({ "tributary-error": [said.split(":")[0]] });
      expect(JSON.stringify(end)).not.toContain(CANARY);
    }
  });

  it("and of a stream that promises too much", async () => {
    const head = Buffer.from(`00000${CANARY}`);
    head.writeUInt32BE(2 ** 21, 1);
    head[0] = 0;
    const type = "application/connect+json";
    const [end] = await all(envelopes(await post("EventService/Subscribe", { body: new Uint8Array(head), type })));
    const message = "payload_too_large: the request has more than 1 MiB";
    expect(end).toMatchObject({ last: true, json: { error: { code: "resource_exhausted", message } } });
  });

  it.each(["EventService/Replay", "EventService/Subscribe"])("over gRPC-Web, too: %s", async (method) => {
    for (const content of [`{"types":"${CANARY}"}`, CANARY]) {
      const body = envelope(content);
      const response = await post(method, { body, type: "application/grpc-web+json" });
      const text = decodeURIComponent(await response.text());
      expect(text).toContain("grpc-status: 3\r\n");
      expect(text).toMatch(/grpc-message: (?:validation_failed: types |malformed_body: )/);
      expect(text).not.toContain(CANARY);
    }
  });

  it("and leaves what the services say as they say it, over each protocol", async () => {
    const body = JSON.stringify({ consumer: "Not A Name" });
    const ours = "validation_failed: consumer must be";
    expect(await (await post("EventService/Replay", { body })).text()).toContain(`"message":"${ours}`);
    const connect = await post("EventService/Subscribe", { body: envelope(body), type: "application/connect+json" });
    expect(await connect.text()).toContain(`"message":"${ours}`);
    const web = await post("EventService/Replay", { body: envelope(body), type: "application/grpc-web+json" });
    expect(decodeURIComponent(await web.text())).toContain(ours);
  });

  it("tells who is not known nothing about the request", async () => {
    const response = await post("EventService/Replay", { body: CANARY, key: "" });
    expect([response.status, await response.text()]).toEqual([401, expect.stringContaining("missing_authorization")]);
  });
});

describe("what a request misspells is refused, and nothing is done", () => {
  it.each([
    ["EventService/Replay", { consummer: "billing" }],
    ["ConsumerService/CreateConsumer", { name: "books", road: "BAD" }],
    ["ConsumerService/CreateConsumer", { name: "books", road: 9 }],
    ["ConsumerService/CreateConsumer", { name: "books", start: "START_BAD" }],
    ["ConsumerService/CreateConsumer", { name: "books", start: 9 }],
    ["ConsumerService/CreateConsumer", { name: "books", afterDeadLetter: "HOLD" }],
    ["ConsumerService/CreateConsumer", { name: "books", afterDeadLetter: 9 }],
    ["ConsumerService/UpdateConsumer", { name: "billing", afterDeadLetter: 9 }],
    ["ConsumerService/RemoveConsumer", { name: "billing", road: 9 }],
    ["ConsumerService/GetConsumer", { name: "billing", road: 9 }],
    ["ConnectionService/DisconnectConnection", { id: randomUUID(), deleteEvent: true }],
  ])("%s %j", async (method, body) => {
    expect(await told(method, body)).toMatchObject({
      status: 400,
      json: { code: "invalid_argument", message: expect.stringMatching(/^validation_failed: /) },
    });
    expect((await told("EventService/ListReplays", {})).json).toEqual({});
    expect((await told("ConsumerService/ListConsumers", {})).json["consumers"]).toHaveLength(1);
  });

  it.each(["HANDLED", "OUTCOME_DEAD", "DEAD_LETTER", 3, -1])(
    "an outcome that is none settles nothing: %j",
    async (outcome) => {
      const lag = async () =>
        ((await told("ConsumerService/GetConsumer", { name: "billing" })).json["consumer"] as { lag: string }).lag;
      const before = await lag();
      const event = { consumer: "billing", connectionId: stage.connectionId, sequence: "2" };
      expect(await told("EventService/Ack", { ...event, outcome })).toMatchObject({
        status: 400,
        json: { message: expect.stringMatching(/^validation_failed: outcome /) },
      });
      expect(await lag()).toBe(before);
    },
  );

  it("an outcome that is not given is handled, as the contract says", async () => {
    const event = { consumer: "billing", connectionId: stage.connectionId, sequence: "2" };
    expect(await told("EventService/Ack", event)).toMatchObject({ status: 200 });
  });
});

describe("what is not there is not found", () => {
  it("a connection to replay: one that is foreign and one that is unknown, with the same bytes", async () => {
    expect((await told("ConsumerService/CreateConsumer", { name: "theirs" }, GLOBEX)).status).toBe(200);
    const foreign = await told("EventService/Replay", { connectionIds: [stage.connectionId] }, GLOBEX);
    const unknown = await told("EventService/Replay", { connectionIds: [randomUUID()] }, GLOBEX);
    expect(foreign).toMatchObject({ status: 404, json: { code: "not_found" } });
    expect(unknown.text).toBe(foreign.text);
    expect((await told("EventService/ListReplays", {}, GLOBEX)).json).toEqual({});
    const mixed = { connectionIds: [stage.connectionId, randomUUID()] };
    expect((await told("EventService/Replay", mixed)).status).toBe(404);
    expect((await told("EventService/Replay", { connectionIds: [stage.connectionId] })).status).toBe(200);
  });

  it("a consumer whose dead letters are to go; one that has none is none too few", async () => {
    for (const [method, rest] of [
      ["DeadLetterService/RedriveDeadLetters", {}],
      ["DeadLetterService/DropDeadLetters", { reason: "r" }],
    ] as const) {
      expect(await told(method, { consumer: "nobody", ...rest })).toMatchObject({ status: 404 });
      const none = { consumer: "billing", type: "tributary.task.v1.TaskDeleted", ...rest };
      expect(await told(method, none)).toMatchObject({ status: 200, json: {} });
    }
  });
});

it("a client that speaks binary may be newer than the hub: its unknown fields are passed over, as protobuf has it", async () => {
  const { typeName } = EventService.method.replay.input;
  expect(typeName).toBe(ReplayRequestSchema.typeName);
  const known = toBinary(ReplayRequestSchema, create(ReplayRequestSchema, { consumer: "billing" }));
  const body = new Uint8Array(Buffer.concat([known, Buffer.from([0xa0, 0x06, 0x01])]));
  expect((await post("EventService/Replay", { body, type: "application/proto" })).status).toBe(200);
});
