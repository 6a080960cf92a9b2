import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { createBrowser, type Page } from "./browser.ts";

/** The sample person: does with pages and the public API what anybody could. */
export interface Visitor {
  /** @returns the person's name. */
  signIn(): Promise<string>;
  /** Links an account unless one is linked and works. */
  link(integration: string, name: string): Promise<{ readonly linked: boolean; readonly connection: LinkedAccount }>;
  /** Resolves when a run has ended well that began after the account was linked, or asked to be read again. */
  untilRead(connection: LinkedAccount, waitMs: number): Promise<void>;
  /** Completes an open task, the same one again when an earlier demo was killed before it was opened again. */
  completeTask(connectionId: string): Promise<{ readonly id: string; readonly since: bigint }>;
  /** @param idempotencyKey default: a new one. */
  act(connectionId: string, type: string, taskId: string, idempotencyKey?: string): Promise<void>;
  disconnect(connectionId: string): Promise<z.infer<typeof Receipt>>;
}

export interface LinkedAccount {
  readonly id: string;
  readonly account: string;
  /** When it had last been read. */
  readonly verifiedAt: string | null;
}

const Connections = z.object({
  items: z.array(
    z.object({
      id: z.string(),
      integration: z.string(),
      state: z.string(),
      account: z.object({ label: z.string() }).nullable(),
      verifiedAt: z.string().nullable(),
      reason: z.object({ code: z.string() }).nullable(),
    }),
  ),
});
const Receipt = z.object({
  id: z.string(),
  revocation: z.string(),
  secretsDeleted: z.number(),
  eventsKept: z.number(),
  eventsDeleted: z.number(),
});
const Events = z.object({
  items: z.array(
    z.object({
      type: z.string(),
      objectKey: z.string(),
      sequence: z.number(),
      data: z
        .object({ task: z.object({ due: z.object({ recurrence: z.unknown().optional() }).optional() }).optional() })
        .nullable(),
    }),
  ),
});

export function createVisitor(origin: string): Visitor {
  const browser = createBrowser();
  const at = (path: string): string => new URL(path, origin).href;

  async function read<T>(path: string, schema: z.ZodType<T>): Promise<T> {
    const response = await browser.send(at(path), { method: "GET" });
    if (!response.ok) throw new Error(`GET ${path}: status ${response.status}`);
    return schema.parse(await response.json());
  }
  const connections = async (integration: string) =>
    (await read("/api/connections", Connections)).items.filter(
      (one) => one.integration === integration && one.state !== "disconnected",
    );
  const onPage = (page: Page, path: string, what: string): Page => {
    if (page.status !== 200 || page.url.pathname !== path)
      throw new Error(`${what}: ended on ${page.url.pathname} with status ${page.status}`);
    return page;
  };
  async function act(
    connectionId: string,
    type: string,
    taskId: string,
    idempotencyKey: string = randomUUID(),
  ): Promise<void> {
    const json = { type, input: { id: taskId }, idempotencyKey };
    const response = await browser.send(at(`/api/connections/${connectionId}/actions`), { method: "POST", json });
    if (!response.ok) throw new Error(`${type}: status ${response.status}`);
  }

  return {
    signIn: async () => {
      const choose = await browser.open(at("/auth/signin?returnTo=/connections"));
      onPage(await browser.press(choose, "Continue"), "/connections", "signing in");
      return (await read("/api/me", z.object({ user: z.object({ name: z.string() }) }))).user.name;
    },
    link: async (integration, name) => {
      const working = (await connections(integration)).find(({ state }) => state !== "expired");
      if (working !== undefined) {
        await browser.send(at(`/api/connections/${working.id}/sync`), { method: "POST" });
        return { linked: false, connection: linkedAccount(working) };
      }
      const ask = onPage(
        await browser.open(at(`/connect/${integration}`)),
        `/connect/${integration}`,
        "asking for consent",
      );
      const consent = await browser.press(ask, `Continue to ${name}`);
      onPage(await browser.press(consent, "Allow"), "/connections", "linking");
      const [made] = await connections(integration);
      if (made === undefined) throw new Error("linking: no connection came of it");
      return { linked: true, connection: { ...linkedAccount(made), verifiedAt: null } };
    },
    untilRead: async ({ id: connectionId, verifiedAt }, waitMs) => {
      const deadline = performance.now() + waitMs;
      while (performance.now() < deadline) {
        const { items } = await read("/api/connections", Connections);
        const one = items.find(({ id }) => id === connectionId);
        if (one?.verifiedAt != null && one.verifiedAt !== verifiedAt && one.state === "connected") return;
        if (one?.state === "expired") throw new Error("the credential expired while it was read");
        await sleep(20);
      }
      throw new Error(`the account was not read within ${waitMs / 1000} s`);
    },
    completeTask: async (connectionId) => {
      const { items } = await read(`/api/connections/${connectionId}/events?limit=200`, Events);
      const since = BigInt(items[0]?.sequence ?? 0);
      const open = items.find(
        (event, index) =>
          isOpening(event.type) &&
          event.data?.task?.due?.recurrence === undefined &&
          !items.slice(0, index).some(({ objectKey }) => objectKey === event.objectKey),
      );
      if (open === undefined) throw new Error("there is no open task to complete");
      const id = open.objectKey.replace(/^task\//, "");
      await act(connectionId, "task.complete", id);
      return { id, since };
    },
    act,
    disconnect: async (connectionId) => {
      const response = await browser.send(at(`/api/connections/${connectionId}`), {
        method: "DELETE",
        json: { deleteEvents: false },
      });
      if (!response.ok) throw new Error(`disconnecting: status ${response.status}`);
      return Receipt.parse(await response.json());
    },
  };
}

const linkedAccount = (one: z.infer<typeof Connections>["items"][number]): LinkedAccount => ({
  id: one.id,
  account: one.account?.label ?? "",
  verifiedAt: one.verifiedAt,
});

/** The last thing said of the task leaves it open. (Completing a recurring one moves it on instead of closing it.) */
const isOpening = (type: string): boolean =>
  type === "tributary.task.v1.TaskChanged" || type === "tributary.task.v1.TaskReopened";
