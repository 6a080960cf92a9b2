import { create, toBinary } from "@bufbuild/protobuf";
import type { Identity } from "@tributary/auth";
import { codeOf, TaskCompletedSchema, TaskSchema } from "@tributary/contracts";
import type { LedgerEvent, TailOptions } from "@tributary/pipeline";
import { Hono } from "hono";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { eventStreamRoutes } from "./event-stream-routes.ts";
import type { ApiEnv, ApiOptions } from "./options.ts";

const service = { kind: "service", name: "s", organizationId: "acme", organizationName: "Acme" } as const;
const admin: Identity = { ...service, permissions: ["integrations.view", "integrations.manage"] };
const viewer: Identity = { ...service, permissions: ["integrations.view"] };
const member: Identity = {
  kind: "user",
  userId: "u1",
  email: "",
  name: "Ada",
  organizationId: "acme",
  organizationName: "Acme",
  permissions: ["integrations.view"],
};

const OWN = "0198c2f4-5f4e-4a51-9a1d-0c7b7f2f8a11";
const OTHER = "0198c2f4-5f4e-4a51-9a1d-0c7b7f2f8a12";

let taken = 0;
let returned = false;
let asked: TailOptions | undefined;
let types: readonly string[] = [];
/** Another event whenever it is asked; nothing more behind `limit`, until the signal aborts. */
let limit = Infinity;

async function* events(options: TailOptions) {
  asked = options;
  try {
    for (; taken < limit;) {
      taken++;
      yield { event: sample(taken), resume: `r${taken}` };
    }
    await new Promise<void>((resolve) => options.signal.addEventListener("abort", () => resolve()));
  } finally {
    returned = true;
  }
}

const sample = (sequence: number): LedgerEvent => ({
  organizationId: "acme",
  connectionId: "c1",
  connector: "todoist",
  sequence: BigInt(sequence),
  id: `event-${sequence}`,
  type: types[0] ?? TaskCompletedSchema.typeName,
  subject: "evt.v1.acme.todoist.task.completed",
  objectKey: `task/${sequence}`,
  timeMs: 1_763_683_200_000,
  backfill: false,
  traceparent: "",
  payload: toBinary(
    TaskCompletedSchema,
    create(TaskCompletedSchema, { task: create(TaskSchema, { id: "1", title: "Water" }) }),
  ),
});

const get = (query = "", identity: Identity = admin, headers: Record<string, string> = {}) =>
  routes(identity).request(`/events/stream${query}`, { headers });

function routes(identity: Identity) {
  const app = new Hono<ApiEnv>();
  app.use(async (c, next) => {
    c.set("identity", identity);
    await next();
  });
  const options = {
    tail: { tail: events },
    connections: { list: async () => [{ row: { id: OWN } }] },
    runtime: { now: () => new Date() },
  } as unknown as ApiOptions;
  app.route("/", eventStreamRoutes(options));
  app.onError((error, c) => {
    const code = codeOf(error);
    return c.text(`${code}: ${error.message.replace(`${code}: `, "")}`, code === "too_many_streams" ? 429 : 422);
  });
  return app;
}

async function reader(response: Response | Promise<Response>) {
  const body = (await response).body?.getReader();
  return {
    next: async (): Promise<string | undefined> => {
      const step = await body?.read();
      return step?.value === undefined ? undefined : new TextDecoder().decode(step.value);
    },
    cancel: () => body?.cancel(),
  };
}

beforeEach(() => {
  vi.useFakeTimers();
  taken = 0;
  returned = false;
  types = [];
  limit = Infinity;
});
afterEach(() => vi.useRealTimers());

