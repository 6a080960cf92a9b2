import { createRateWindow, type EmulatorParts, type OAuthServer } from "@tributary/sandbox";
import type { Context, Hono } from "hono";
import { type ExecutedCommands, fieldsOf, scopesOf, syncAnswer, type SyncRequest, userOf } from "./emulator-sync.ts";
import { type EmulatedItem, invalidArgument, TodoistError, type TodoistWorld } from "./emulator-world.ts";

const API = "/api/v1";
const WINDOW_MS = 15 * 60_000;
const PARTIAL_MAX = 1000;
const FULL_MAX = 100;
/** "Three months", counted generously. */
const HISTORY_MS_MAX = 93 * 86_400_000;

export interface RoutesState {
  readonly world: () => TodoistWorld;
  readonly executed: ExecutedCommands;
  readonly oauth: OAuthServer;
}

/** API v1 as on the wire: what the README's ledger lists, and nothing else. @returns how to forget the rate windows. */
export function apiRoutes(app: Hono, parts: EmulatorParts, state: RoutesState): () => void {
  const { clock } = parts;
  const { executed, oauth } = state;
  const partial = createRateWindow(clock, PARTIAL_MAX, WINDOW_MS);
  const full = createRateWindow(clock, FULL_MAX, WINDOW_MS);

  /** Authentication, limits and scopes before the route; Todoist's error object for whatever it throws. */
  const route =
    (
      needs: string[] | ((c: Context) => Promise<string[]>),
      serve: (c: Context, world: TodoistWorld) => Promise<Response> | Response,
    ) =>
    async (c: Context): Promise<Response> => {
      try {
        const access = oauth.authenticate(c.req.header("authorization"));
        if (access === undefined) throw new TodoistError(401, 401, "UNAUTHORIZED", "Unauthorized");
        const scopes = typeof needs === "function" ? await needs(c) : needs;
        const isFull = scopes.includes("full");
        const wait = (isFull ? full : partial).take(access.account.id);
        if (wait !== undefined)
          throw new TodoistError(429, 35, "LIMITS_REACHED", "Too many requests", { retry_after: wait });
        if (!scopes.every((scope) => scope === "full" || covers(access.scopes, scope)))
          throw new TodoistError(403, 403, "FORBIDDEN", "Forbidden");
        return await serve(c, state.world());
      } catch (error) {
        if (error instanceof TodoistError) return c.json(error.body, error.body.http_code as 400);
        throw error;
      }
    };

  app.post(
    `${API}/sync`,
    route(
      async (c) => {
        const request = await syncRequest(c);
        return [...scopesOf(request), ...(request.sync_token === "*" ? ["full"] : [])];
      },
      async (c, world) => c.json(syncAnswer(world, executed, await syncRequest(c), clock.now())),
    ),
  );
  app.get(
    `${API}/user`,
    route(["data:read"], (c, world) => c.json(userOf(world))),
  );
  app.get(
    `${API}/tasks`,
    route(["data:read"], (c, world) => c.json(taskPage(c, world))),
  );
  app.get(
    `${API}/tasks/completed/by_completion_date`,
    route(["data:read"], (c, world) => c.json(completedPage(c, world))),
  );
  app.get(
    `${API}/tasks/:id`,
    route(["data:read"], (c, world) => c.json(world.task(c.req.param("id") ?? ""))),
  );
  app.post(
    `${API}/tasks`,
    route(["task:add"], async (c, world) => {
      const fields = await taskFields(c);
      return c.json(world.add({ ...fields, content: fields.content ?? "" }));
    }),
  );
  app.post(
    `${API}/tasks/:id`,
    route(["data:read_write"], async (c, world) => c.json(world.update(c.req.param("id") ?? "", await taskFields(c)))),
  );
  app.post(
    `${API}/tasks/:id/close`,
    route(["data:read_write"], (c, world) => {
      world.close(c.req.param("id") ?? "");
      return c.body(null, 204);
    }),
  );
  app.post(
    `${API}/tasks/:id/reopen`,
    route(["data:read_write"], (c, world) => {
      world.reopen(c.req.param("id") ?? "");
      return c.body(null, 204);
    }),
  );
  app.delete(
    `${API}/tasks/:id`,
    route(["data:delete"], (c, world) => {
      world.remove(c.req.param("id") ?? "");
      return c.body(null, 204);
    }),
  );
  // The older way to revoke, with everything in the query.
  app.delete(`${API}/access_tokens`, (c) => {
    const { client_id = "", client_secret = "", access_token = "" } = c.req.query();
    if (!oauth.authenticateClient(client_id, client_secret))
      return c.json(new TodoistError(403, 403, "FORBIDDEN", "Forbidden").body, 403);
    oauth.revoke(client_id, access_token);
    return c.body(null, 204);
  });
  app.all(`${API}/*`, (c) => c.json(new TodoistError(404, 404, "NOT_FOUND", "Not found").body, 404));
  return () => {
    partial.clear();
    full.clear();
  };
}

