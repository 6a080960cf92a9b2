import { asOwner } from "@tributary/db/testing";
import { gzipSync } from "node:zlib";
import { type Database, openPglite, run } from "@tributary/db";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Vault } from "./vault.ts";
import { CLIENT, type FakeProvider, json, reset, startFakeProvider } from "./testing/fake-provider.ts";
import { type Harness, HOST, ME, SCOPE, SPEC, startHarness } from "./testing/harness.ts";

let database: Database;
let provider: FakeProvider;
let harness: Harness;
let vault: Vault;
beforeAll(async () => {
  database = await openPglite();
  provider = await startFakeProvider();
  harness = await startHarness(database, provider);
  vault = await harness.another({ limits: { responseBytesMax: 1024 * 1024 } });
});
afterAll(async () => {
  harness.stop();
  await provider.stop();
  await database.close();
});
beforeEach(async () => {
  await asOwner(database, (tx) => run(tx, "DELETE FROM vault.credential_grant"));
  await asOwner(database, (tx) => run(tx, "TRUNCATE vault.audit, vault.audit_head"));
  provider.routes.clear();
  provider.tokenFaults.length = 0;
  provider.revocationFaults.length = 0;
  provider.forgetRefresh();
  Object.assign(provider.settings, { rotate: true, graceUses: 0, expiresIn: 3600, holdMs: 0 });
  harness.clock.now = new Date("2026-11-21T10:00:00Z");
  await harness.link();
  for (const list of [provider.tokenRequests, provider.apiRequests, provider.revocations]) list.length = 0;
});

const open = (change = {}) => vault.open(SCOPE, harness.use(change));
const audited = async () =>
  (await asOwner(database, (tx) => run(tx, "SELECT * FROM vault.audit WHERE action = 'credential.open'"))).length;
const newest = (kind: string) => provider.issued.findLast((token) => token.startsWith(`canary-${kind}`)) ?? "";

describe("a request", () => {
  it("carries the credential, and what the connector said", async () => {
    const headers = { "x-request": "1", Authorization: "Bearer mine", Cookie: "a=b", Host: "evil.example.com" };
    const response = await open().fetch(ME, { method: "POST", headers, query: { q: "a b" }, json: { done: true } });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ me: "person@example.com" });
    expect(provider.apiRequests).toEqual([
      { path: "/v1/me?q=a+b", method: "POST", authorization: `Bearer ${newest("at")}`, body: '{"done":true}' },
    ]);
  });

  it("can carry it in the query", async () => {
    provider.routes.set("/v1/me", (_, response) => json(200, {})(response));
    const spec = { ...SPEC, attach: { in: "query", name: "token", secret: "access_token" } as const };
    await open({ spec }).fetch(ME, { query: { token: "mine" } });
    expect(provider.apiRequests[0]?.path).toBe(`/v1/me?token=${newest("at")}`);
  });

  const refused = [
    "https://other.example.com/v1/me",
    "https://provider.example.com:8443/v1/me",
    "https://provider.example.com./v1/me",
    "https://person@provider.example.com/v1/me",
    "http://provider.example.com/v1/me",
    "https://provider.example.com@evil.example.com/",
    "file:///etc/passwd",
    "nonsense",
  ];
  it.each(refused)("to %s is refused, with nothing opened or sent", async (url) => {
    await expect(open().fetch(url)).rejects.toMatchObject({ code: "url_not_allowed" });
    expect(provider.apiRequests).toHaveLength(0);
    expect(await audited()).toBe(0);
  });

  it("inside a transaction is a programmer's error", async () => {
    await expect(asOwner(database, () => open().fetch(ME))).rejects.toThrow("inside a database transaction");
  });

  it("of a credential that is gone, or somebody else's, is refused", async () => {
    const session = open();
    await session.fetch(ME);
    for (const change of [
      { organizationId: "globex" },
      { integration: "calendar" },
      { owner: { kind: "organization", id: "user-1" } as const },
      { owner: { kind: "user", id: "user-2" } as const },
      { credentialId: "credential-2" },
    ])
      await expect(vault.open({ ...SCOPE, ...change }, harness.use()).fetch(ME)).rejects.toMatchObject({
        code: "credential_missing",
      });
    await vault.forget(SCOPE);
    await expect(session.fetch(ME)).rejects.toMatchObject({ code: "credential_missing" });
    expect(provider.apiRequests).toHaveLength(1);
  });

  it("of a row that was moved to another owner in the database does not open", async () => {
    await asOwner(database, (tx) => run(tx, "UPDATE vault.credential_grant SET owner_id = 'user-2'"));
    const scope = { ...SCOPE, owner: { kind: "user", id: "user-2" } as const };
    await expect(vault.open(scope, harness.use()).fetch(ME)).rejects.toMatchObject({
      code: "credential_integrity_error",
    });
    expect(provider.apiRequests).toHaveLength(0);
  });
});

