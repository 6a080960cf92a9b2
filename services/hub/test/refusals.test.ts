import { type ErrorCode, errors } from "@tributary/contracts";
import { asOwner, run } from "@tributary/db";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { readConfig } from "../src/config.ts";
import { createBrowser } from "../src/demo/browser.ts";
import { type Hub, startHub } from "../src/hub.ts";
import { freePorts } from "./demo-process.ts";
import { rowsIn } from "./stored-rows.ts";

/** In every value of every request, and in the message of the defect: no answer may hold it. */
const CANARY = `canary${randomUUID().replaceAll("-", "")}`;
const browser = createBrowser();
const folder = mkdtempSync(join(tmpdir(), "tributary-refusals-"));
let hub: Hub;
let connection = "";
/** The browser's cookies for the hub, as it sent them last. */
let session = "";

/** A whole hub, where nothing happens but by request: no scheduler runs. */
beforeAll(async () => {
  const port = await freePorts(3);
  const settings = {
    TRIBUTARY_DATA_DIR: folder,
    TRIBUTARY_PORT: String(port),
    TRIBUTARY_SANDBOX_PORT: String(port + 1),
    TRIBUTARY_ROLES: "http,ingress,vault",
    LOG_LEVEL: "silent",
  };
  hub = await startHub(readConfig(settings, ["todoist"]));
  const real = globalThis.fetch;
  vi.spyOn(globalThis, "fetch").mockImplementation((input, init) => {
    const { origin } = new URL(input instanceof Request ? input.url : input);
    if (origin === hub.origin) session = new Headers(init?.headers).get("cookie") ?? session;
    return real(input, init);
  });
  await browser.press(await browser.open(`${hub.origin}/auth/signin?returnTo=/connections`), "Continue");
  await consent("Allow");
  const [one] = await asOwner(hub.database, (tx) => run<{ id: string }>(tx, "SELECT id FROM integrations.connection"));
  connection = one?.id ?? "";
  vi.restoreAllMocks();
}, 60_000);
afterAll(async () => {
  await hub?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Through the provider's own page. @param scope asked for instead. @returns where the browser ends. */
async function consent(button: "Allow" | "Deny", { connectionId, scope }: Consent = {}): Promise<URL> {
  const json = connectionId === undefined ? {} : { connectionId };
  const begun = await browser.send(`${hub.origin}/api/integrations/todoist/oauth/start`, { method: "POST", json });
  const url = new URL(((await begun.json()) as { redirectUrl: string }).redirectUrl);
  if (scope !== undefined) url.searchParams.set("scope", scope);
  return (await browser.press(await browser.open(url.href), button)).url;
}
interface Consent {
  readonly connectionId?: string;
  readonly scope?: string;
}

/** Statements stand between double semicolons. */
const asHouse = (text: string): Promise<unknown> =>
  asOwner(hub.database, async (tx) => {
    for (const statement of text.split(";;")) await run(tx, statement);
  });
const of = (): string => `/api/connections/${connection}`;
const action = (change: object = {}): object => ({
  type: "task.complete",
  input: { id: CANARY },
  idempotencyKey: randomUUID(),
  ...change,
});

interface Ask {
  readonly method?: string;
  readonly path: string;
  readonly json?: unknown;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}
interface Case {
  readonly code: ErrorCode;
  readonly when: string;
  readonly ask: () => Ask;
  /** What has to be so, as SQL, and what takes it back. */
  readonly given?: () => readonly [string, string];
  readonly fault?: { readonly path: string; readonly status: number };
  readonly issues?: readonly object[];
  /** Tables that may have changed: what was asked for is written down before the provider is asked. */
  readonly writes?: readonly string[];
}

const connectionIs =
  (change: string, back: string): NonNullable<Case["given"]> =>
  () => [
    `UPDATE integrations.connection SET ${change} WHERE id = '${connection}'`,
    `UPDATE integrations.connection SET ${back} WHERE id = '${connection}'`,
  ];
const ASKED = ["integrations.action", "vault.audit", "vault.audit_head"];

const CASES: readonly Case[] = [
  { code: "not_found", when: "there is no such address", ask: () => ({ path: `/api/${CANARY}` }) },
  { code: "not_found", when: "the id is nobody's", ask: () => ({ path: `/api/connections/${randomUUID()}` }) },
  { code: "not_found", when: "the id is none", ask: () => ({ path: `/api/connections/${CANARY}/pause`, json: {} }) },
  {
    code: "method_not_allowed",
    when: "the address is not for this method",
    ask: () => ({ method: "PUT", path: of(), json: { [CANARY]: CANARY } }),
  },
  {
    code: "csrf_rejected",
    when: "another site's page asks with the person's cookie",
    ask: () => ({ path: `${of()}/pause`, json: {}, headers: { origin: `https://${CANARY}.example.com` } }),
  },
  {
    code: "unsupported_media_type",
    when: "the body is a form",
    ask: () => ({
      path: `${of()}/actions`,
      body: `type=${CANARY}`,
      headers: { "content-type": "application/x-www-form-urlencoded" },
    }),
  },
  {
    code: "payload_too_large",
    when: "the body has more than 1 MiB",
    ask: () => ({ path: `${of()}/actions`, json: action({ input: CANARY.repeat(40_000) }) }),
  },
  {
    code: "malformed_body",
    when: "the body is not JSON",
    ask: () => ({
      path: `${of()}/actions`,
      body: `{"type": ${CANARY}`,
      headers: { "content-type": "application/json" },
    }),
  },
  {
    code: "validation_failed",
    when: "the body has another shape",
    ask: () => ({ path: `${of()}/actions`, json: action({ type: 7, idempotencyKey: CANARY }) }),
    issues: [
      { path: "/type", reason: "invalid_type" },
      { path: "/idempotencyKey", reason: "invalid_format" },
    ],
  },
  {
    code: "validation_failed",
    when: "the body has a member that nobody asked for",
    ask: () => ({ path: `${of()}/actions`, json: action({ [CANARY]: CANARY }) }),
    issues: [{ path: "/", reason: "unrecognized_keys" }],
  },
  {
    code: "validation_failed",
    when: "the action asks for other input",
    ask: () => ({ path: `${of()}/actions`, json: action({ input: { id: [CANARY] } }) }),
    issues: [{ path: "/id", reason: "invalid_type" }],
  },
  {
    code: "unknown_action",
    when: "the integration has no such action",
    ask: () => ({ path: `${of()}/actions`, json: action({ type: CANARY }) }),
  },
  {
    code: "conflict",
    when: "the connection is paused",
    given: connectionIs("state = 'paused'", "state = 'syncing'"),
    ask: () => ({ path: `${of()}/actions`, json: action() }),
  },
  {
    code: "reauth_required",
    when: "the credential has expired",
    given: connectionIs("state = 'expired'", "state = 'syncing'"),
    ask: () => ({ path: `${of()}/actions`, json: action() }),
  },
  {
    code: "action_rejected",
    when: "the provider refuses the action",
    ask: () => ({ path: `${of()}/actions`, json: action() }),
    writes: [...ASKED, "integrations.connection"],
  },
  {
    code: "provider_unavailable",
    when: "the provider fails, and says so with the input",
    fault: { path: "/api/v1/sync", status: 503 },
    ask: () => ({ path: `${of()}/actions`, json: action() }),
    writes: ASKED,
  },
  {
    code: "oauth_state_invalid",
    when: "a callback comes without its context",
    ask: () => ({ path: `/api/integrations/oauth/callback?code=${CANARY}&state=${CANARY}` }),
  },
  {
    code: "invalid_signature",
    when: "a delivery is not signed by the provider",
    ask: () => ({
      path: "/webhooks/todoist/todoist",
      json: { user_id: CANARY },
      headers: { "x-todoist-hmac-sha256": CANARY, "x-todoist-delivery-id": randomUUID() },
    }),
  },
  {
    code: "internal_error",
    when: "the code has a defect whose error quotes the input and a secret",
    given: () => [
      `CREATE FUNCTION public.broken() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'the row % and the secret ${CANARY}', NEW; END $$;;
       CREATE TRIGGER broken BEFORE INSERT ON integrations.action FOR EACH ROW EXECUTE FUNCTION public.broken()`,
      "DROP FUNCTION public.broken CASCADE",
    ],
    ask: () => ({ path: `${of()}/actions`, json: action() }),
  },
];

function send({ method, path, json, body, headers = {} }: Ask): Promise<Response> {
  const target = new URL(path, hub.origin);
  const sent = json === undefined ? body : JSON.stringify(json);
  return fetch(target, {
    method: method ?? (sent === undefined ? "GET" : "POST"),
    redirect: "manual",
    headers: {
      origin: target.origin,
      cookie: session,
      "user-agent": CANARY,
      // What is refused unread ends its connection; the next request takes another.
      connection: "close",
      ...(json === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(sent === undefined ? {} : { body: sent }),
  });
}

/** Every row, by table and text, but for the tables that may have changed. */
async function stored(except: readonly string[] = []): Promise<readonly string[]> {
  const tables = Object.entries(await rowsIn(hub.database)).filter(([table]) => !except.includes(table));
  return tables.flatMap(([table, rows]) => rows.map((row) => `${table} ${row}`));
}

describe("a refusal over HTTP", () => {
  it.each(CASES)("$code: when $when", async ({ code, ask, given, fault, issues, writes }) => {
    const [make, unmake] = given?.() ?? [];
    if (make !== undefined) await asHouse(make);
    const { control } = hub.sandbox?.running.todoist ?? {};
    if (fault !== undefined) control?.faults.add({ match: { path: fault.path }, status: fault.status, body: CANARY });
    try {
      const before = await stored(writes);
      const response = await send(ask());
      const text = await response.text();
      expect(await stored(writes)).toEqual(before);

      expect(response.status).toBe(errors[code].http);
      expect(response.headers.get("content-type")).toBe("application/json");
      expect(response.headers.get("cache-control")).toBe("no-store");
      expect(response.headers.has("retry-after")).toBe(response.status === 503);
      expect(JSON.parse(text)).toStrictEqual({
        error: code,
        message: expect.stringMatching(/^[A-Z][^\n]{4,160}\.$/),
        correlationId: response.headers.get("x-request-id"),
        docs: `/docs/errors#${code}`,
        ...(issues === undefined ? {} : { issues }),
      });
      expect(`${text} ${JSON.stringify([...response.headers])}`.toLowerCase()).not.toContain(CANARY);
    } finally {
      if (unmake !== undefined) await asHouse(unmake);
      control?.faults.clear();
    }
  });
});

/** A browser comes back from the provider and is sent to a page that tells it. */
describe("a refusal of a link", () => {
  const cases: readonly {
    readonly code: ErrorCode;
    readonly outcome: string;
    readonly when: string;
    readonly come: () => Promise<URL>;
    /** The provider's own word for it, when it has one. */
    readonly told?: string;
  }[] = [
    {
      code: "oauth_denied",
      outcome: "denied",
      when: "the person declines",
      come: () => consent("Deny"),
      told: "access_denied",
    },
    {
      code: "scope_insufficient",
      outcome: "partial",
      when: "a permission that it needs was not given",
      come: () => consent("Allow", { scope: "data:read" }),
    },
    {
      code: "other_account",
      outcome: "other-account",
      when: "linking again leads to another account",
      come: async () => {
        await asHouse(`UPDATE integrations.connection SET account_id = 'another' WHERE id = '${connection}'`);
        const url = await consent("Allow", { connectionId: connection });
        await asHouse(`UPDATE integrations.connection SET account_id = '48000001' WHERE id = '${connection}'`);
        return url;
      },
    },
    {
      code: "oauth_exchange_rejected",
      outcome: "error",
      when: "the provider does not take the code, and says so with it",
      come: async () => {
        hub.sandbox?.running.todoist.control.faults.add({
          match: { path: "/oauth/access_token" },
          status: 400,
          body: { error: CANARY, error_description: CANARY },
        });
        return consent("Allow");
      },
    },
  ];
  it.each(cases)("$code: when $when", async ({ code, outcome, come, told = code }) => {
    const except = ["vault.audit", "vault.audit_head", "vault.subject_key"];
    const before = await stored(except);
    const { origin, pathname, searchParams } = await come();
    expect({ origin, pathname, ...Object.fromEntries(searchParams) }).toEqual({
      origin: hub.origin,
      pathname: "/connect/todoist",
      outcome,
      code: told,
      correlation: expect.stringMatching(/^[0-9a-f-]{36}$/),
    });
    expect(await stored(except)).toEqual(before);
  });
});

it("consumer_taken: when a newcomer took the consumer over from a silent subscriber", async () => {
  const subscribe = () =>
    fetch(`${hub.origin}/tributary.api.v1.EventService/Subscribe`, {
      method: "POST",
      headers: {
        "content-type": "application/connect+json",
        "connect-protocol-version": "1",
        authorization: `Bearer ${hub.localKey}`,
      },
      body: envelope({ consumer: "silent" }),
    });
  const first = await subscribe();
  const said = first.text();
  await vi.waitFor(async () => expect((await stored()).join("\n")).toContain(",silent,"), 5_000);
  await asHouse("UPDATE pipeline.consumer SET last_seen_at = now() - interval '61 seconds'");
  const second = await subscribe();
  expect(await said).toContain(`{"code":"${errors.consumer_taken.connect}","message":"consumer_taken: `);
  await second.body?.cancel();
}, 20_000);

function envelope(json: object): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(JSON.stringify(json));
  const bytes = new Uint8Array(5 + text.length);
  new DataView(bytes.buffer).setUint32(1, text.length);
  bytes.set(text, 5);
  return bytes;
}