/** `data:read_write` holds `data:read` and `task:add`; deleting is a permission of its own. */
function covers(granted: ReadonlySet<string>, scope: string): boolean {
  if (granted.has(scope)) return true;
  return (scope === "data:read" || scope === "task:add") && granted.has("data:read_write");
}

/** A form with JSON in its fields, or one JSON object. */
async function syncRequest(c: Context): Promise<SyncRequest> {
  try {
    if ((c.req.header("content-type") ?? "").startsWith("application/json")) return await c.req.json<SyncRequest>();
    const form = new URLSearchParams(await c.req.text());
    const json = (name: string): object => {
      const text = form.get(name);
      return text === null ? {} : { [name]: JSON.parse(text) as unknown };
    };
    const token = form.get("sync_token");
    return { ...(token === null ? {} : { sync_token: token }), ...json("resource_types"), ...json("commands") };
  } catch {
    throw invalidArgument("body", "Malformed request");
  }
}

/** The flat fields of the task routes, in the nested words of a sync command. */
async function taskFields(c: Context) {
  const body = await c.req.json().catch(() => {
    throw invalidArgument("body", "Malformed request");
  });
  const { due_string, due_date, due_datetime, ...rest } = body as Record<string, unknown>;
  if (due_string === "no date") return fieldsOf({ ...rest, due: null });
  const date = due_datetime ?? due_date;
  if (due_string === undefined && date === undefined) return fieldsOf(rest);
  return fieldsOf({ ...rest, due: due_string === undefined ? { date } : { string: due_string } });
}

function limitOf(c: Context): number {
  const limit = Number(c.req.query("limit") ?? 50);
  if (!Number.isInteger(limit) || limit < 1 || limit > 200) throw invalidArgument("limit");
  return limit;
}

/** One page, and where the next begins. A cursor is the id that the page before ended with. */
function cut(
  c: Context,
  all: readonly EmulatedItem[],
): { readonly part: EmulatedItem[]; readonly next_cursor: string | null } {
  const cursor = c.req.query("cursor");
  const after =
    cursor === undefined ? -1 : all.findIndex(({ id }) => id === Buffer.from(cursor, "base64url").toString());
  if (cursor !== undefined && after < 0) throw invalidArgument("cursor");
  const limit = limitOf(c);
  const part = all.slice(after + 1, after + 1 + limit);
  const last = part.at(-1);
  const more = last !== undefined && after + 1 + limit < all.length;
  return { part, next_cursor: more ? Buffer.from(last.id).toString("base64url") : null };
}

function taskPage(c: Context, world: TodoistWorld): object {
  const { project_id, parent_id, label, ids } = c.req.query();
  const wanted = ids?.split(",");
  const { part, next_cursor } = cut(
    c,
    world
      .tasks()
      .filter(
        (item) =>
          !item.checked &&
          (project_id === undefined || item.project_id === project_id) &&
          (parent_id === undefined || item.parent_id === parent_id) &&
          (label === undefined || item.labels.includes(label)) &&
          (wanted === undefined || wanted.includes(item.id)),
      ),
  );
  return { results: part, next_cursor };
}

/** Newest first. Occurrences of recurring tasks are not in it: only the tasks themselves, once they are done with. */
function completedPage(c: Context, world: TodoistWorld): object {
  const { since = "", until = "" } = c.req.query();
  const [from, to] = [Date.parse(since), Date.parse(until)];
  if (Number.isNaN(from)) throw invalidArgument("since");
  if (Number.isNaN(to) || to < from || to - from > HISTORY_MS_MAX) throw invalidArgument("until");
  const completedAt = ({ completed_at }: EmulatedItem): number => Date.parse(completed_at ?? "");
  const { part, next_cursor } = cut(
    c,
    world
      .tasks()
      .filter((item) => item.checked && completedAt(item) >= from && completedAt(item) <= to)
      .toSorted((one, other) => completedAt(other) - completedAt(one)),
  );
  return { items: part, next_cursor };
}
