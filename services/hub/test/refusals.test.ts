import { type ErrorCode, errors } from "@tributary/contracts";
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { type Ask, type QuietHub, startQuietHub } from "./quiet-hub.ts";

/** In every value of every request, and in the message of the defect: no answer may hold it. */
const CANARY = `canary${randomUUID().replaceAll("-", "")}`;
let house: QuietHub;
beforeAll(async () => {
  house = await startQuietHub();
});
afterAll(() => house?.stop());

const of = (): string => `/api/connections/${house.connection}`;
const action = (change: object = {}): object => ({
  type: "task.complete",
  input: { id: CANARY },
  idempotencyKey: randomUUID(),
  ...change,
});

interface Case {
  readonly code: ErrorCode;
  readonly when: string;
  readonly ask: () => Ask;
  /** What has to be so, as SQL, and what takes it back. */
  readonly given?: () => readonly [string, string];
  readonly fault?: { readonly path: string; readonly status: number };
  readonly issues?: readonly object[];
  readonly headers?: Readonly<Record<string, string>>;
  /** Tables that may have changed: what was asked for is written down before the provider is asked. */
  readonly writes?: readonly string[];
}

const connectionIs =
  (change: string, back: string): NonNullable<Case["given"]> =>
  () => [
    `UPDATE integrations.connection SET ${change} WHERE id = '${house.connection}'`,
    `UPDATE integrations.connection SET ${back} WHERE id = '${house.connection}'`,
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
    headers: { allow: "GET, DELETE" },
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

const withCanary = (ask: Ask): Ask => ({ ...ask, headers: { "user-agent": CANARY, ...ask.headers } });

describe("a refusal over HTTP", () => {
  it.each(CASES)("$code: when $when", async ({ code, ask, given, fault, issues, headers, writes }) => {
    const [make, unmake] = given?.() ?? [];
    if (make !== undefined) await house.asHouse(make);
    const { control } = house.hub.sandbox?.running.todoist ?? {};
    if (fault !== undefined) control?.faults.add({ match: { path: fault.path }, status: fault.status, body: CANARY });
    try {
      const before = await house.stored(writes);
      const response = await house.send(withCanary(ask()));
      const text = await response.text();
      expect(await house.stored(writes)).toEqual(before);

      expect(response.status).toBe(errors[code].http);
      expect(response.headers.get("content-type")).toBe("application/json");
      expect(response.headers.get("cache-control")).toBe("no-store");
      expect(Object.fromEntries(response.headers)).toMatchObject(headers ?? {});
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
      if (unmake !== undefined) await house.asHouse(unmake);
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
      come: () => house.consent("Deny"),
      told: "access_denied",
    },
    {
      code: "scope_insufficient",
      outcome: "partial",
      when: "a permission that it needs was not given",
      come: () => house.consent("Allow", { scope: "data:read" }),
    },
    {
      code: "other_account",
      outcome: "other-account",
      when: "linking again leads to another account",
      come: async () => {
        await house.asHouse(
          `UPDATE integrations.connection SET account_id = 'another' WHERE id = '${house.connection}'`,
        );
        const url = await house.consent("Allow", { connectionId: house.connection });
        await house.asHouse(
          `UPDATE integrations.connection SET account_id = '48000001' WHERE id = '${house.connection}'`,
        );
        return url;
      },
    },
    {
      code: "oauth_exchange_rejected",
      outcome: "error",
      when: "the provider does not take the code, and says so with it",
      come: async () => {
        house.hub.sandbox?.running.todoist.control.faults.add({
          match: { path: "/oauth/access_token" },
          status: 400,
          body: { error: CANARY, error_description: CANARY },
        });
        return house.consent("Allow");
      },
    },
  ];
  it.each(cases)("$code: when $when", async ({ code, outcome, come, told = code }) => {
    const except = ["vault.audit", "vault.audit_head", "vault.subject_key"];
    const before = await house.stored(except);
    const { origin, pathname, searchParams } = await come();
    expect({ origin, pathname, ...Object.fromEntries(searchParams) }).toEqual({
      origin: house.hub.origin,
      pathname: "/connect/todoist",
      outcome,
      code: told,
      correlation: expect.stringMatching(/^[0-9a-f-]{36}$/),
    });
    expect(await house.stored(except)).toEqual(before);
  });
});

it("consumer_taken: when a newcomer took the consumer over from a silent subscriber", async () => {
  const subscribe = () =>
    fetch(`${house.hub.origin}/tributary.api.v1.EventService/Subscribe`, {
      method: "POST",
      headers: {
        "content-type": "application/connect+json",
        "connect-protocol-version": "1",
        authorization: `Bearer ${house.hub.localKey}`,
      },
      body: envelope({ consumer: "silent" }),
    });
  const first = await subscribe();
  const said = first.text();
  await vi.waitFor(async () => expect((await house.stored()).join("\n")).toContain(",silent,"), 30_000);
  await house.asHouse("UPDATE pipeline.consumer SET last_seen_at = now() - interval '61 seconds'");
  const second = await subscribe();
  expect(await said).toContain(`{"code":"${errors.consumer_taken.connect}","message":"consumer_taken: `);
  await second.body?.cancel();
});

function envelope(json: object): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(JSON.stringify(json));
  const bytes = new Uint8Array(5 + text.length);
  new DataView(bytes.buffer).setUint32(1, text.length);
  bytes.set(text, 5);
  return bytes;
}
