import { ACCESS } from "@tributary/api";
import { connectors } from "@tributary/connectors";
import { run } from "@tributary/db";
import { asOwner, freePorts } from "@tributary/db/testing";
import { hash, randomBytes, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readConfig } from "../src/config.ts";
import { createVisitor } from "../src/demo/visitor.ts";
import { type Hub, startHub } from "../src/hub.ts";

const dataDir = mkdtempSync(join(tmpdir(), "tributary-walls-"));
let hub: Hub;
/** Ids of the organisation `sample`. */
let theirs: { connection: string; receipt: string; member: string; invitation: string; token: string; client: string };
/** A session in another organisation, of a person who may do everything there. */
let ours: string;

beforeAll(async () => {
  const port = await freePorts(4);
  const env = {
    TRIBUTARY_DATA_DIR: dataDir,
    TRIBUTARY_PORT: String(port),
    TRIBUTARY_SANDBOX_PORT: String(port + 1),
    TRIBUTARY_SERVICE_KEYS: `globex:globex:${"g".repeat(32)}`,
    LOG_LEVEL: "silent",
  };
  hub = await startHub(
    readConfig(
      env,
      connectors.map(({ id }) => id),
    ),
  );
  const visitor = createVisitor(hub.origin);
  await visitor.signIn();
  const left = await visitor.link("todoist", "Todoist");
  const { id: receipt } = await visitor.disconnect(left.connection.id);
  const { connection } = await visitor.link("todoist", "Todoist");
  const [person] = await rows<{ id: string }>(`SELECT id FROM auth."user"`);
  const sample = await mint("sample", person?.id ?? "");
  const invited = await send("POST", "/api/invitations", {
    cookie: sample,
    json: { email: "grace@example.com", permissions: [] },
  });
  const made = (await invited.json()) as { id: string; link: string };
  const entered = await send("POST", "/api/integrations/todoist/clients", {
    cookie: sample,
    json: { clientId: "own", clientSecret: "canary-own-secret" },
  });
  const { contextId: client } = (await entered.json()) as { contextId: string };
  theirs = {
    connection: connection.id,
    receipt,
    member: person?.id ?? "",
    invitation: made.id,
    token: made.link.slice(-43),
    client,
  };
  await rows("INSERT INTO auth.organization VALUES ('globex', 'Globex', now())");
  const ada = randomUUID();
  await rows(`INSERT INTO auth."user" VALUES ('${ada}', 'ada', 'ada@example.com', now(), now(), true)`);
  await rows(
    `INSERT INTO auth.membership VALUES ('globex', '${ada}', '{integrations.view,integrations.manage,integrations.credentials}', now())`,
  );
  ours = await mint("globex", ada);
});
afterAll(async () => {
  await hub?.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

const rows = <T>(text: string): Promise<T[]> => asOwner(hub.database, (tx) => run<T>(tx, text));

/** A session as a sign-in opens it. @returns the cookie. */
async function mint(organizationId: string, userId: string): Promise<string> {
  const token = randomBytes(32).toString("base64url");
  await rows(
    `INSERT INTO auth.session VALUES ('${hash("sha256", token, "hex")}', '${organizationId}', '${userId}', now(), now(), now() + interval '1 hour')`,
  );
  return `tributary-session=${token}`;
}

interface Sent {
  readonly cookie?: string;
  readonly json?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}
const send = (method: string, path: string, { cookie = ours, json, headers = {} }: Sent = {}): Promise<Response> =>
  fetch(`${hub.origin}${path}`, {
    method,
    redirect: "manual",
    headers: {
      cookie,
      origin: hub.origin,
      ...(json === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(json === undefined ? {} : { body: JSON.stringify(json) }),
  });

/** All that a caller could compare, without the request's own number and the clock. */
async function seen(answer: Response): Promise<unknown> {
  const id = answer.headers.get("x-request-id") ?? "none";
  const headers = [...answer.headers].filter(([name]) => name !== "x-request-id" && name !== "date");
  return { status: answer.status, headers, body: (await answer.text()).replaceAll(id, "ID") };
}

const BODIES: Readonly<Record<string, unknown>> = {
  "POST /api/connections/:id/actions": { type: "task.complete", input: { id: "1" }, idempotencyKey: randomUUID() },
  "DELETE /api/connections/:id": { deleteEvents: false },
  "PATCH /api/members/:userId": { permissions: [] },
};
const foreignIdOf = (route: string): string => {
  if (route.includes("/connections/")) return theirs.connection;
  if (route.includes("/receipts/")) return theirs.receipt;
  if (route.includes("/members/")) return theirs.member;
  if (route.includes("/invitations/")) return theirs.invitation;
  if (route.includes("/clients/")) return theirs.client;
  throw new Error(`no foreign id for ${route}: name one here`);
};
/** What stands in the path is a name that everybody may know, or a secret that is its own proof. */
const NO_IDS = [
  "POST /api/integrations/:integration/oauth/start",
  "GET /api/integrations/:integration/clients",
  "POST /api/integrations/:integration/clients",
  "GET /api/integrations/oauth/callback/:contextId",
  "GET /api/received-invitations/:token",
  "POST /api/received-invitations/:token/accept",
];
const withId = Object.keys(ACCESS).filter(
  (route) => route.includes(":") && ACCESS[route] !== "public" && !NO_IDS.includes(route),
);

/** The integration is no id: everybody knows its name. */
const at = (path: string, id: string): string => path.replace(":integration", "todoist").replace(/:\w+/, id);

describe("an id of another organisation, one of nobody and what is no id", () => {
  it.each(withId)("are one and the same to %s", async (route) => {
    const [method = "", path = ""] = route.split(" ");
    const ask = async (id: string) =>
      seen(await send(method, at(path, encodeURIComponent(id)), method === "GET" ? {} : { json: BODIES[route] ?? {} }));
    const unknown = await ask(randomUUID());
    expect(unknown).toMatchObject({ status: 404, body: expect.stringContaining('"error":"not_found"') });
    for (const id of [foreignIdOf(route), "x", "0", "../me", "%00", "1; SELECT 1"])
      expect(await ask(id)).toEqual(unknown);
  });

  it("are one and the same to a service of another organisation", async () => {
    const headers = { authorization: `Bearer ${"g".repeat(32)}` };
    for (const route of withId) {
      const [method = "", path = ""] = route.split(" ");
      const ask = async (id: string) =>
        seen(
          await send(method, at(path, id), {
            cookie: "",
            headers,
            ...(method === "GET" ? {} : { json: BODIES[route] ?? {} }),
          }),
        );
      expect(await ask(foreignIdOf(route)), route).toEqual(await ask(randomUUID()));
    }
  });

  it("are one and the same when a link is asked to go on with them", async () => {
    const ask = async (connectionId: string) =>
      seen(await send("POST", "/api/integrations/todoist/oauth/start", { json: { connectionId } }));
    expect(await ask(theirs.connection)).toEqual(await ask(randomUUID()));
  });

  it("are one and the same when they name an OAuth client in a body", async () => {
    const particulars = { clientId: "x", clientSecret: "x" };
    const put = async (contextId: string) =>
      seen(await send("POST", "/api/integrations/todoist/clients", { json: { ...particulars, contextId } }));
    const start = async (clientContextId: string) =>
      seen(await send("POST", "/api/integrations/todoist/oauth/start", { json: { clientContextId } }));
    for (const ask of [put, start]) {
      const unknown = await ask(randomUUID());
      expect(unknown).toMatchObject({ status: 404, body: expect.stringContaining('"error":"not_found"') });
      // The deployment's own context as well: nobody takes its place.
      for (const id of [theirs.client, "todoist", "", "x"]) expect(await ask(id)).toEqual(unknown);
    }
  });

  it("are one and the same to somebody who wants to switch there", async () => {
    const form = (organization: string) => ({
      headers: { "content-type": "application/x-www-form-urlencoded" },
      method: "POST",
      body: new URLSearchParams({ organization }),
    });
    const ask = async (organization: string) =>
      seen(
        await fetch(`${hub.origin}/auth/organization`, {
          ...form(organization),
          redirect: "manual",
          headers: { cookie: ours, origin: hub.origin },
        }),
      );
    expect(await ask("sample")).toEqual(await ask("nobody"));
    expect(await ask("sample")).toMatchObject({
      status: 303,
      headers: expect.arrayContaining([["location", "/organizations?outcome=elsewhere"]]),
    });
  });

  it("leave everything as it was", async () => {
    const [connection] = await rows<{ state: string; paused_by: string | null }>(
      `SELECT state, paused_by FROM integrations.connection WHERE id = '${theirs.connection}'`,
    );
    expect(connection).toMatchObject({ paused_by: null });
    expect(connection?.state).not.toBe("disconnected");
    expect(await rows(`SELECT id FROM auth.invitation WHERE id = '${theirs.invitation}'`)).toHaveLength(1);
    expect(await rows("SELECT user_id FROM auth.membership WHERE organization_id = 'sample'")).toHaveLength(1);
    expect(await rows("SELECT client_id FROM vault.oauth_client")).toEqual([{ client_id: "own" }]);
  });
});

/** Everything that a session can change. */
const changing = Object.keys(ACCESS)
  .filter((route) => !route.startsWith("GET ") && ACCESS[route] !== "public")
  .concat(
    "POST /auth/organization",
    "POST /auth/signout",
    "POST /connections/:id/pause",
    "POST /people/invitations",
    "POST /organizations",
  );
const FOREIGN: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ["no origin", {}],
  ["another origin", { origin: "https://evil.example" }],
  ["another origin that says it is the same", { origin: "https://evil.example", "sec-fetch-site": "same-origin" }],
  ["an origin that begins like ours", { origin: "http://127.0.0.1.evil.example" }],
  ["a hidden origin", { origin: "null" }],
  ["a hidden origin of another site", { origin: "null", "sec-fetch-site": "cross-site" }],
  ["a hidden origin of a neighbour", { origin: "null", "sec-fetch-site": "same-site" }],
  ["the browser's word alone", { "sec-fetch-site": "same-origin" }],
];
const BODY_TYPES = [
  "application/json",
  "application/x-www-form-urlencoded",
  "text/plain",
  "multipart/form-data; boundary=x",
];

describe("a request that no page of ours sent", () => {
  it.each(FOREIGN)("changes nothing with %s, whatever its body", async (_what, headers) => {
    for (const route of changing) {
      const [method = "", path = ""] = route.split(" ");
      for (const type of BODY_TYPES) {
        const answer = await fetch(`${hub.origin}${path.replace(/:\w+/, theirs.connection)}`, {
          method,
          redirect: "manual",
          headers: { cookie: ours, "content-type": type, ...headers },
          body: type === "application/json" ? "{}" : "organization=globex&name=x",
        });
        const text = await answer.text();
        expect(
          [answer.status, text.includes("csrf_rejected") || text.includes("That was not allowed")],
          `${route} ${type}`,
        ).toEqual([403, true]);
      }
    }
    expect((await send("GET", "/api/me")).status).toBe(200);
  });
});

describe("people come in", () => {
  it("by an invitation alone, through signing in, and go on to another organisation with a new session", async () => {
    const jar = new Map<string, string>();
    const go = async (url: URL, init: RequestInit = {}): Promise<Response> => {
      const cookies = [...jar]
        .filter(([key]) => key.startsWith(url.origin))
        .map(([key, value]) => `${key.slice(url.origin.length + 1)}=${value}`);
      const answer = await fetch(url, {
        ...init,
        redirect: "manual",
        headers: { ...(init.headers as Record<string, string>), cookie: cookies.join("; ") },
      });
      for (const line of answer.headers.getSetCookie()) {
        const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
        if (value === "") jar.delete(`${url.origin} ${name}`);
        else jar.set(`${url.origin} ${name}`, value);
      }
      return answer;
    };
    const invited = await send("POST", "/api/invitations", {
      json: { email: "second@example.com", permissions: ["integrations.view"] },
    });
    const { link } = (await invited.json()) as { link: string };
    const page = await go(new URL(link));
    expect(page.status).toBe(401);
    const [, href = ""] = /href="(\/auth\/signin[^"]+)"/.exec(await page.text()) ?? [];
    let url = new URL(href.replaceAll("&amp;", "&"), hub.origin);
    for (let hops = 0; hops < 12 && url.pathname !== "/organizations"; hops++) {
      const answer = await go(url);
      const location = answer.headers.get("location");
      if (location !== null) url = new URL(location, url);
      else {
        // The provider's page: the second person continues.
        const shown = await answer.text();
        const [, action = ""] = /<form[^>]*action="([^"]*)"/.exec(shown) ?? [];
        const [, field = ""] = /<input[^>]*type="radio"[^>]*name="([^"]+)"/.exec(shown) ?? [];
        const form = new URLSearchParams(
          [...shown.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)].map(
            ([, name = "", value = ""]) => [name, value],
          ),
        );
        form.set(field, "second");
        const next = await go(new URL(action.replaceAll("&amp;", "&"), url), {
          method: "POST",
          body: form,
          headers: { origin: url.origin },
        });
        url = new URL(next.headers.get("location") ?? "", url);
      }
    }
    expect(url.href).toBe(`${hub.origin}/organizations?outcome=joined`);
    const me = async () =>
      (await (await go(new URL("/api/me", hub.origin))).json()) as {
        organization: { id: string };
        permissions: string[];
      };
    expect(await me()).toMatchObject({ organization: { id: "globex" }, permissions: ["integrations.view"] });
    expect(await (await go(url)).text()).toContain("You have joined");
    // Only what they may: the people of the organisation are not theirs to see.
    expect((await go(new URL("/api/members", hub.origin))).status).toBe(403);
  });
});