describe("a session", () => {
  it("keeps a data key for a minute, and no longer once the subject's key was destroyed", async () => {
    const session = open();
    await session.fetch(ME);
    await asOwner(database, (tx) => run(tx, "CREATE TABLE kept AS TABLE vault.subject_key"));
    await asOwner(database, (tx) => run(tx, "DELETE FROM vault.subject_key"));
    harness.clock.now = new Date("2026-11-21T10:00:59Z");
    expect((await session.fetch(ME)).status).toBe(200);
    harness.clock.now = new Date("2026-11-21T10:01:00Z");
    await expect(session.fetch(ME)).rejects.toMatchObject({ code: "credential_integrity_error" });
    await asOwner(database, (tx) => run(tx, "INSERT INTO vault.subject_key SELECT * FROM kept"));
    expect((await session.fetch(ME)).status).toBe(200);
  });
});

describe("the audit", () => {
  it("has one row a session, however many requests", async () => {
    const session = open({ purpose: "action", correlationId: "run-7" });
    await Promise.all([session.fetch(ME), session.fetch(ME)]);
    await session.fetch(ME);
    expect(
      await asOwner(database, (tx) =>
        run(
          tx,
          "SELECT organization_id, credential_id, detail, correlation_id FROM vault.audit WHERE action = 'credential.open'",
        ),
      ),
    ).toEqual([{ organization_id: "acme", credential_id: "credential-1", detail: "action", correlation_id: "run-7" }]);
  });

  it("that cannot be written stops the request, and is tried again by the next", async () => {
    const session = open();
    await asOwner(database, (tx) => run(tx, "ALTER TABLE vault.audit RENAME TO away"));
    await expect(session.fetch(ME)).rejects.toMatchObject({ code: "audit_unavailable" });
    await asOwner(database, (tx) => run(tx, "ALTER TABLE vault.away RENAME TO audit"));
    expect(provider.apiRequests).toHaveLength(0);
    expect((await session.fetch(ME)).status).toBe(200);
    expect(await audited()).toBe(1);
  });
});

describe("an answer", () => {
  it("may redirect within its origin, three times", async () => {
    for (const [from, to] of [
      ["a", "b"],
      ["b", "c"],
      ["c", "me"],
      ["z", "a"],
    ] as const)
      provider.routes.set(`/v1/${from}`, (_, response) => response.writeHead(307, { location: `/v1/${to}` }).end());
    const response = await open().fetch(`https://${HOST}/v1/a`, { method: "POST", form: { a: "1" } });
    expect(response.status).toBe(200);
    expect(provider.apiRequests.map(({ path, method, body }) => `${method} ${path} ${body}`)).toEqual([
      "POST /v1/a a=1",
      "POST /v1/b a=1",
      "POST /v1/c a=1",
      "POST /v1/me a=1",
    ]);
    await expect(open().fetch(`https://${HOST}/v1/z`)).rejects.toMatchObject({ code: "url_not_allowed" });
  });

  it("that redirects to a path which looks like a host stays on the origin", async () => {
    const location = `https://${HOST}//evil.example.com/v1/me`;
    provider.routes.set("/v1/a", (_, response) => response.writeHead(302, { location }).end());
    expect((await open().fetch(`https://${HOST}/v1/a`)).status).toBe(200);
    expect(provider.apiRequests[1]?.path).toBe("//evil.example.com/v1/me");
  });

  it("that redirects after a POST with 303 is fetched without its body", async () => {
    provider.routes.set("/v1/a", (_, response) => response.writeHead(303, { location: ME }).end());
    await open().fetch(`https://${HOST}/v1/a`, { method: "POST", form: { a: "1" } });
    expect(provider.apiRequests[1]).toMatchObject({ method: "GET", path: "/v1/me", body: "" });
  });

  it.each([
    "https://evil.example.com/",
    "//evil.example.com/",
    "http://127.0.0.1:1/",
    "https://x@provider.example.com/",
    "file:///etc/passwd",
  ])("that redirects to %s is refused, and the credential stays here", async (location) => {
    const other = await startFakeProvider();
    provider.routes.set("/v1/a", (_, response) =>
      response.writeHead(302, { location: location.replace("http://127.0.0.1:1", other.origin) }).end(),
    );
    await expect(open().fetch(`https://${HOST}/v1/a`)).rejects.toMatchObject({ code: "url_not_allowed" });
    expect(other.apiRequests).toHaveLength(0);
    await other.stop();
  });

  it("is cut off at its size, unpacked", async () => {
    const exact = Buffer.alloc(1024 * 1024);
    const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
    provider.routes.set("/v1/exact", (_, response) => response.end(exact));
    provider.routes.set("/v1/over", (_, response) => response.end(Buffer.alloc(exact.length + 1)));
    provider.routes.set("/v1/bomb", (_, response) => response.writeHead(200, { "content-encoding": "gzip" }).end(bomb));
    expect((await (await open().fetch(`https://${HOST}/v1/exact`)).arrayBuffer()).byteLength).toBe(exact.length);
    for (const path of ["over", "bomb"])
      await expect(open().fetch(`https://${HOST}/v1/${path}`)).rejects.toMatchObject({ code: "response_too_large" });
  });

  it("that was compressed arrives as text, without the headers of the wire", async () => {
    provider.routes.set("/v1/zip", (_, response) => {
      response
        .writeHead(200, { "content-encoding": "gzip", "content-type": "text/plain", "set-cookie": "a=b", etag: "1" })
        .end(gzipSync("hello"));
    });
    const response = await open().fetch(`https://${HOST}/v1/zip`);
    expect(await response.text()).toBe("hello");
    expect([...response.headers.keys()].toSorted()).toEqual(expect.arrayContaining(["content-type", "etag"]));
    expect(response.headers.has("content-encoding") || response.headers.has("set-cookie")).toBe(false);
  });

  it.each([204, 304, 404, 429, 500])("with status %i is the connector's to judge", async (status) => {
    provider.routes.set("/v1/a", (_, response) => response.writeHead(status, { "retry-after": "7" }).end());
    const response = await open().fetch(`https://${HOST}/v1/a`);
    expect([response.status, response.headers.get("retry-after")]).toEqual([status, "7"]);
  });

  it("that never comes, or drips, ends with the deadline", async () => {
    provider.routes.set("/v1/never", () => {});
    provider.routes.set("/v1/drip", (_, response) => {
      const timer = setInterval(() => response.write("."), 50);
      response.on("close", () => clearInterval(timer));
    });
    const hasty = await harness.another({ limits: { requestMs: 300 } });
    await Promise.all(
      ["never", "drip"].map((path) =>
        expect(hasty.open(SCOPE, harness.use()).fetch(`https://${HOST}/v1/${path}`)).rejects.toMatchObject({
          code: "provider_unavailable",
        }),
      ),
    );
  });

  it("that breaks off is no answer", async () => {
    provider.routes.set("/v1/a", (_, response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("half");
      setTimeout(() => reset(response), 20);
    });
    await expect(open().fetch(`https://${HOST}/v1/a`)).rejects.toMatchObject({ code: "provider_unavailable" });
  });

  it("is not waited for once the caller gives up", async () => {
    provider.routes.set("/v1/never", () => {});
    const controller = new AbortController();
    const pending = open({ signal: controller.signal }).fetch(`https://${HOST}/v1/never`);
    setTimeout(() => controller.abort(new Error("shutting down")), 50);
    await expect(pending).rejects.toThrow("shutting down");
    await expect(open({ signal: controller.signal }).fetch(ME)).rejects.toThrow("shutting down");
  });
});

