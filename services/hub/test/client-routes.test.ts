import { createApi } from "@tributary/api";
import { createGuard, createServiceKeys, type Identity, type Permission } from "@tributary/auth";
import { TaskChangedSchema } from "@tributary/contracts";
import { type Database, migrate, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { createRegistry, migrations as integrationTables } from "@tributary/integrations";
import { migrations as pipelineTables } from "@tributary/pipeline";
import { type Connector, oauth2, type OAuth2Spec } from "@tributary/sdk";
import { migrations as vaultTables, openVault, type Vault } from "@tributary/vault";
import { randomBytes, randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";

const ORIGIN = "https://hub.example.com";
const SECRET = "canary-own-secret-91c";
const ENTERED = { clientId: "own-client", clientSecret: SECRET };
const ALL: readonly Permission[] = ["integrations.view", "integrations.manage", "integrations.credentials"];
const [ACME, GLOBEX] = ["a".repeat(32), "g".repeat(32)];
const words = (text: string) => ({ en: text, pl: text });

const connectorOf = (id: string, host: string): Connector => {
  const spec: OAuth2Spec = { authorizationUrl: `https://${host}/authorize`, tokenUrl: `https://${host}/token` };
  return {
    id,
    scopes: [{ id: "read", required: true, label: words("Read"), why: words("to read") }],
    manifest: { name: id, hosts: [host], owner: "user", events: [TaskChangedSchema], apiVersions: [{ id: "1" }] },
    ...oauth2(spec, async () => ({ id: "1", label: "me" })),
  } as unknown as Connector;
};
const registry = createRegistry([
  connectorOf("tasks", "tasks.example.com"),
  connectorOf("people", "{subdomain}.people.example.com"),
  connectorOf("bare", "bare.example.com"),
]);

let database: Database;
let vault: Vault;
let api: ReturnType<typeof createApi>;
/** Somebody at a browser. */
let session: Identity | undefined;
const logged: unknown[] = [];
beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [vaultTables, pipelineTables, integrationTables]);
  const key = () => randomBytes(32).toString("base64url");
  vault = await openVault({
    database,
    keys: { value: JSON.stringify({ version: 1, keys: [{ id: "test", key: key() }], signingSeed: key() }) },
    clients: ["tasks", "people"].map((integration) => ({
      contextId: integration,
      integration,
      clientId: "deployment",
      clientSecret: "canary-deployment-secret",
    })),
    publicOrigin: ORIGIN,
  });
  const log = (fields: unknown) => void logged.push(fields);
  const runtime = { database, vault, registry, now: () => new Date(), uuid: randomUUID, random: () => 0.5 };
  api = createApi({
    runtime: { ...runtime, log: { info: log, warn: log, error: log } },
    guard: createGuard({
      serviceKeys: createServiceKeys([
        { name: "acme", organizationId: "acme", key: ACME, permissions: ["integrations.credentials"] },
        { name: "globex", organizationId: "globex", key: GLOBEX, permissions: ALL },
      ]),
      sessions: { authenticate: async () => session },
      log: () => {},
      now: () => new Date(),
      uuid: randomUUID,
    }),
    origin: ORIGIN,
    sandbox: false,
    nudge: () => {},
  } as unknown as Parameters<typeof createApi>[0]);
});
afterAll(() => database.close());
beforeEach(async () => {
  session = person(ALL);
  await asOwner(database, (tx) => run(tx, "DELETE FROM vault.credential_grant"));
});

