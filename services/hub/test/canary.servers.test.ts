import { freePorts } from "@tributary/db/testing";
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { type Browser, createBrowser } from "../src/demo/browser.ts";
import { driveHub, type DrivenHub } from "./drive-hub.ts";
import { searchFor } from "./secret-search.ts";

/** Every authorization code, access and refresh token of the simulated Todoist starts with it. */
const CANARY = `trbcanary${randomBytes(6).toString("hex")}`;
const STORE = "sandbox-todoist.bin";
const dataDir = mkdtempSync(join(tmpdir(), "tributary-canary-"));

let hub: DrivenHub | undefined;
/** Whatever can be read of the hub from outside, by where it was read. */
const seen: { readonly place: string; readonly bytes: Buffer }[] = [];
const remember = (place: string, content: string | Buffer): void =>
  void seen.push({ place, bytes: typeof content === "string" ? Buffer.from(content) : content });

const drive = (port: number): Promise<DrivenHub> =>
  driveHub(
    {
      TOKEN_PREFIX: CANARY,
      TRIBUTARY_DATA_DIR: dataDir,
      TRIBUTARY_PORT: String(port),
      TRIBUTARY_SANDBOX_PORT: String(port + 1),
    },
    remember,
  );

const Listed = z.object({
  items: z.array(z.object({ id: z.string(), state: z.string(), verifiedAt: z.string().nullable() })),
});

/** A person's browser, whose every answer from the hub is kept. */
function visitor(of: () => DrivenHub) {
  const browser: Browser = createBrowser();
  const at = (path: string): string => of().origin + path;
  const post = (path: string, json?: unknown): Promise<Response> =>
    browser.send(at(path), { method: "POST", ...(json === undefined ? {} : { json }) });
  const connection = async () => {
    const response = await browser.send(at("/api/connections"), { method: "GET" });
    const [one] = Listed.parse(await response.json()).items;
    if (one === undefined) throw new Error("nothing is connected");
    return one;
  };
  return {
    browser,
    at,
    post,
    connection,
    /** Resolves when nothing has been read for a while: what a webhook woke has run. */
    settled: async (): Promise<void> => {
      let last: string | null | undefined;
      for (let [look, same] = [0, 0]; look < 60 && same < 4; look++) {
        const { verifiedAt } = await connection();
        same = verifiedAt === last ? same + 1 : 0;
        last = verifiedAt;
        await sleep(500);
      }
    },
    consent: async () => browser.press(await browser.open(at("/connect/todoist")), "Continue to Todoist"),
    /** Reads the account again, and waits until that has come to an end. */
    read: async (state: "connected" | "error"): Promise<void> => {
      const { id, verifiedAt } = await connection();
      await post(`/api/connections/${id}/sync`);
      for (let look = 0; look < 1_000; look++) {
        const now = await connection();
        if (now.state === state && (state === "error" || now.verifiedAt !== verifiedAt)) return;
        await sleep(50);
      }
      throw new Error(`the connection did not become ${state}`);
    },
  };
}

/** The hub's answers only: the provider's own pages and redirects may well name a code. */
function keepAnswers(origin: string): void {
  const real = globalThis.fetch;
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const response = await real(input, init);
    const url = new URL(input instanceof Request ? input.url : input);
    if (url.origin === origin) {
      const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
      remember(`${init?.method ?? "GET"} ${url.pathname}`, `${headers}\n\n${await response.clone().text()}`);
    }
    return response;
  });
}

const rememberRows = async (driven: DrivenHub): Promise<void> => {
  for (const [table, rows] of Object.entries(await driven.ask("rows"))) remember(`table ${table}`, rows.join("\n"));
};

const rememberFiles = (): void => {
  for (const entry of readdirSync(dataDir, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) remember(`file ${relative(dataDir, path)}`, readFileSync(path));
  }
};

