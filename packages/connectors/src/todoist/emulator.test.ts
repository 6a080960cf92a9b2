import {
  getAuthorizationUrl,
  getAuthToken,
  parseWebhookPayload,
  refreshAuthToken,
  revokeToken,
  type Task,
  TodoistApi,
  TodoistRequestError,
  verifyWebhookSignature,
} from "@doist/todoist-sdk";
import { createClock, type RunningEmulator } from "@tributary/sandbox";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { emulators, todoistAccount, todoistClient } from "../emulators.ts";
import type { TodoistWorld } from "./emulator-world.ts";

/** The official client drives the emulator: what its parsers and its verifier accept is what the real one sends. */
const redirectUri = "http://127.0.0.1:1/callback";
const { clientId, clientSecret } = todoistClient(redirectUri);
const DAY_MS = 86_400_000;

let inbox: { readonly headers: Record<string, unknown>; readonly body: string }[];
let answers: number[];
const hook = createServer((request, response) => {
  let body = "";
  request.setEncoding("utf8").on("data", (chunk) => (body += chunk));
  request.on("end", () => {
    inbox.push({ headers: request.headers, body });
    response.writeHead(answers.shift() ?? 200).end();
  });
});
let emulator: RunningEmulator<TodoistWorld>;
beforeEach(async () => {
  [inbox, answers] = [[], []];
  await new Promise<void>((resolve) => hook.listen(0, "127.0.0.1", resolve));
  emulator = await emulators.todoist.start({
    port: 0,
    clock: createClock(),
    clients: [todoistClient(redirectUri)],
    webhookUrl: `http://127.0.0.1:${(hook.address() as AddressInfo).port}/hook`,
  });
});
afterEach(async () => {
  await emulator.stop();
  hook.closeAllConnections();
  await new Promise((resolve) => hook.close(resolve));
});

/** What a person does in a browser: opens the page, presses a button. @returns where the browser ends up. */
async function press(
  decision: "allow" | "deny",
  permissions = ["data:read_write", "data:delete"] as const,
): Promise<URL> {
  const url = getAuthorizationUrl({ clientId, permissions, state: "st", baseUrl: emulator.origin });
  const page = await fetch(url);
  const request = /name="request" value="([^"]+)"/.exec(await page.text())?.[1] ?? "";
  const answer = await fetch(`${emulator.origin}/oauth/authorize`, {
    method: "POST",
    redirect: "manual",
    body: new URLSearchParams({ request, decision, account: todoistAccount.id }),
  });
  return new URL(answer.headers.get("location") ?? "");
}

async function link() {
  const code = (await press("allow")).searchParams.get("code") ?? "";
  return getAuthToken({ clientId, clientSecret, code }, { baseUrl: emulator.origin });
}
const apiOf = async (): Promise<TodoistApi> => new TodoistApi((await link()).accessToken, { baseUrl: emulator.origin });

const failure = (promise: Promise<unknown>): Promise<TodoistRequestError> =>
  promise.then(
    () => expect.unreachable(),
    (error: TodoistRequestError) => error,
  );

