import { createGuard, createServiceKeys, type Permission, type Rejection } from "@tributary/auth";
import { randomUUID } from "node:crypto";
import { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { createApi } from "./api.ts";
import { ACCESS, type Access } from "./authorisation.ts";
import { verified } from "./guard.ts";

const ORIGIN = "https://hub.example.com";
const KEYS: Readonly<Record<string, readonly Permission[]>> = {
  ["a".repeat(32)]: ["integrations.view", "integrations.manage", "integrations.credentials"],
  ["n".repeat(32)]: [],
  ["v".repeat(32)]: ["integrations.view"],
};
let rejections: Rejection[];
beforeEach(() => {
  rejections = [];
});
const guard = createGuard({
  serviceKeys: createServiceKeys(
    Object.entries(KEYS).map(([key, permissions]) => ({
      name: key.slice(0, 1),
      organizationId: "acme",
      key,
      permissions,
    })),
  ),
  sessions: { authenticate: async () => undefined },
  log: (rejection) => rejections.push(rejection),
  now: () => new Date("2026-11-21T12:00:00Z"),
  uuid: randomUUID,
});
/** Nothing behind the guard may be touched: not a database, not the vault, not a connector. */
const untouched: never = new Proxy({} as never, {
  get: (_target, name) => {
    throw new Error(`the guard let something reach ${String(name)}`);
  },
});
const api = createApi({
  runtime: { uuid: randomUUID, log: { error: () => {}, warn: () => {}, info: () => {} } },
  connections: untouched,
  ingress: untouched,
  people: untouched,
  tail: untouched,
  triggers: untouched,
  guard,
  origin: ORIGIN,
  sandbox: true,
  nudge: () => {},
} as unknown as Parameters<typeof createApi>[0]);

const routes = Object.entries(ACCESS).filter(([, access]) => access !== "public");
const HEADERS = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};
const ask = async (route: string, headers: Record<string, string> = {}, query = "") => {
  const [method = "", path = ""] = route.split(" ");
  const url = `${ORIGIN}${path.replaceAll(/:\w+/g, "todoist")}${query}`;
  const body = method === "GET" ? {} : { body: "{}" };
  const answer = await api.fetch(new Request(url, { method, headers, ...body }));
  expect(Object.fromEntries(answer.headers)).toMatchObject(HEADERS);
  return { status: answer.status, body: await answer.text(), requestId: answer.headers.get("x-request-id") };
};
const bearer = (key: string) => ({ authorization: `Bearer ${key.repeat(32)}` });
const refused = (status: number, error: string) => ({
  status,
  body: JSON.stringify({ error }),
  requestId: expect.stringMatching(/^[0-9a-f-]{36}$/),
});
const permissionOf = (access: Access): string =>
  typeof access === "string" ? (access.startsWith("integrations.") ? access : "") : access[1];

describe.each(routes)("%s", (route, access) => {
  it("is for nobody unknown, and touches nothing to find out", async () => {
    expect(await ask(route)).toEqual(refused(401, "missing_authorization"));
    expect(await ask(route, bearer("x"))).toEqual(refused(401, "invalid_token"));
    // A cookie beside a bad token does not help.
    expect(await ask(route, { ...bearer("x"), cookie: "tributary-session=x", origin: ORIGIN })).toEqual(
      refused(401, "invalid_token"),
    );
    expect(rejections.map((one) => one.route)).toEqual([route, route, route]);
  });

  it("is not for another organisation than the proof's", async () => {
    const refusal = [access].flat().includes("browser") ? "insufficient_permissions" : "org_scope_violation";
    expect(await ask(route, bearer("a"), "?org_id=globex")).toEqual(refused(403, refusal));
  });
});

/** The first letters of keys whose services have too little for a route. */
function tooLittleFor(access: Access): string[] {
  const permission = permissionOf(access);
  // Nobody without a browser may, whatever they may otherwise.
  if ([access].flat().includes("browser")) return ["a", "n"];
  return permission === "" ? [] : permission === "integrations.view" ? ["n"] : ["n", "v"];
}
const lacking = routes.flatMap(([route, access]) => tooLittleFor(access).map((key) => [route, access, key] as const));

it.each(lacking)("%s asks for %j, which the key %s lacks", async (route, _access, key) => {
  expect(await ask(route, bearer(key))).toEqual(refused(403, "insufficient_permissions"));
});

it("tells somebody unknown nothing of which addresses there are", async () => {
  expect(await ask("GET /api/nowhere")).toEqual(refused(401, "missing_authorization"));
});

it("refuses a route that the table forgot to everybody", async () => {
  const answer = await guard.admit(new Request(ORIGIN, { headers: bearer("a") }), { nobody: true });
  expect(answer instanceof Response && answer.status).toBe(403);
});

it("is a middleware of its own for services", async () => {
  const app = new Hono()
    .use(verified(guard.verifyRequest))
    .post("/sync", (c) => c.json((c as never as { get(name: string): object }).get("auth")));
  const send = (headers: Record<string, string>) =>
    app.request("/sync", { method: "POST", headers, body: '{"org_id":"acme"}' });
  expect(await (await send(bearer("a"))).json()).toMatchObject({
    userId: "service_role",
    orgId: "acme",
    isServiceRole: true,
  });
  expect(await (await send({})).text()).toBe('{"error":"missing_authorization"}');
});
