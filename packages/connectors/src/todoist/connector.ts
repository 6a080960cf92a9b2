import { TaskChangedSchema, TaskCompletedSchema, TaskDeletedSchema, TaskReopenedSchema } from "@tributary/contracts";
import {
  type Checkpoint,
  checkpoint,
  type Connector,
  ContractViolation,
  CursorExpired,
  oauth2,
  secret,
  type Signal,
  type User,
} from "@tributary/sdk";
import { API, call } from "./api.ts";
import { command } from "./command.ts";
import * as shape from "./schemas.ts";
import { signalsOf } from "./signals.ts";

const DAY_MS = 86_400_000;
/** Todoist allows three months; what was completed in one window is held in memory to be put in order. */
const HISTORY_WINDOW_MS = 14 * DAY_MS;
/** Of 200 tasks each. Only an answer that never ends has more. */
const HISTORY_PAGES_MAX = 100;

/** `historyFrom` is there while a backfill has not read what was completed since then. */
export type TodoistCursor = { readonly syncToken: string; readonly timeZone: string; readonly historyFrom?: string };

/**
 * Todoist answers a sync token with everything that changed since, deletions included: one request is one run. A first
 * run takes the token before it reads the history, so that what happens meanwhile comes after both.
 */
export const todoist = {
  id: "todoist",
  scopes: [
    {
      id: "data:read_write",
      required: true,
      label: { en: "Read and change your tasks", pl: "Odczyt i zmiana Twoich zadań" },
      why: {
        en: "so that changes reach the services you use, and those can add, complete and reopen tasks",
        pl: "aby zmiany docierały do usług, z których korzystasz, a one mogły dodawać, kończyć i przywracać zadania",
      },
    },
  ],
  manifest: {
    name: "Todoist",
    description: {
      en: "Follows your tasks: added, changed, completed, reopened, deleted.",
      pl: "Śledzi Twoje zadania: dodane, zmienione, ukończone, przywrócone, usunięte.",
    },
    category: "tasks",
    owner: "user",
    hosts: ["api.todoist.com"],
    apiVersions: [{ id: "v1", label: "API v1", status: "stable", default: true }],
    pollIntervalMs: 5 * 60_000,
    rateLimit: { requests: 1000, perMs: 15 * 60_000, scope: "connection" },
    backfillDays: 365,
    events: [TaskChangedSchema, TaskCompletedSchema, TaskReopenedSchema, TaskDeletedSchema],
    actions: {
      "task.complete": { label: { en: "Complete a task", pl: "Ukończ zadanie" }, input: shape.TaskRef },
      "task.reopen": { label: { en: "Reopen a task", pl: "Przywróć zadanie" }, input: shape.TaskRef },
      "task.create": { label: { en: "Add a task", pl: "Dodaj zadanie" }, input: shape.NewTask },
    },
    revocationUrl: "https://app.todoist.com/app/settings/integrations",
    docsUrl: "https://developer.todoist.com/api/v1/",
  },

  ...oauth2(
    {
      authorizationUrl: "https://app.todoist.com/oauth/authorize",
      tokenUrl: "https://api.todoist.com/oauth/access_token",
      scopeSeparator: ",", // Todoist's own; RFC 6749 §3.3 has a space.
      clientAuth: "post",
      revocation: {
        method: "POST",
        url: `${API}/revoke`,
        basic: "client",
        json: { token: secret("access_token"), token_type_hint: "access_token" },
      },
    },
    async (user) => {
      const { id, email } = await call(user, shape.Person, "/user");
      return { id, label: email };
    },
  ),

  async *fetchSignals(user, since) {
    let cursor = since;
    if (cursor === undefined) {
      const page = await sync(user, "*");
      const timeZone = page.user?.tz_info.timezone ?? "UTC";
      yield* signalsOf(user, page.items, timeZone);
      cursor = { syncToken: page.sync_token, timeZone, historyFrom: user.backfillFrom.toISOString() };
      yield checkpoint(cursor);
    }
    if (cursor.historyFrom !== undefined) yield* history(user, cursor, new Date(cursor.historyFrom));
    const page = await sync(user, cursor.syncToken);
    // Todoist forgot the token: a full answer says nothing of what was completed or deleted meanwhile.
    if (page.full_sync) throw new CursorExpired("Todoist no longer knows the sync token.");
    const timeZone = page.user?.tz_info.timezone ?? cursor.timeZone;
    yield* signalsOf(user, page.items, timeZone);
    yield checkpoint({ syncToken: page.sync_token, timeZone });
  },

  act: command,

  check: async (user) => void (await call(user, shape.Person, "/user")),

  webhook: {
    verify: { scheme: "hmac-sha256", header: "x-todoist-hmac-sha256", encoding: "base64", key: "client_secret" },
    deliveryIdHeader: "x-todoist-delivery-id",
    accounts: ({ body }) => [shape.DeliveryBody.parse(body).user_id],
  },
} as const satisfies Connector<TodoistCursor>;

async function* history(
  user: User,
  cursor: TodoistCursor,
  from: Date,
): AsyncGenerator<Signal | Checkpoint<TodoistCursor>> {
  const end = user.now().getTime();
  for (let start = from.getTime(); start < end; start += HISTORY_WINDOW_MS) {
    const until = new Date(Math.min(start + HISTORY_WINDOW_MS, end)).toISOString();
    const completed: shape.Item[] = [];
    let next: string | null | undefined;
    for (let pages = 0; next !== null; pages++) {
      if (pages === HISTORY_PAGES_MAX) throw new ContractViolation("Todoist's list of completed tasks does not end.");
      const query = {
        since: new Date(start).toISOString(),
        until,
        limit: "200",
        ...(next === undefined ? {} : { cursor: next }),
      };
      const page = await call(user, shape.CompletedPage, "/tasks/completed/by_completion_date", { query });
      completed.push(...page.items);
      next = page.next_cursor ?? null;
    }
    yield* signalsOf(user, completed, cursor.timeZone);
    yield checkpoint({ ...cursor, historyFrom: until });
  }
}

const sync = (user: User, syncToken: string): Promise<shape.SyncPage> =>
  call(user, shape.SyncPage, "/sync", {
    method: "POST",
    form: { sync_token: syncToken, resource_types: '["items","user"]' },
  });
