import { type Task, TaskChangedSchema, TaskCompletedSchema, TaskReopenedSchema } from "@tributary/contracts";
import { run } from "@tributary/db";
import { asOwner, freePorts, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { type PrivateNats, startPrivateNats } from "@tributary/pipeline/testing";
import { type EventContext, retry, subscribe } from "@tributary/subscriber";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { readConfig } from "../src/config.ts";
import { createBrowser } from "../src/demo/browser.ts";
import { createVisitor } from "../src/demo/visitor.ts";
import { type Hub, startHub } from "../src/hub.ts";

/**
 * One event, from a tick in a to-do app to the effect in somebody's service: the whole system in one page, on
 * PostgreSQL and NATS JetStream. Every name below is one to follow into the code; docs/ARCHITECTURE.md has the order.
 */
let postgres: PrivatePostgres;
let nats: PrivateNats;
let hub: Hub;
/** Tasks that the sample account has from the start, the completed ones included. */
const HISTORY = 30;
const folder = mkdtempSync(join(tmpdir(), "tributary-story-"));

beforeAll(async () => {
  [postgres, nats] = await Promise.all([startPrivatePostgres(), startPrivateNats()]);
  const port = await freePorts(3);
  const settings = {
    DATABASE_URL: postgres.url,
    NATS_URL: nats.url,
    TRIBUTARY_DATA_DIR: folder,
    TRIBUTARY_PORT: String(port),
    TRIBUTARY_SANDBOX: "true",
    TRIBUTARY_SANDBOX_PORT: String(port + 1),
    LOG_LEVEL: "silent",
  };
  hub = await startHub(readConfig(settings, ["todoist"]));
});
afterAll(async () => {
  await hub?.stop();
  await Promise.all([nats?.stop(), postgres?.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

interface Heard {
  readonly what: "changed" | "completed" | "reopened";
  readonly task: Task | undefined;
  readonly context: EventContext;
}

/** A service that wants tasks. It does not know which provider they come from, nor how they reach it. */
async function service(name: string, url: string) {
  const heard: Heard[] = [];
  const note = (what: Heard["what"]) => (event: { task?: Task | undefined }, context: EventContext) =>
    void heard.push({ what, task: event.task, context });
  let refusedOnce = false;
  const subscription = await subscribe({
    url,
    name,
    ...(url.startsWith("http") ? { token: hub.localKey } : {}),
    organization: "sample",
    backoffMs: { first: 10, longest: 50 },
  })
    .on(TaskChangedSchema, note("changed"))
    .on(TaskCompletedSchema, (event, context) => {
      // Whatever goes wrong the first time is tried again, and nothing of the connection overtakes it.
      if (!refusedOnce && !context.backfill) {
        refusedOnce = true;
        throw retry(20);
      }
      note("completed")(event, context);
    })
    .on(TaskReopenedSchema, note("reopened"))
    .start();
  return { heard, subscription };
}

it("carries one change from a person's tick to two services' effects, and back out again", async () => {
  // Two services subscribe, one at the broker, one at the hub. Their code is the same.
  const atBroker = await service("weekly-review", nats.url);
  const atHub = await service("reminders", hub.origin);

  // A person signs in with OpenID Connect, and links their account through the provider's own consent page: real
  // redirects, `state` bound to this session, PKCE, tokens sealed before anything else sees them.
  const person = createVisitor(hub.origin);
  expect(await person.signIn()).toBe("Sample Person");
  const { connection } = await person.link("todoist", "Todoist");

  // The scheduler claims the connection, the connector reads the account, and the history arrives, marked as such.
  await person.untilRead(connection, 60_000);
  await vi.waitFor(() => expect([atBroker.heard.length, atHub.heard.length]).toEqual([HISTORY, HISTORY]), 60_000);
  expect(atBroker.heard.every(({ context }) => context.backfill)).toBe(true);

  // The person adds a task in the to-do app, and ticks it. Todoist tells us by webhook, signed; that wakes a run.
  const todoist = hub.sandbox?.places[0]?.url ?? "";
  const inTodoist = (form: Record<string, string>) =>
    fetch(`${todoist}/person`, { method: "POST", body: new URLSearchParams(form), redirect: "manual" });
  await inTodoist({ act: "add", content: "Descale the kettle", priority: "4" });
  await vi.waitFor(() => expect(atHub.heard).toHaveLength(HISTORY + 1), 60_000);
  const added = atHub.heard.at(-1);
  expect(added).toMatchObject({
    what: "changed",
    task: { title: "Descale the kettle", priority: 4 },
    context: { backfill: false, connector: "todoist", attempt: 1 },
  });
  const id = added?.task?.id ?? "";
  await inTodoist({ act: "complete", id });

  // Both services have the effect once, although the first try of each failed.
  await vi.waitFor(
    () => expect([atBroker.heard.length, atHub.heard.length]).toEqual([HISTORY + 2, HISTORY + 2]),
    60_000,
  );
  for (const { heard, subscription } of [atBroker, atHub]) {
    expect(heard.at(-1)).toMatchObject({
      what: "completed",
      task: { id, title: "Descale the kettle" },
      context: { attempt: 2, objectKey: `task/${id}` },
    });
    expect(subscription.stats()).toMatchObject({ retried: 1, deadLetters: 0 });
  }
  expect(atBroker.heard.at(-1)?.context.id).toBe(atHub.heard.at(-1)?.context.id);

  // Writing back: a task is opened again from here, twice with one key, which is once. The change returns as an event.
  const idempotencyKey = randomUUID();
  for (let attempt = 0; attempt < 2; attempt++) await person.act(connection.id, "task.reopen", id, idempotencyKey);
  await vi.waitFor(() => expect(atBroker.heard.at(-1)).toMatchObject({ what: "reopened", task: { id } }), 60_000);
  await vi.waitFor(() => expect(atHub.heard).toHaveLength(HISTORY + 3), 60_000);

  // Each service saw the connection's events in the order in which the ledger numbered them, none of them twice.
  for (const { heard } of [atBroker, atHub]) {
    const sequences = heard.map(({ context }) => context.sequence);
    expect(sequences).toEqual(sequences.toSorted((one, other) => Number(one - other)));
    expect(new Set(sequences).size).toBe(HISTORY + 3);
  }

  // The relay has published all of it: progress is a position, not a flag on each row.
  await vi.waitFor(async () => {
    const [position] = await asOwner(hub.database, (tx) =>
      run<{ head: bigint; published: bigint }>(
        tx,
        "SELECT head, published FROM pipeline.position WHERE connection_id = $1",
        [connection.id],
      ),
    );
    expect(position?.published).toBe(position?.head);
  }, 60_000);

  // The person leaves: consent is withdrawn at the provider, the secrets are gone, a receipt says so.
  const receipt = await person.disconnect(connection.id);
  expect(receipt).toMatchObject({ revocation: "confirmed", secretsDeleted: 2, eventsDeleted: 0 });
  expect(receipt.eventsKept).toBeGreaterThan(HISTORY);
  expect(await asOwner(hub.database, (tx) => run(tx, "SELECT 1 FROM vault.secret"))).toEqual([]);
  await Promise.all([atBroker.subscription.stop(), atHub.subscription.stop()]);
});

it("lets nobody see another person's connection", async () => {
  const stranger = createBrowser();
  const response = await stranger.send(`${hub.origin}/api/connections`, { method: "GET" });
  expect([response.status, await response.text()]).toEqual([401, '{"error":"missing_authorization"}']);
});
