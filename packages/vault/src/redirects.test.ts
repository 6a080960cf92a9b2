import { type Database, openPglite } from "@tributary/db";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type FakeProvider, startFakeProvider } from "./testing/fake-provider.ts";
import { type Harness, HOST, SCOPE, SPEC, startHarness } from "./testing/harness.ts";
import type { Vault } from "./vault.ts";

const FILES = "files.example.com";
const UNLISTED = "unlisted.example.com";

let database: Database;
let provider: FakeProvider;
let files: FakeProvider;
let unlisted: FakeProvider;
let harness: Harness;
let vault: Vault;
beforeAll(async () => {
  database = await openPglite();
  [provider, files, unlisted] = [await startFakeProvider(), await startFakeProvider(), await startFakeProvider()];
  harness = await startHarness(database, provider, {
    origins: new Map([
      [`https://${HOST}`, provider.origin],
      [`https://${FILES}`, files.origin],
      [`https://${UNLISTED}`, unlisted.origin],
    ]),
  });
  vault = harness.vault;
  await harness.link();
});
afterAll(async () => {
  harness.stop();
  await Promise.all([provider, files, unlisted].map((one) => one.stop()));
  await database.close();
});
beforeEach(() => {
  for (const one of [provider, files, unlisted]) {
    one.routes.clear();
    one.apiRequests.length = 0;
    one.routes.set("/file", (_, response) => void response.end("content"));
  }
});

const redirect = (from: FakeProvider, path: string, status: number, location: string) =>
  from.routes.set(path, (_, response) => void response.writeHead(status, { location }).end());
const open = (change = {}) => vault.open(SCOPE, harness.use({ hosts: [HOST, FILES], ...change }));
/** What of a request could be worth something to whoever gets it. */
const seen = (one: FakeProvider) =>
  one.apiRequests.map(({ method, path, authorization, body }) => [method, path, authorization, body]);

describe("a redirect to another host of the connector's list", () => {
  it.each([301, 302, 303, 307, 308])("(%i) is followed without the credential", async (status) => {
    redirect(provider, "/v1/file", status, `https://${FILES}/file?signed=1`);
    const response = await open().fetch(`https://${HOST}/v1/file`, { headers: { "x-api-key": "canary" } });
    expect(await response.text()).toBe("content");
    expect(seen(files)).toEqual([["GET", "/file?signed=1", "", ""]]);
    expect(seen(provider)[0]?.[2]).toMatch(/^Bearer canary-at/);
  });

  it("takes nothing along that the connector wrote into its headers", async () => {
    const headers: string[][] = [];
    redirect(provider, "/v1/file", 302, `https://${FILES}/file`);
    files.routes.set("/file", (request, response) => {
      headers.push(Object.keys(request.headers).toSorted());
      response.end();
    });
    await open().fetch(`https://${HOST}/v1/file`, { headers: { "x-api-key": "canary", accept: "text/plain" } });
    expect(headers.flat()).not.toContain("x-api-key");
    expect(headers.flat()).not.toContain("authorization");
  });

  it("does not get the credential in the query either", async () => {
    const spec = { ...SPEC, attach: { in: "query", name: "token", secret: "access_token" } as const };
    redirect(provider, "/v1/file", 302, `https://${FILES}/file`);
    await open({ spec }).fetch(`https://${HOST}/v1/file`);
    expect(seen(files)).toEqual([["GET", "/file", "", ""]]);
  });

  it.each([307, 308])("(%i) of a request with a body is refused", async (status) => {
    redirect(provider, "/v1/file", status, `https://${FILES}/file`);
    await expect(
      open().fetch(`https://${HOST}/v1/file`, { method: "POST", form: { note: "canary" } }),
    ).rejects.toMatchObject({ code: "url_not_allowed" });
    expect(files.apiRequests).toHaveLength(0);
  });

  it("and back comes without the credential: whoever sent us could choose where it goes", async () => {
    redirect(provider, "/v1/file", 302, `https://${FILES}/back`);
    redirect(files, "/back", 302, `https://${HOST}/v1/me`);
    expect((await open().fetch(`https://${HOST}/v1/file`)).status).toBe(401);
    expect(seen(provider).map(([, path, authorization]) => [path, authorization !== ""])).toEqual([
      ["/v1/file", true],
      ["/v1/me", false],
    ]);
    // Nor is it renewed: that answer said nothing about it.
    expect(provider.tokenRequests).toHaveLength(1);
  });

  it("is followed three times and no further", async () => {
    redirect(provider, "/v1/file", 302, `https://${FILES}/0`);
    for (let n = 0; n < 5; n++) redirect(files, `/${n}`, 302, `/${n + 1}`);
    await expect(open().fetch(`https://${HOST}/v1/file`)).rejects.toMatchObject({ code: "url_not_allowed" });
    expect(files.apiRequests).toHaveLength(3);
  });
});

describe("a redirect to anywhere else", () => {
  const targets = () => [
    `https://${UNLISTED}/file`,
    `https://${FILES}:8443/file`,
    `http://${FILES}/file`,
    `https://user@${FILES}/file`,
    `//${UNLISTED}/file`,
    unlisted.origin,
    files.origin,
    "https://127.0.0.1/",
    "https://[::ffff:169.254.169.254]/latest/meta-data",
    "https://2130706433/",
    "javascript:alert(1)",
    "https://",
  ];
  it("reaches nobody, by whatever status, in one step or in two", async () => {
    for (const location of targets())
      for (const status of [301, 302, 303, 307, 308]) {
        redirect(provider, "/v1/file", status, location);
        await expect(open().fetch(`https://${HOST}/v1/file`)).rejects.toMatchObject({ code: "url_not_allowed" });
        redirect(provider, "/v1/far", status, `https://${FILES}/away`);
        // Its own address is the one that stands in for it: to it the redirect stays at home.
        if (location === files.origin) continue;
        redirect(files, "/away", status, location);
        await expect(open().fetch(`https://${HOST}/v1/far`)).rejects.toMatchObject({ code: "url_not_allowed" });
      }
    expect(unlisted.apiRequests).toHaveLength(0);
  });
});
