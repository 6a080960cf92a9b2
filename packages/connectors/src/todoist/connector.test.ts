import { toBinary } from "@bufbuild/protobuf";
import { TaskChangedSchema, TaskCompletedSchema, TaskDeletedSchema, TaskReopenedSchema } from "@tributary/contracts";
import { createClock, type Fault, type RunningEmulator } from "@tributary/sandbox";
import {
  type Account,
  type Connector,
  ConnectorError,
  type Json,
  readJson,
  type RequestOptions,
  type Signal,
  type User,
} from "@tributary/sdk";
import { createHmac, hash, randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { emulators, todoistAccount, todoistClient } from "../emulators.ts";
import { todoist as own, type TodoistCursor } from "./connector.ts";
import type { TodoistWorld } from "./emulator-world.ts";

const todoist: Connector<TodoistCursor> = own;
const redirectUri = "http://127.0.0.1:1/callback";
const client = todoistClient(redirectUri);
const DAY_MS = 86_400_000;
const CANARY = "canary-7f3a-";

let emulator: RunningEmulator<TodoistWorld>;
let world: TodoistWorld;
beforeEach(async () => {
  emulator = await emulators.todoist.start({
    port: 0,
    clock: createClock(),
    clients: [client],
    tokenPrefix: CANARY,
    webhookUrl: "http://127.0.0.1:1/nobody",
  });
  emulator.control.clock.freeze();
  ({ world } = emulator.control);
});
afterEach(() => emulator.stop());

/** Consent as the vault does it: PKCE, the page, the form, the exchange. */
async function consent(): Promise<string> {
  const verifier = "v".repeat(43);
  const authorize = new URLSearchParams({
    response_type: "code",
    client_id: client.clientId,
    redirect_uri: redirectUri,
    scope: todoist.scopes.map(({ id }) => id).join(","),
    state: "s",
    code_challenge: hash("sha256", verifier, "base64url"),
    code_challenge_method: "S256",
  });
  const page = await fetch(`${emulator.origin}/oauth/authorize?${authorize}`);
  const request = /name="request" value="([^"]+)"/.exec(await page.text())?.[1] ?? "";
  const answer = await fetch(`${emulator.origin}/oauth/authorize`, {
    method: "POST",
    redirect: "manual",
    body: new URLSearchParams({ request, decision: "allow", account: todoistAccount.id }),
  });
  const code = new URL(answer.headers.get("location") ?? "").searchParams.get("code") ?? "";
  const tokens = await fetch(`${emulator.origin}/oauth/access_token`, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      code,
      redirect_uri: redirectUri,
      code_verifier: verifier,
      client_id: client.clientId,
      client_secret: client.clientSecret,
    }),
  });
  return ((await tokens.json()) as { access_token: string }).access_token;
}

/** A user on a bare token: what the runtime and the vault are in production. */
async function userWith(overrides: Partial<User> = {}): Promise<User> {
  const token = await consent();
  const now = (): Date => emulator.control.clock.now();
  const send = (
    url: string,
    { method = "GET", query, form, json, headers }: RequestOptions = {},
  ): Promise<Response> => {
    const target = new URL(url.replace("https://api.todoist.com", emulator.origin));
    for (const [name, value] of Object.entries(query ?? {})) target.searchParams.set(name, value);
    const body = form === undefined ? json && JSON.stringify(json) : new URLSearchParams(form);
    return fetch(target, {
      method,
      headers: { ...headers, authorization: `Bearer ${token}` },
      ...(body === undefined ? {} : { body: body as string }),
    });
  };
  const unused = (): never => expect.unreachable();
  return {
    id: "user",
    organizationId: "org",
    connectionId: "connection",
    account: undefined,
    apiVersion: "v1",
    backfillFrom: new Date(now().getTime() - 60 * DAY_MS),
    signal: AbortSignal.timeout(10_000),
    now,
    log: () => {},
    fetch: send,
    json: async (schema, url, init) => readJson(schema, await send(url, init), now),
    begin: unused,
    forget: unused,
    ...overrides,
  };
}

interface Run {
  readonly signals: Signal[];
  readonly cursor: TodoistCursor | undefined;
}

/** Drives a run, or the first `yields` of it. */
async function run(user: User, since?: TodoistCursor, yields = Infinity): Promise<Run> {
  const signals: Signal[] = [];
  let pending: Signal[] = [];
  let cursor: TodoistCursor | undefined;
  let seen = 0;
  for await (const yielded of todoist.fetchSignals(user, since)) {
    if (yielded.kind === "signal") pending.push(yielded);
    else {
      signals.push(...pending);
      pending = [];
      cursor = yielded.cursor;
    }
    if (++seen === yields) break;
  }
  return { signals, cursor };
}