/** Everything that happens to a connection, and everything that goes wrong with one, each error quoting a token. */
beforeAll(async () => {
  const port = await freePorts(3);
  hub = await drive(port);
  keepAnswers(hub.origin);
  const person = visitor(() => hub as DrivenHub);
  const { browser, at } = person;
  const echo = { error: `token ${CANARY}echo is bad`, error_description: CANARY, error_tag: CANARY };
  const failing = (path: string, status: number) =>
    (hub as DrivenHub).ask("fail", { match: { path }, status, body: echo, headers: { "x-token": CANARY } });

  await browser.press(await browser.open(at("/auth/signin?returnTo=/connections")), "Continue");
  await browser.open(at(`/api/integrations/oauth/callback/todoist?code=${CANARY}&state=${CANARY}`));
  await browser.press(await person.consent(), "Deny");
  const { url } = await person.consent();
  const refusal = new URLSearchParams({ error: "server_error", error_description: CANARY });
  refusal.set("state", url.searchParams.get("state") ?? "");
  await browser.open(at(`/api/integrations/oauth/callback/todoist?${refusal}`));
  await failing("/oauth/access_token", 400);
  await browser.press(await person.consent(), "Allow");

  await browser.press(await person.consent(), "Allow");
  await person.read("connected");
  const { id } = await person.connection();
  const events = await browser.send(at(`/api/connections/${id}/events?limit=200`), { method: "GET" });
  const Events = z.object({ items: z.array(z.object({ type: z.string(), objectKey: z.string() })) });
  const open = Events.parse(await events.json()).items.find(({ type }) => type.endsWith("TaskChanged"));
  const act = () =>
    person.post(`/api/connections/${id}/actions`, {
      type: "task.complete",
      input: { id: open?.objectKey.replace("task/", "") },
      idempotencyKey: randomUUID(),
    });
  assert.equal((await act()).status, 200);
  await person.settled();
  await failing("/api/v1/sync", 400);
  assert.ok((await act()).status >= 400);

  await hub.ask("expire");
  await person.read("connected");
  assert.equal(await hub.ask("counted", "tokens.refreshed"), 1);
  await hub.ask("expire");
  await failing("/oauth/access_token", 500);
  await person.read("error");
  await failing("/api/v1/sync", 500);
  await person.read("error");
  await person.read("connected");

  await person.post(`/api/connections/${id}/pause`);
  for (const path of ["", "?titles=1", "/events.json", "/disconnect"])
    await browser.open(at(`/connections/${id}${path}`));
  // While the credential lives.
  await rememberRows(hub);
  await hub.stop();
  rememberFiles();

  hub = await drive(port);
  await person.post(`/api/connections/${id}/resume`);
  await person.read("connected");
  assert.ok((await hub.ask("live")) > 0);
  const left = await browser.send(at(`/connections/${id}/disconnect`), { method: "POST" });
  await browser.open(at(left.headers.get("location") ?? ""));
  assert.equal(await hub.ask("live"), 0);
  await rememberRows(hub);
  await hub.stop();
  rememberFiles();
});
afterAll(() => {
  vi.restoreAllMocks();
  hub?.child.kill("SIGKILL");
  rmSync(dataDir, { recursive: true, force: true });
});

const findings = (secret: string, allowed: readonly string[]): string[] => {
  const search = searchFor(secret);
  return seen
    .filter(({ place }) => !allowed.includes(place))
    .flatMap(({ place, bytes }) => search.in(bytes).map((how) => `${place}: ${how}`));
};

describe("after a connection's whole life, and all that goes wrong in one,", () => {
  it("there was something to search, and the search finds the provider's own store", () => {
    const places = new Set(seen.map(({ place }) => place));
    for (const place of [
      "stderr",
      "table vault.secret",
      "table pipeline.event",
      "table integrations.run",
      "GET /connections",
    ])
      expect(places).toContain(place);
    expect([...places].filter((place) => place.startsWith("file database/")).length).toBeGreaterThan(100);
    const bytes = (place: string) => seen.find((one) => one.place === place)?.bytes.length;
    for (const place of ["stderr", "table vault.secret", "table pipeline.event"])
      expect(bytes(place)).toBeGreaterThan(100);
    expect(new Set(findings(CANARY, []))).toEqual(new Set([`file ${STORE}: plain`]));
  });

  it("no token and no code is anywhere", () => {
    expect(findings(CANARY, [`file ${STORE}`])).toEqual([]);
  });

  it("nor is the OAuth client's secret", () => {
    expect(findings("todoist-sandbox-secret", [])).toEqual([]);
  });

  it.each([
    ["the vault's key", "vault-keys.json", (text: string) => /"key": "([^"]+)"/.exec(text)?.[1]],
    ["the signing seed", "vault-keys.json", (text: string) => /"signingSeed": "([^"]+)"/.exec(text)?.[1]],
    ["the subscriber's key", "subscriber.key", (text: string) => text],
    ["the key of the sign-in's cookies", "session.key", (text: string) => text],
    ["the sign-in client's secret", "sandbox-sign-in.key", (text: string) => text],
  ])("%s is in its own file alone", (_what, file, read) => {
    const secret = read(readFileSync(join(dataDir, file), "utf8")) ?? "";
    expect(new Set(findings(secret, []))).toEqual(new Set([`file ${file}: plain`]));
    // As the bytes that it stands for.
    const raw = Buffer.from(secret, "base64url");
    expect(seen.filter(({ bytes }) => bytes.includes(raw)).map(({ place }) => place)).toEqual([]);
  });
});

describe("the search", () => {
  const search = searchFor(CANARY);
  const around = (text: string): Buffer[] => ["", "a", "ab"].map((before) => Buffer.from(`${before}${text} and more`));
  it.each([
    ["plain", (text: Buffer) => text],
    ["hex", (text: Buffer) => Buffer.from(text.toString("hex"))],
    ["hex", (text: Buffer) => Buffer.from(text.toString("hex").toUpperCase())],
    ["base64", (text: Buffer) => Buffer.from(text.toString("base64"))],
    ["base64url", (text: Buffer) => Buffer.from(text.toString("base64url"))],
    ["UTF-16", (text: Buffer) => Buffer.from(text.toString("latin1"), "utf16le")],
    ["UTF-16", (text: Buffer) => Buffer.from(text.toString("latin1"), "utf16le").swap16()],
    ["URL-encoded", (text: Buffer) => Buffer.from(text.toString("hex").replaceAll(/../g, "%$&"))],
    ["reversed", (text: Buffer) => Buffer.from(text.toString("latin1").split("").toReversed().join(""))],
  ])("finds %s, wherever it begins", (name, write) => {
    for (const text of around(CANARY)) expect(search.in(write(text))).toContain(name);
    for (const text of around("trbcanary")) expect(search.in(write(text))).toEqual([]);
  });
});