describe("a revocation", () => {
  it("withdraws the refresh token first", async () => {
    expect(await open({ purpose: "revoke" }).revoke()).toBe("revoked");
    expect(provider.revocations.map((params) => Object.fromEntries(params))).toEqual([
      { token: newest("rt"), token_type_hint: "refresh_token" },
      { token: newest("at"), token_type_hint: "access_token" },
    ]);
    expect(await audited()).toBe(1);
  });

  it.each([
    ["204", (response: Parameters<typeof reset>[0]) => void response.writeHead(204).end()],
    ["400 invalid_token", json(400, { error: "invalid_token" })],
  ])("counts %s as done", async (_, answer) => {
    provider.revocationFaults.push({ answer }, { answer });
    expect(await open().revoke()).toBe("revoked");
  });

  it.each([
    ["503", json(503, {}), "provider_unavailable"],
    ["no answer", reset, "provider_unavailable"],
    ["invalid_client", json(401, { error: "invalid_client" }), "oauth_client_invalid"],
  ])("with %s is not done", async (_, answer, code) => {
    provider.revocationFaults.push({ answer });
    await expect(open().revoke()).rejects.toMatchObject({ code });
  });

  it("can be a request of the provider's own, with secrets in place", async () => {
    provider.routes.set("/v1/revoke", (_, response) => response.writeHead(204).end());
    const revocation = {
      method: "POST",
      url: `https://${HOST}/v1/revoke`,
      basic: "client",
      json: { token: { secret: "access_token" }, token_type_hint: "access_token" },
    } as const;
    expect(await open({ spec: { ...SPEC, revocation } }).revoke()).toBe("revoked");
    expect(provider.apiRequests[0]).toMatchObject({
      body: JSON.stringify({ token: newest("at"), token_type_hint: "access_token" }),
      authorization: `Basic ${Buffer.from(`${CLIENT.clientId}:${CLIENT.clientSecret}`).toString("base64")}`,
    });
  });

  it("is unsupported when the connector declares none", async () => {
    const { revocation: _, ...spec } = SPEC;
    expect(await open({ spec }).revoke()).toBe("unsupported");
    expect(await audited()).toBe(0);
  });
});