const failureOf = async (attempt: Promise<unknown>): Promise<ConnectorError> => {
  const error: unknown = await attempt.then(
    () => expect.unreachable(),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(ConnectorError);
  expect(`${String(error)} ${JSON.stringify(error)}`).not.toContain(CANARY);
  return error as ConnectorError;
};

/** What makes two signals one event: as the runtime stamps them. */
const mark = ({ schema, id, revision, message }: Signal): string =>
  `${schema.typeName} ${id} ${revision ?? hash("sha256", toBinary(schema, message))}`;
const short = ({ schema, id }: Signal): readonly [string, string] => [schema.name, id];
const byContent = (content: string) => world.tasks().find((task) => task.content === content)?.id ?? "";

describe("linking", () => {
  it("names the account that was linked", async () => {
    const user = await userWith();
    const account: Account = await todoist.finishOAuth("code", { redeem: () => Promise.resolve(user) });
    expect(account).toEqual({ id: todoistAccount.id, label: "sample@example.com" });
  });

  it("checks the credential with one request", async () => {
    const user = await userWith();
    await todoist.check?.(user);
    emulator.control.oauth?.tokens.revoke();
    expect((await failureOf(todoist.check?.(user) ?? Promise.resolve())).code).toBe("reauth_required");
  });
});

describe("a first run", () => {
  it("reads what is open, then what was completed since the given day, and ends with a checkpoint", async () => {
    const { signals, cursor } = await run(await userWith());
    const open = world.tasks().filter(({ checked }) => !checked);
    expect(
      signals
        .filter(({ schema }) => schema === TaskChangedSchema)
        .map(({ id }) => id)
        .toSorted(),
    ).toEqual(open.map(({ id }) => id).toSorted());
    const completed = signals.filter(({ schema }) => schema === TaskCompletedSchema);
    expect(completed.map(({ id }) => id)).toEqual(
      ["Submit the expenses", "Fix the garden gate", "Send the postcard", "Pay the water bill"].map(byContent),
    );
    expect(signals).toHaveLength(open.length + completed.length);
    expect(cursor).toEqual({ syncToken: expect.any(String), timeZone: "Europe/Warsaw" });
    expect(completed.map(({ occurredAt }) => occurredAt.getTime())).toEqual(
      completed.map(({ occurredAt }) => occurredAt.getTime()).toSorted((one, other) => one - other),
    );
  });

  it("skips nothing that happens while it runs, and the next run repeats nothing", async () => {
    const user = await userWith();
    const [first, second, third] = [
      byContent("Buy oat milk"),
      byContent("Find the passport"),
      byContent("Book the dentist"),
    ];
    const signals: Signal[] = [];
    let cursor: TodoistCursor | undefined;
    for await (const yielded of todoist.fetchSignals(user)) {
      if (yielded.kind === "signal") signals.push(yielded);
      // Between the full sync and the history, and then in the middle of the history.
      else if (cursor === undefined) world.complete(first);
      else if (cursor.historyFrom !== undefined && !world.task(second).checked) {
        world.complete(second);
        world.remove(third);
      }
      if (yielded.kind === "checkpoint") ({ cursor } = yielded);
    }
    for (const id of [first, second])
      expect(new Set(signals.filter((one) => one.id === id && one.schema === TaskCompletedSchema).map(mark)).size).toBe(
        1,
      );
    expect(signals.filter(({ id }) => id === third).map(({ schema }) => schema.name)).toEqual([
      "TaskChanged",
      "TaskDeleted",
    ]);
    expect((await run(user, cursor)).signals).toEqual([]);
  });

  it("asks for windows of at most three months, one page after the other", async () => {
    for (let count = 0; count < 450; count++) world.complete(world.add({ content: `Task ${count}` }).id);
    const { signals } = await run(await userWith());
    expect(signals.filter(({ schema }) => schema === TaskCompletedSchema)).toHaveLength(454);
    const pages = emulator.control.journal.entries.filter(({ path }) => path.endsWith("by_completion_date"));
    expect(pages.every(({ status }) => status === 200)).toBe(true);
    for (const { query } of pages)
      expect(Date.parse(query["until"] ?? "") - Date.parse(query["since"] ?? "")).toBeLessThanOrEqual(92 * DAY_MS);
    expect(pages.some(({ query }) => query["cursor"] !== undefined)).toBe(true);
  });

  it("gives the same events when it is killed after any of its yields", async () => {
    const user = await userWith();
    const whole = new Set((await run(user)).signals.map(mark));
    let yields = 0;
    for await (const _ of todoist.fetchSignals(user)) yields++;
    expect(yields).toBeGreaterThan(30);
    for (let killedAfter = 1; killedAfter <= yields; killedAfter++) {
      const before = await run(user, undefined, killedAfter);
      const after = await run(user, before.cursor);
      emulator.control.clock.advance(60_000); // 1000 requests in 15 minutes are soon gone.
      expect(new Set([...before.signals, ...after.signals].map(mark)), `after ${killedAfter}`).toEqual(whole);
    }
  }, 30_000);
});

describe("a later run", () => {
  it("yields what changed, once, deletions included", async () => {
    const user = await userWith();
    const { cursor } = await run(user);
    const added = world.add({ content: "New" }).id;
    emulator.control.clock.advance(1000);
    world.update(added, { content: "Newer" });
    const removed = byContent("Find the passport");
    world.remove(removed);
    const { signals, cursor: next } = await run(user, cursor);
    expect(signals.map(short)).toEqual([
      ["TaskChanged", added],
      ["TaskDeleted", removed],
    ]);
    expect(signals[0]?.message).toMatchObject({ task: { title: "Newer" } });
    expect(signals[1]?.schema).toBe(TaskDeletedSchema);
    expect((await run(user, next)).signals).toEqual([]);
  });

  it("tells completing, reopening and completing again as three", async () => {
    const user = await userWith();
    let { cursor } = await run(user);
    const id = byContent("Buy oat milk");
    const marks: string[] = [];
    for (const step of [world.complete, world.reopen, world.complete]) {
      emulator.control.clock.advance(1000);
      step(id);
      const { signals, cursor: next } = await run(user, cursor);
      cursor = next;
      expect(signals).toHaveLength(1);
      marks.push(...signals.map(mark));
      if (step === world.reopen) {
        expect(signals[0]?.schema).toBe(TaskChangedSchema);
        expect(signals[0]?.transition).toEqual({ from: TaskCompletedSchema, as: TaskReopenedSchema });
      } else expect(signals[0]?.schema).toBe(TaskCompletedSchema);
    }
    expect(new Set(marks).size).toBe(3);
  });

  it("shows a recurring task that was ticked as changed, with its next date", async () => {
    const user = await userWith();
    const { cursor } = await run(user);
    const id = byContent("Clean the coffee machine");
    const before = world.task(id).due?.date;
    world.close(id);
    const [only, ...rest] = (await run(user, cursor)).signals;
    expect([only?.schema.name, rest.length]).toEqual(["TaskChanged", 0]);
    expect(only?.message).toMatchObject({ task: { due: { date: world.task(id).due?.date } } });
    expect(world.task(id).due?.date).not.toBe(before);
  });

  it("asks for a new start when Todoist no longer accepts or no longer knows the token", async () => {
    const user = await userWith();
    const { cursor } = await run(user);
    emulator.control.faults.add({
      match: { path: "/api/v1/sync" },
      body: { sync_token: "other", full_sync: true, items: [] },
      status: 200,
    });
    expect((await failureOf(run(user, cursor))).code).toBe("cursor_expired");
    world.expireSyncTokens();
    expect((await failureOf(run(user, cursor))).code).toBe("cursor_expired");
  });
});

describe("what goes wrong becomes the right instruction", () => {
  const sync = { path: "/api/v1/sync" };
  const limited = { error: "Too many requests", error_extra: { retry_after: 7 } };
  const page = { sync_token: "t", full_sync: true, items: [{ id: "1" }] };
  it.each<[string, Fault, string, number?]>([
    ["429 with the wait in its body", { match: sync, status: 429, body: limited }, "rate_limited", 7000],
    [
      "429 with an absurd wait",
      { match: sync, status: 429, body: { error_extra: { retry_after: 1e9 } } },
      "rate_limited",
      3_600_000,
    ],
    ["429 with a header alone", { match: sync, status: 429, headers: { "retry-after": "9" } }, "rate_limited", 9000],
    ["429 without a word", { match: sync, status: 429 }, "rate_limited"],
    ["401", { match: sync, status: 401, body: { error: "Unauthorized" } }, "reauth_required"],
    ["403", { match: sync, status: 403, body: { error: "Forbidden" } }, "rejected"],
    ["410", { match: sync, status: 410 }, "cursor_expired"],
    ["500 with HTML", { match: sync, status: 500, body: "<html>" }, "retryable"],
    ["503", { match: sync, status: 503 }, "retryable"],
    ["HTML with 200", { match: sync, status: 200, body: "<html>" }, "contract_violation"],
    ["a task without its fields", { match: sync, status: 200, body: page }, "contract_violation"],
    [
      "a bad date",
      { match: sync, status: 200, body: { ...page, items: [{ id: "1", is_deleted: true, updated_at: "soon" }] } },
      "contract_violation",
    ],
    [
      "a list that never ends",
      { match: { path: /by_completion_date/ }, status: 200, body: { items: [], next_cursor: "again" }, times: 1000 },
      "contract_violation",
    ],
  ])("%s", async (_what, fault, code, retryAfterMs?) => {
    const user = await userWith();
    emulator.control.faults.add(fault);
    const error = await failureOf(run(user));
    expect(error.code).toBe(code);
    if (retryAfterMs !== undefined) expect(error).toMatchObject({ retryAfterMs });
  });
});

describe("writing back", () => {
  const act = async (type: string, input: Json, idempotencyKey: string = randomUUID(), user?: User) =>
    todoist.act?.(user ?? (await userWith()), { type, input, idempotencyKey });

  it("adds a task once, however often it is asked, and names it each time", async () => {
    const key = randomUUID();
    const input = { title: "From outside", due: "tomorrow at 9", priority: "urgent", labels: ["a"], description: "d" };
    const one = await act("task.create", input, key);
    expect(await act("task.create", input, key)).toEqual(one);
    const made = world.tasks().filter(({ content }) => content === "From outside");
    expect(made).toMatchObject([
      { id: one?.id, priority: 4, labels: ["a"], description: "d", due: { string: "tomorrow at 9" } },
    ]);
  });

  it("completes and reopens; a repeated key has no second effect", async () => {
    const id = byContent("Buy oat milk");
    const key = randomUUID();
    expect(await act("task.complete", { id }, key)).toEqual({ id });
    expect(world.task(id).checked).toBe(true);
    await act("task.reopen", { id });
    await act("task.complete", { id }, key);
    expect(world.task(id).checked).toBe(false);
  });

  it("moves a recurring task on, as the person's own tick does", async () => {
    const id = byContent("Water the tomatoes");
    const before = world.task(id).due?.date ?? "";
    await act("task.complete", { id });
    expect(world.task(id).checked).toBe(false);
    expect((world.task(id).due?.date ?? "") > before).toBe(true);
  });

  const status = (body: object) => (key: string) => ({ sync_status: { [key]: body } });
  it.each<[string, (key: string) => object, string]>([
    ["an unknown task", status({ error_code: 22, http_code: 404, error: CANARY }), "rejected"],
    ["a forbidden one", status({ error_code: 3, http_code: 403, error: CANARY }), "rejected"],
    ["an invalid argument", status({ error_code: 20, http_code: 400, error: CANARY }), "rejected"],
    ["too many at once", status({ error_code: 35, http_code: 429, error_extra: { retry_after: 3 } }), "rate_limited"],
    ["trouble at Todoist", status({ error_code: 0, http_code: 503 }), "retryable"],
    ["no word about the command", () => ({ sync_status: {} }), "contract_violation"],
  ])("inside a 200: %s", async (_what, body, code) => {
    const key = randomUUID();
    const user = await userWith();
    emulator.control.faults.add({ match: { path: "/api/v1/sync" }, status: 200, body: body(key) });
    expect((await failureOf(act("task.complete", { id: "x" }, key, user) as Promise<unknown>)).code).toBe(code);
  });

  it("is refused for a task that is not there", async () => {
    expect(await failureOf(act("task.reopen", { id: "nothing" }) as Promise<unknown>)).toMatchObject({
      code: "rejected",
      message: "Todoist knows no such task.",
    });
  });

  it.each([
    ["task.complete", { id: "" }],
    ["task.complete", { id: "1", other: 1 }],
    ["task.create", { title: "" }],
    ["task.create", { title: "x", priority: "highest" }],
  ] as const)("has a schema that refuses %s %j", (type, input) => {
    expect(() => todoist.manifest.actions?.[type]?.input.parse(input)).toThrow();
  });
});

describe("webhooks", () => {
  it("are signed as the connector says, and name their account", async () => {
    await consent();
    world.add({ content: "Heard of" });
    const [sent] = emulator.control.deliveries.sent;
    const { webhook } = todoist;
    if (sent === undefined || webhook?.verify.scheme !== "hmac-sha256") return expect.unreachable();
    expect(sent.headers[webhook.verify.header]).toBe(
      createHmac("sha256", client.clientSecret).update(sent.body).digest(webhook.verify.encoding),
    );
    expect(sent.headers[webhook.deliveryIdHeader ?? ""]).toBe(sent.id);
    const body = JSON.parse(sent.body) as Json;
    expect(webhook.accounts?.({ headers: {}, body })).toEqual([todoistAccount.id]);
    expect(webhook.accounts?.({ headers: {}, body: { user_id: 12 } })).toEqual(["12"]);
    expect(() => webhook.accounts?.({ headers: {}, body: {} })).toThrow();
  });
});

it("lets no token into signals or cursors", async () => {
  const { signals, cursor } = await run(await userWith());
  const text = JSON.stringify([signals.map(({ message }) => message), cursor], (_key, value: unknown) =>
    typeof value === "bigint" ? String(value) : value,
  );
  expect(text).not.toContain(CANARY);
  expect(JSON.stringify(emulator.control.journal.entries)).not.toContain(CANARY);
});
