import type { Json, User } from "@tributary/sdk";
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ZodError } from "zod";
import { CANARY, failureOf, linkedUser, startTodoist, type Todoist, todoist } from "../../test/linked-todoist.ts";
import type { TodoistWorld } from "./emulator-world.ts";

let emulator: Todoist;
let world: TodoistWorld;
beforeEach(async () => {
  emulator = await startTodoist();
  ({ world } = emulator.control);
});
afterEach(() => emulator.stop());

const byContent = (content: string) => world.tasks().find((task) => task.content === content)?.id ?? "";

describe("writing back", () => {
  const act = async (type: string, input: Json, idempotencyKey: string = randomUUID(), user?: User) =>
    todoist.act?.(user ?? (await linkedUser(emulator)), { type, input, idempotencyKey });

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
    const user = await linkedUser(emulator);
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
    expect(() => todoist.manifest.actions?.[type]?.input.parse(input)).toThrow(ZodError);
  });
});