describe("Todoist's own client signs in to the emulator", () => {
  it("from the consent page to a token that works", async () => {
    const back = await press("allow");
    expect([back.origin + back.pathname, back.searchParams.get("state")]).toEqual([redirectUri, "st"]);
    const { accessToken, refreshToken, expiresIn, scope } = await link();
    expect([typeof refreshToken, expiresIn, scope]).toEqual(["string", 3600, "data:read_write data:delete"]);
    const user = await new TodoistApi(accessToken, { baseUrl: emulator.origin }).getUser();
    expect([user.id, user.email]).toEqual([todoistAccount.id, "sample@example.com"]);
  });

  it("and is told when the person says no", async () => {
    const { searchParams } = await press("deny");
    expect([searchParams.get("error"), searchParams.get("code")]).toEqual(["access_denied", null]);
  });

  it("gets a new refresh token at each refresh, and the old one ends the grant when it comes again", async () => {
    const first = await link();
    const refresh = (refreshToken = "") =>
      refreshAuthToken({ clientId, clientSecret, refreshToken }, { baseUrl: emulator.origin });
    const second = await refresh(first.refreshToken);
    expect(second.refreshToken).not.toBe(first.refreshToken);
    const stolen = await failure(refresh(first.refreshToken));
    expect([stolen.httpStatusCode, stolen.responseData]).toEqual([400, { error: "invalid_grant" }]);
    expect((await failure(refresh(second.refreshToken))).httpStatusCode).toBe(400);
    expect(emulator.control.oauth?.tokens.live).toBe(0);
  });

  it("revokes, twice as well as once", async () => {
    const { accessToken: token } = await link();
    const api = new TodoistApi(token, { baseUrl: emulator.origin });
    for (let times = 0; times < 2; times++)
      expect(await revokeToken({ clientId, clientSecret, token }, { baseUrl: emulator.origin })).toBe(true);
    expect((await failure(api.getUser())).httpStatusCode).toBe(401);
  });

  it("revokes the older way too, with everything in the query", async () => {
    const { accessToken } = await link();
    const query = new URLSearchParams({ client_id: clientId, client_secret: clientSecret, access_token: accessToken });
    const answer = await fetch(`${emulator.origin}/api/v1/access_tokens?${query}`, { method: "DELETE" });
    expect([answer.status, emulator.control.oauth?.tokens.live]).toEqual([204, 0]);
    expect(JSON.stringify(emulator.control.journal.entries)).not.toContain(accessToken);
  });

  it("finds its access token expired after an hour", async () => {
    const api = await apiOf();
    emulator.control.clock.advance(3600_000);
    expect((await failure(api.getUser())).httpStatusCode).toBe(401);
  });
});