describe("server-sent events", () => {
  it("carry the payload as JSON, a place to come back to, and what this hub does not know as it is on the wire", async () => {
    const stream = await reader(get());
    expect(await stream.next()).toBe("retry: 2000\n: connected\n\n");
    const [, id, type, data = ""] = /^id: (.+)\nevent: (.+)\ndata: (.+)\n\n$/.exec((await stream.next()) ?? "") ?? [];
    expect([id, type]).toEqual(["r1", TaskCompletedSchema.typeName]);
    expect(JSON.parse(data)).toMatchObject({ id: "event-1", sequence: "1", data: { task: { title: "Water" } } });
    types = ["some.v9.Unknown"];
    await stream.next();
    const unknown = (await stream.next()) ?? "";
    expect(unknown).toContain(`"dataBase64":"${Buffer.from(sample(1).payload).toString("base64")}"`);
    await stream.cancel();
  });

  it("are taken from the ledger as the reader takes them: one that stops holds one or two", async () => {
    const stream = await reader(get());
    await stream.next();
    await stream.next();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(taken).toBeLessThanOrEqual(3);
    await stream.cancel();
    expect(returned).toBe(true);
  });

  it("say every fifteen seconds that they are there", async () => {
    limit = 0;
    const stream = await reader(get());
    await stream.next();
    const beat = stream.next();
    await vi.advanceTimersByTimeAsync(14_999);
    let heard = false;
    void beat.then(() => (heard = true));
    await vi.advanceTimersByTimeAsync(0);
    expect(heard).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(await beat).toBe(":\n\n");
    await stream.cancel();
  });

  it("end when the proof of who asked for them expires", async () => {
    limit = 0;
    const stream = await reader(get("", { ...admin, expiresAtMs: Date.now() + 20_000 }));
    await stream.next();
    const beat = stream.next();
    await vi.advanceTimersByTimeAsync(15_000);
    await beat;
    const last = stream.next();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(await last).toBeUndefined();
    expect(returned).toBe(true);
  });

  it.each([
    ["everything, to whoever manages the organisation", admin, "", undefined],
    ["what was asked for", admin, `?connection=${OTHER}&connection=${OWN}`, [OTHER, OWN]],
    ["one's own, to anybody else", member, "", [OWN]],
    ["nothing of others', however it is asked for", member, `?connection=${OTHER}&connection=${OWN}`, [OWN]],
  ])("show %s", async (_, identity, query, expected) => {
    const stream = await reader(get(query, identity, { "last-event-id": "r7" }));
    await stream.next();
    await stream.next();
    expect(asked?.connectionIds).toEqual(expected);
    expect(asked).toMatchObject({ organizationId: "acme", after: "r7" });
    await stream.cancel();
  });

  it.each(["?types=tributary.task.v1.TaskCompleted", "?since=r1", "?connection=a&Connection=b"])(
    "refuse a parameter that they do not know, and name those that they do: %s",
    async (query) => {
      const said = "validation_failed: The parameters are type and connection.";
      expect(await (await get(query)).text()).toBe(said);
    },
  );

  it("are refused to a service that may not manage: it has no connections of its own", async () => {
    expect(await (await get("", viewer)).text()).toMatch(/^insufficient_permissions: /);
    expect(taken).toBe(0);
  });

  it("are refused to an organisation that has as many open as it may, until it closes one", async () => {
    const app = routes(admin);
    const all = await Promise.all(Array.from({ length: 500 }, () => reader(app.request("/events/stream"))));
    const refused = await app.request("/events/stream");
    expect(await refused.text()).toMatch(/^too_many_streams: 500 streams/);
    expect((await routes({ ...admin, organizationId: "globex" }).request("/events/stream")).status).toBe(200);
    await all[0]?.cancel();
    const again = await app.request("/events/stream");
    expect(again.status).toBe(200);
    // Whoever asks for the head alone takes no place.
    expect((await app.request("/events/stream", { method: "HEAD" })).status).toBe(429);
    await again.body?.cancel();
    for (let turn = 0; turn < 3; turn++)
      expect((await app.request("/events/stream", { method: "HEAD" })).status).toBe(200);
    for (const one of all) await one.cancel();
  });

  it.each([
    ["?type=no.such.Type"],
    ["?connection=mine"],
    [`?${Array.from({ length: 101 }, () => "connection=a").join("&")}`],
  ])("refuse %s", async (query) => {
    expect((await get(query)).status).toBe(422);
  });
});
