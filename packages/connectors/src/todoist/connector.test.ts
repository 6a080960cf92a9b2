import { TaskChangedSchema, TaskCompletedSchema, TaskDeletedSchema, TaskReopenedSchema } from "@tributary/contracts";
import type { Fault } from "@tributary/sandbox";
import type { Account, Json, Signal } from "@tributary/sdk";
import { createHmac } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ZodError } from "zod";
import { todoistAccount } from "../emulators.ts";
import {
  CANARY,
  client,
  consent,
  failureOf,
  linkedUser,
  mark,
  run,
  startTodoist,
  type Todoist,
  todoist,
} from "../../test/linked-todoist.ts";
import { todoist as own, type TodoistCursor } from "./connector.ts";
import type { TodoistWorld } from "./emulator-world.ts";

const DAY_MS = 86_400_000;

let emulator: Todoist;
let world: TodoistWorld;
beforeEach(async () => {
  emulator = await startTodoist();
  ({ world } = emulator.control);
});
afterEach(() => emulator.stop());

const short = ({ schema, id }: Signal): readonly [string, string] => [schema.name, id];
const byContent = (content: string) => world.tasks().find((task) => task.content === content)?.id ?? "";

describe("linking", () => {
  it("names the account that was linked", async () => {
    const user = await linkedUser(emulator);
    const account: Account = await todoist.finishOAuth("code", { redeem: () => Promise.resolve(user) });
    expect(account).toEqual({ id: todoistAccount.id, label: "sample@example.com" });
  });

  it("checks the credential with one request", async () => {
    const user = await linkedUser(emulator);
    await todoist.check?.(user);
    emulator.control.oauth?.tokens.revoke();
    expect((await failureOf(todoist.check?.(user) ?? Promise.resolve())).code).toBe("reauth_required");
  });
});

describe("a first run", () => {
  it("reads what is open, then what was completed since the given day, and ends with a checkpoint", async () => {
    const { signals, cursor } = await run(await linkedUser(emulator));
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
    const user = await linkedUser(emulator);
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
    const { signals } = await run(await linkedUser(emulator));
    expect(signals.filter(({ schema }) => schema === TaskCompletedSchema)).toHaveLength(454);
    const pages = emulator.control.journal.entries.filter(({ path }) => path.endsWith("by_completion_date"));
    expect(pages.every(({ status }) => status === 200)).toBe(true);
    for (const { query } of pages)
      expect(Date.parse(query["until"] ?? "") - Date.parse(query["since"] ?? "")).toBeLessThanOrEqual(92 * DAY_MS);
    expect(pages.some(({ query }) => query["cursor"] !== undefined)).toBe(true);
  });

  it("gives the same events when it is killed after any of its yields", async () => {
    const user = await linkedUser(emulator);
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
  });
});

describe("a later run", () => {
  it("yields what changed, once, deletions included", async () => {
    const user = await linkedUser(emulator);
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
    const user = await linkedUser(emulator);
    let { cursor } = await run(user);
    const id = byContent("Buy oat milk");
    const seen: Signal[] = [];
    for (const step of [world.complete, world.reopen, world.complete]) {
      emulator.control.clock.advance(1000);
      step(id);
      const { signals, cursor: next } = await run(user, cursor);
      cursor = next;
      seen.push(...signals);
    }
    const transition = { from: TaskCompletedSchema, as: TaskReopenedSchema };
    expect(seen.map((one) => [one.schema, one.id, one.transition])).toEqual([
      [TaskCompletedSchema, id, undefined],
      [TaskChangedSchema, id, transition],
      [TaskCompletedSchema, id, undefined],
    ]);
    expect(new Set(seen.map(mark)).size).toBe(3);
  });

  it("shows a recurring task that was ticked as changed, with its next date", async () => {
    const user = await linkedUser(emulator);
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
    const user = await linkedUser(emulator);
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
  ])("%s", async (_what, fault, code, retryAfterMs) => {
    const user = await linkedUser(emulator);
    emulator.control.faults.add(fault);
    const error = await failureOf(run(user));
    expect(error).toMatchObject(retryAfterMs === undefined ? { code } : { code, retryAfterMs });
  });
});

describe("webhooks", () => {
  it("are signed as the connector says, and name their account", async () => {
    await consent(emulator);
    world.add({ content: "Heard of" });
    const [sent] = emulator.control.deliveries.sent;
    const { webhook } = own;
    expect(sent?.headers[webhook.verify.header]).toBe(
      createHmac("sha256", client.clientSecret)
        .update(sent?.body ?? "")
        .digest(webhook.verify.encoding),
    );
    expect(sent?.headers[webhook.deliveryIdHeader]).toBe(sent?.id);
    const body = JSON.parse(sent?.body ?? "") as Json;
    expect(webhook.accounts({ headers: {}, body })).toEqual([todoistAccount.id]);
    expect(webhook.accounts({ headers: {}, body: { user_id: 12 } })).toEqual(["12"]);
    expect(() => webhook.accounts({ headers: {}, body: {} })).toThrow(ZodError);
  });
});

it("lets no token into signals or cursors", async () => {
  const { signals, cursor } = await run(await linkedUser(emulator));
  const text = JSON.stringify([signals.map(({ message }) => message), cursor], (_key, value: unknown) =>
    typeof value === "bigint" ? String(value) : value,
  );
  expect(text).not.toContain(CANARY);
  expect(JSON.stringify(emulator.control.journal.entries)).not.toContain(CANARY);
});