describe("Todoist's own client works with tasks", () => {
  it("lists what is open, page by page", async () => {
    const api = await apiOf();
    const tasks: Task[] = [];
    let cursor: string | null = null;
    do {
      const page: { results: Task[]; nextCursor: string | null } = await api.getTasks({ limit: 10, cursor });
      expect(page.results.length).toBeLessThanOrEqual(10);
      tasks.push(...page.results);
      cursor = page.nextCursor;
    } while (cursor !== null);
    expect(tasks.length).toBeGreaterThanOrEqual(24);
    expect(new Set(tasks.map(({ id }) => id)).size).toBe(tasks.length);
    expect(tasks.some(({ due }) => due?.isRecurring === true)).toBe(true);
  });

  it("adds, changes, closes, reopens and deletes one", async () => {
    const api = await apiOf();
    const added = await api.addTask({ content: "Try it", dueString: "tomorrow at 9", labels: ["a"], priority: 4 });
    expect([added.content, added.priority, added.labels, added.due?.date.slice(10)]).toEqual([
      "Try it",
      4,
      ["a"],
      "T09:00:00",
    ]);
    expect((await api.updateTask(added.id, { content: "Try it again", dueString: null })).due).toBeNull();
    await api.closeTask(added.id);
    expect((await api.getTask(added.id)).checked).toBe(true);
    await api.reopenTask(added.id);
    expect((await api.getTask(added.id)).completedAt).toBeNull();
    await api.deleteTask(added.id);
    expect((await failure(api.getTask(added.id))).httpStatusCode).toBe(404);
  });

  it("moves a recurring task on instead of completing it", async () => {
    const api = await apiOf();
    const { id, due } = await api.addTask({ content: "Daily", dueString: "every day" });
    await api.closeTask(id);
    const moved = await api.getTask(id);
    expect(moved.checked).toBe(false);
    expect(Date.parse(moved.due?.date ?? "") - Date.parse(due?.date ?? "")).toBe(DAY_MS);
  });

  it("reads what was completed, newest first, at most three months at once", async () => {
    const api = await apiOf();
    const now = Date.now();
    const span = (days: number) => ({
      since: new Date(now - days * DAY_MS).toISOString(),
      until: new Date(now + 60_000).toISOString(),
    });
    const { items } = await api.getCompletedTasksByCompletionDate(span(90));
    expect(items.map(({ content }) => content)).toEqual([
      "Pay the water bill",
      "Send the postcard",
      "Fix the garden gate",
      "Submit the expenses",
    ]);
    expect((await failure(api.getCompletedTasksByCompletionDate(span(120)))).httpStatusCode).toBe(400);
  });

  it("syncs: first what is open, then what changed, deletions included", async () => {
    const api = await apiOf();
    const resourceTypes = ["items", "projects", "labels", "user"] as const;
    const full = await api.sync({ syncToken: "*", resourceTypes: [...resourceTypes] });
    expect([full.fullSync, full.items?.some(({ checked }) => checked)]).toEqual([true, false]);
    const [first, second] = full.items ?? [];
    await api.closeTask(second?.id ?? "");
    await api.deleteTask(first?.id ?? "");
    const next = await api.sync({ syncToken: full.syncToken ?? "", resourceTypes: [...resourceTypes] });
    expect(next.fullSync).toBe(false);
    expect(next.items?.map(({ id, checked, isDeleted }) => [id, checked, isDeleted])).toEqual([
      [second?.id, second?.due?.isRecurring !== true, false],
      [first?.id, false, true],
    ]);
  });

  it("executes a command once, however often it comes", async () => {
    const api = await apiOf();
    const uuid = "0b6d5b4e-3f1c-4a7e-9a55-0d1f5a2c7e01";
    const command = { type: "item_add", uuid, tempId: "t1", args: { content: "Once" } } as const;
    const [one, two] = [await api.sync({ commands: [command] }), await api.sync({ commands: [command] })];
    expect(one.syncStatus).toEqual({ [uuid]: "ok" });
    expect(two).toEqual(one);
    expect(emulator.control.world.tasks().filter(({ content }) => content === "Once")).toHaveLength(1);
  });

  it("hears of a failed command inside a 200, and of a sync token that is no longer good", async () => {
    const api = await apiOf();
    const uuid = "0b6d5b4e-3f1c-4a7e-9a55-0d1f5a2c7e02";
    const command = { type: "item_delete", uuid, args: { id: "nothing" } } as const;
    expect(await failure(api.sync({ commands: [command] }))).toMatchObject({
      name: "TodoistSyncError",
      httpStatusCode: 404,
    });
    const { syncToken = "" } = await api.sync({ syncToken: "*", resourceTypes: ["items"] });
    emulator.control.world.expireSyncTokens();
    for (const token of [syncToken, "forged"]) {
      const refused = await failure(api.sync({ syncToken: token, resourceTypes: ["items"] }));
      expect(refused).toMatchObject({ httpStatusCode: 400, responseData: { error_extra: { argument: "sync_token" } } });
    }
  });

  it("is refused what it has no permission for", async () => {
    const back = await press("allow", ["data:read"] as never);
    const { accessToken } = await getAuthToken(
      { clientId, clientSecret, code: back.searchParams.get("code") ?? "" },
      { baseUrl: emulator.origin },
    );
    const api = new TodoistApi(accessToken, { baseUrl: emulator.origin });
    expect((await failure(api.addTask({ content: "No" }))).httpStatusCode).toBe(403);
    const [task] = emulator.control.world.tasks();
    const uuid = "0b6d5b4e-3f1c-4a7e-9a55-0d1f5a2c7e04";
    const commands = [{ type: "item_delete", uuid, args: { id: task?.id ?? "" } } as const];
    const both = api.sync({ syncToken: "*", resourceTypes: ["items"], commands });
    expect((await failure(both)).httpStatusCode).toBe(403);
    expect(emulator.control.world.tasks()).toContain(task);
  });

  it("is slowed down after 100 full syncs in 15 minutes", async () => {
    const api = await apiOf();
    const full = () => api.sync({ syncToken: "*", resourceTypes: ["labels"] });
    for (let times = 0; times < 100; times++) await full();
    const refused = await failure(full());
    expect([refused.httpStatusCode, refused.responseData]).toMatchObject([
      429,
      { error_extra: { retry_after: expect.any(Number) } },
    ]);
    emulator.control.clock.advance(15 * 60_000);
    expect((await full()).fullSync).toBe(true);
  });
});