const person = (permissions: readonly Permission[]): Identity => ({
  kind: "user",
  userId: "user-ada",
  email: "ada@example.com",
  name: "Ada",
  organizationId: "acme",
  organizationName: "Acme",
  sessionHash: "5e55",
  permissions,
});

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly json: Record<string, unknown> & { readonly contextId: string; readonly redirectUri: string };
}
async function ask(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await api.request(`${ORIGIN}/api/integrations/${path}`, {
    method,
    headers: { origin: ORIGIN, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  const id = response.headers.get("x-request-id") ?? "none";
  return { status: response.status, text: text.replaceAll(id, "ID"), json: text === "" ? {} : JSON.parse(text) };
}
const by = (key: string) => ({ authorization: `Bearer ${key}` });
const put = (change: object = {}, integration = "tasks") =>
  ask("POST", `${integration}/clients`, { ...ENTERED, ...change });
async function start(body: object = {}, integration = "tasks") {
  const answer = await ask("POST", `${integration}/oauth/start`, body);
  const asked = URL.parse(String(answer.json["redirectUrl"]))?.searchParams;
  return { ...answer, clientId: asked?.get("client_id"), redirectUri: asked?.get("redirect_uri") };
}

describe("an organisation's OAuth client", () => {
  it("is put, listed and removed, and the address to register at the provider is told; its secret never", async () => {
    const made = await put();
    const { contextId } = made.json;
    expect(contextId).toMatch(/^tasks\.[\w-]{22}$/);
    const view = {
      contextId,
      integration: "tasks",
      clientId: "own-client",
      tokenHost: "tasks.example.com",
      redirectUri: `${ORIGIN}/api/integrations/oauth/callback/${contextId}`,
      webhookUrl: `${ORIGIN}/webhooks/tasks/${contextId}`,
    };
    expect([made.status, made.json]).toEqual([201, view]);
    const listed = await ask("GET", "tasks/clients");
    expect([listed.status, listed.json]).toEqual([200, { items: [view], placeholders: [] }]);
    expect((await ask("GET", "people/clients")).json).toEqual({ items: [], placeholders: ["subdomain"] });

    const changed = await put({ contextId, clientId: "corrected" });
    expect([changed.status, changed.json]).toEqual([200, { ...view, clientId: "corrected" }]);
    const removed = await ask("DELETE", `tasks/clients/${contextId}`);
    expect([removed.status, removed.text]).toEqual([204, ""]);
    expect((await ask("GET", "tasks/clients")).json).toMatchObject({ items: [] });
    expect(JSON.stringify([made, listed, changed, removed, logged])).not.toContain(SECRET);
  });

  it("is entered and removed by a service as well, and the audit says who", async () => {
    const { json } = await ask("POST", "tasks/clients", ENTERED, by(ACME));
    await put({ contextId: json.contextId });
    expect((await ask("DELETE", `tasks/clients/${json.contextId}`, undefined, by(ACME))).status).toBe(204);
    const entries = await asOwner(database, (tx) =>
      run<{ action: string; actor: string; detail: string }>(
        tx,
        "SELECT action, actor FROM vault.audit WHERE credential_id = $1 AND actor <> 'vault' ORDER BY sequence",
        [`client:${json.contextId}`],
      ),
    );
    expect(entries).toEqual([
      { action: "client.put", actor: "service:acme" },
      { action: "client.put", actor: "user-ada" },
      { action: "credential.delete", actor: "service:acme" },
    ]);
  });

  it("is nobody's who lacks the permission, whatever else they may", async () => {
    session = person(["integrations.view", "integrations.manage"]);
    const path = "tasks/clients/x";
    for (const answer of [await ask("GET", "tasks/clients"), await put(), await ask("DELETE", path)])
      expect([answer.status, answer.json]).toEqual([403, { error: "insufficient_permissions" }]);
  });

  it.each([{}, { origin: "https://evil.example" }])("is changed by no page of another site (%j)", async (headers) => {
    for (const [method, path] of [
      ["POST", "tasks/clients"],
      ["DELETE", "tasks/clients/x"],
    ] as const) {
      const request = {
        method,
        headers: { "content-type": "application/json", ...headers },
        body: JSON.stringify(ENTERED),
      };
      const answer = await api.request(`${ORIGIN}/api/integrations/${path}`, request);
      expect([answer.status, await answer.json()]).toMatchObject([403, { error: "csrf_rejected" }]);
    }
    expect(await vault.listClients("acme")).toEqual([]);
  });

  it("of another organisation, of another integration, of the deployment and of nobody are one and the same", async () => {
    const foreign = (await ask("POST", "tasks/clients", ENTERED, by(GLOBEX))).json.contextId;
    const own = (await put({ values: { subdomain: "acme" } }, "people")).json.contextId;
    const asks: readonly ((id: string) => Promise<Answer>)[] = [
      (id) => ask("DELETE", `tasks/clients/${encodeURIComponent(id)}`),
      (contextId) => put({ contextId }),
      (clientContextId) => start({ clientContextId }),
    ];
    for (const one of asks) {
      const unknown = (await one(`tasks.${"a".repeat(22)}`)).text;
      expect(JSON.parse(unknown)).toMatchObject({ error: "not_found" });
      for (const id of [foreign, own, "tasks", "x", "../me", "a\u0000b"])
        expect([id, await one(id)]).toMatchObject([id, { status: 404, text: unknown }]);
    }
    for (const [method, path] of [
      ["GET", "nobody/clients"],
      ["POST", "nobody/clients"],
      ["DELETE", `nobody/clients/${own}`],
    ] as const)
      expect((await ask(method, path, method === "POST" ? ENTERED : undefined)).status).toBe(404);
    expect([await vault.listClients("globex"), await vault.listClients("acme")]).toMatchObject([
      [{ contextId: foreign, clientId: ENTERED.clientId }],
      [{ contextId: own }],
    ]);
  });

  it.each([
    [{ clientSecret: undefined }, "tasks", "validation_failed", "/clientSecret", "invalid_type"],
    [{ clientId: undefined }, "tasks", "validation_failed", "/clientId", "invalid_type"],
    [{ clientSecret: "x".repeat(513) }, "tasks", "validation_failed", "/clientSecret", "too_big"],
    [{ clientSecret: `a\u0000${SECRET}` }, "tasks", "validation_failed", "/clientSecret", "invalid_format"],
    [{ [SECRET]: SECRET }, "tasks", "validation_failed", "/", "unrecognized_keys"],
    [{ values: SECRET }, "tasks", "validation_failed", "/values", "invalid_type"],
    [{ values: { [SECRET]: SECRET } }, "tasks", "validation_failed", "/values", "unrecognized_keys"],
    [{ values: { subdomain: 7 } }, "people", "validation_failed", "/values/subdomain", "invalid_type"],
    [{ clientSecret: " " }, "tasks", "oauth_config_incomplete", "/clientSecret", "required"],
    [{ clientId: "" }, "tasks", "oauth_config_incomplete", "/clientId", "required"],
    [{}, "people", "oauth_config_incomplete", "/values/subdomain", "required"],
    [{ values: { subdomain: "evil.example.com/#" } }, "people", "url_not_allowed", "/values/subdomain", "not_a_name"],
    [{ values: { subdomain: "xn--80ak6aa92e" } }, "people", "url_not_allowed", "/values/subdomain", "not_a_name"],
  ])("entered as %j for %s is %s at %s, and nothing is kept", async (change, integration, error, path, reason) => {
    const { status, text, json } = await put(change, integration);
    expect([status, json]).toMatchObject([422, { error, issues: [{ path, reason }] }]);
    expect(json["message"]).toMatch(/^[A-Z][^\n]{4,160}\.$/);
    expect(text).not.toContain(SECRET);
    expect(await vault.listClients("acme")).toEqual([]);
  });

  it("is one of twenty at most, and one that is there can still be corrected", async () => {
    const { contextId } = (await put()).json;
    for (let n = 1; n < 20; n++)
      await vault.putClient({
        organizationId: "acme",
        integration: "tasks",
        spec: registry.get("tasks").auth,
        ...ENTERED,
      });
    const refused = await put();
    expect([refused.status, refused.json]).toMatchObject([409, { error: "limit_reached" }]);
    expect((await put({ contextId })).status).toBe(200);
    expect((await put({ values: { subdomain: "acme" } }, "people")).status).toBe(201);
  });

  it("that was changed meanwhile is a conflict", async () => {
    const { contextId } = (await put()).json;
    const answers = await Promise.all([1, 2, 3].map(() => put({ contextId })));
    const codes = answers.map(({ status, json }) =>
      typeof json["error"] === "string" ? json["error"] : String(status),
    );
    expect(codes.toSorted()).toEqual(["200", "conflict", "conflict"]);
  });
});

describe("a link", () => {
  it("is made with the only client that the organisation has, else with the deployment's, else with the one it names", async () => {
    expect(await start()).toMatchObject({ status: 200, clientId: "deployment" });
    const first = (await put()).json;
    expect(await start()).toMatchObject({ clientId: "own-client", redirectUri: first.redirectUri });
    const second = (await put({ clientId: "second" })).json;
    expect(await start()).toMatchObject({ clientId: "deployment" });
    for (const { contextId: clientContextId, clientId, redirectUri } of [first, second])
      expect(await start({ clientContextId })).toMatchObject({ clientId, redirectUri });
  });

  it("needs to be told which client, when there are several and none of the deployment's", async () => {
    const none = await start({}, "bare");
    expect([none.status, none.json]).toMatchObject([502, { error: "oauth_client_invalid" }]);
    await put({}, "bare");
    await put({}, "bare");
    const several = await start({}, "bare");
    const issues = [{ path: "/clientContextId", reason: "required" }];
    expect([several.status, several.json]).toMatchObject([422, { error: "oauth_config_incomplete", issues }]);
  });

  it("goes to the host that its values make, and the client's secret has to be entered again for another", async () => {
    const { contextId } = (await put({ values: { subdomain: "acme" } }, "people")).json;
    expect(await start({ values: { subdomain: "acme" } }, "people")).toMatchObject({
      status: 200,
      clientId: "own-client",
    });
    const missing = await start({}, "people");
    expect([missing.status, missing.json]).toMatchObject([
      422,
      { error: "oauth_config_incomplete", issues: [{ path: "/values/subdomain", reason: "required" }] },
    ]);
    const moved = await start({ values: { subdomain: "globex" }, clientContextId: contextId }, "people");
    expect([moved.status, moved.json]).toMatchObject([
      422,
      { error: "oauth_config_incomplete", issues: [{ path: "/clientSecret", reason: "host_changed" }] },
    ]);
    const without = await ask("POST", "people/clients", {
      clientId: "own-client",
      values: { subdomain: "globex" },
      contextId,
    });
    expect([without.status, without.json]).toMatchObject([422, { issues: [{ path: "/clientSecret" }] }]);
    expect((await put({ values: { subdomain: "globex" }, contextId }, "people")).json).toMatchObject({
      tokenHost: "globex.people.example.com",
    });
    expect(await start({ values: { subdomain: "globex" } }, "people")).toMatchObject({
      status: 200,
      clientId: "own-client",
    });
  });
});