describe("the simulated account", () => {
  it("survives a restart: tokens, sync tokens and executed commands are still good", async () => {
    let kept: Uint8Array | undefined;
    const store = { load: () => kept, save: (state: Uint8Array) => void (kept = state) };
    await emulator.stop();
    const options = { port: 0, clients: [todoistClient(redirectUri)], store };
    emulator = await emulators.todoist.start(options);
    const { accessToken } = await link();
    const uuid = "0b6d5b4e-3f1c-4a7e-9a55-0d1f5a2c7e03";
    const commands = [{ type: "item_add", uuid, tempId: "t", args: { content: "Kept" } } as const];
    const before = new TodoistApi(accessToken, { baseUrl: emulator.origin });
    const { syncToken = "" } = await before.sync({ syncToken: "*", resourceTypes: ["items"], commands });
    await emulator.stop();
    emulator = await emulators.todoist.start(options);
    const after = new TodoistApi(accessToken, { baseUrl: emulator.origin });
    expect((await after.sync({ syncToken, resourceTypes: ["items"], commands })).items).toEqual([]);
    expect(emulator.control.world.tasks().filter(({ content }) => content === "Kept")).toHaveLength(1);
  });

  it("goes back to its seed: nothing of before is good any more", async () => {
    const { syncToken = "" } = await (await apiOf()).sync({ syncToken: "*", resourceTypes: ["items"] });
    emulator.control.world.add({ content: "Extra" });
    emulator.control.reset();
    expect([emulator.control.oauth?.tokens.live, emulator.control.world.tasks().length]).toEqual([0, 30]);
    const api = await apiOf();
    expect((await failure(api.sync({ syncToken, resourceTypes: ["items"] }))).httpStatusCode).toBe(400);
  });
});

describe("the emulator's webhooks pass Todoist's own verifier", () => {
  const delivered = async () => {
    await emulator.control.deliveries.idle();
    return inbox.map(({ body }) => parseWebhookPayload(JSON.parse(body)));
  };

  it("for everything that a person does, once they have consented", async () => {
    const { world } = emulator.control;
    world.add({ content: "Before anybody consented" });
    await link();
    const { id } = world.add({ content: "Tick me", due: { string: "every day" } });
    world.close(id);
    world.complete(id);
    world.reopen(id);
    world.remove(id);
    const events = await delivered();
    expect(events.map(({ eventName }) => eventName)).toEqual([
      "item:added",
      "item:updated",
      "item:completed",
      "item:uncompleted",
      "item:deleted",
    ]);
    expect(events[1]).toMatchObject({ eventDataExtra: { updateIntent: "item_completed" } });
    for (const { headers, body } of inbox) {
      const signature = String(headers["x-todoist-hmac-sha256"]);
      expect(await verifyWebhookSignature({ rawBody: body, signature, clientSecret })).toBe(true);
      expect(await verifyWebhookSignature({ rawBody: `${body} `, signature, clientSecret })).toBe(false);
    }
  });

  it("and come again unchanged when asked for, or late when they were lost", async () => {
    await link();
    const { deliveries, world } = emulator.control;
    answers = [503];
    world.add({ content: "One" });
    await deliveries.idle();
    deliveries.lose(1);
    world.add({ content: "Two" });
    await deliveries.idle();
    expect(deliveries.sent.map(({ statuses }) => statuses)).toEqual([[503], []]);
    for (const { id } of deliveries.sent) await deliveries.redeliver(id);
    expect(inbox.map(({ headers }) => headers["x-todoist-delivery-id"])).toEqual([
      deliveries.sent[0]?.id,
      deliveries.sent[0]?.id,
      deliveries.sent[1]?.id,
    ]);
    expect(inbox[1]?.body).toBe(inbox[0]?.body);
  });
});

describe("the page on which one is the person", () => {
  const post = (form: Record<string, string>, headers: Record<string, string> = {}) =>
    fetch(`${emulator.origin}/person`, {
      method: "POST",
      redirect: "manual",
      body: new URLSearchParams(form),
      headers,
    });

  it("adds, completes, reopens and deletes", async () => {
    const { world } = emulator.control;
    expect((await post({ act: "add", content: "<b>By hand</b>", priority: "4", due: "today" })).status).toBe(303);
    const added = world.tasks().find(({ content }) => content === "<b>By hand</b>");
    const id = added?.id ?? "";
    const text = await (await fetch(emulator.origin)).text();
    expect(text).toContain("&lt;b&gt;By hand");
    expect(text).not.toContain("<b>By hand");
    expect(text).not.toMatch(/<script|https?:\/\//);
    await post({ act: "complete", id });
    expect(world.task(id).checked).toBe(true);
    await post({ act: "reopen", id });
    expect(world.task(id).checked).toBe(false);
    await post({ act: "delete", id });
    expect(world.tasks().some((task) => task.id === id)).toBe(false);
  });

  it("says what did not work, and takes nothing from another site", async () => {
    expect((await post({ act: "add", content: " " })).status).toBe(400);
    expect((await post({ act: "add", content: "x" }, { origin: "https://example.com" })).status).toBe(403);
  });
});
