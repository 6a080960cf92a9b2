import { createHmac, randomBytes, randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Ask, type QuietHub, startQuietHub } from "./quiet-hub.ts";

let house: QuietHub;
beforeAll(async () => {
  house = await startQuietHub();
});
afterAll(() => house?.stop());

/** What would end a string, a statement, a comment or a cast, take a role, or leave an organisation. */
const INJECTIONS = [
  "' OR '1'='1",
  "1; SELECT set_config('app.organization', 'globex', false)",
  "'; RESET ROLE; DROP TABLE vault.secret; --",
  "\\'; TRUNCATE auth.session; --",
  "$$; SELECT pg_sleep(5); $$",
  "x'::text::uuid::int--",
  "%27%20UNION%20SELECT%20ciphertext%20FROM%20vault.secret--",
  "{evil}",
  "a\u0000b",
  "\u2019 OR 1=1",
];

const json = (path: string, body: unknown): Ask => ({ path, json: body });

describe("text that would be SQL", () => {
  it.each(INJECTIONS)("is a value and nothing else, wherever it stands: %j", async (text) => {
    const path = encodeURIComponent(text);
    const connection = `/api/connections/${house.connection}`;
    const asks: readonly Ask[] = [
      { path: `/api/connections/${path}` },
      { path: `/api/receipts/${path}` },
      { path: `${connection}/events?limit=${path}` },
      { path: `/api/events/stream?type=${path}` },
      { path: `/api/received-invitations/${path}` },
      { path: `/api/integrations/oauth/callback/${path}?state=${path}&code=${path}` },
      { path: `/webhooks/${path}/${path}`, method: "POST", body: text },
      json(`/api/integrations/${path}/oauth/start`, {}),
      json("/api/integrations/todoist/oauth/start", { connectionId: text }),
      json(`${connection}/actions`, { type: text, input: text, idempotencyKey: text }),
      json("/api/organizations", { name: text.replaceAll("\u0000", "\u0001") }),
      json("/api/invitations", { email: `${text}@example.com`, permissions: [text] }),
      json("/tributary.api.v1.EventService/List", { types: [text], connectionId: text, pageToken: text }),
      json("/tributary.api.v1.EventService/Get", { id: text }),
      json("/tributary.api.v1.ConsumerService/GetConsumer", { name: text }),
      json("/tributary.api.v1.DeadLetterService/GetDeadLetter", { id: text }),
    ];
    const before = await house.stored(["auth.organization", "auth.membership", "vault.audit", "vault.audit_head"]);
    for (const ask of asks) {
      const response = await house.send(ask);
      await response.body?.cancel();
      expect([ask.path, response.status < 500]).toEqual([ask.path, true]);
    }
    expect(await house.stored(["auth.organization", "auth.membership", "vault.audit", "vault.audit_head"])).toEqual(
      before,
    );
  });
});

/** The client's secret of the simulated provider: even whoever can sign breaks nothing. */
const KEY = "todoist-sandbox-secret";
const BODIES = 300;

it("a webhook's body may be anything, signed or not: it is taken or refused, and breaks nothing", async () => {
  const seen = new Map<number, number>();
  for (let n = 0; n < BODIES; n++) {
    const body = strange(n);
    const signature = n % 3 === 0 ? randomBytes(32) : createHmac("sha256", KEY).update(body).digest();
    const headers = {
      "x-todoist-hmac-sha256": signature.toString("base64"),
      "x-todoist-delivery-id": n % 5 === 0 ? "x".repeat(n * 20) : randomUUID(),
      ...(n % 7 === 0 ? { "content-type": "application/xml" } : {}),
    };
    const { status } = await house.send({ path: "/webhooks/todoist/todoist", body, headers });
    seen.set(status, (seen.get(status) ?? 0) + 1);
  }
  expect([...seen.keys()].filter((status) => ![200, 400, 401].includes(status))).toEqual([]);
  expect(seen.get(401)).toBeGreaterThanOrEqual(BODIES / 3);
  expect(seen.get(400)).toBeGreaterThan(0);
});

/** Noise, half of a delivery, JSON of every kind, depth, and text that is no text. */
function strange(n: number): Uint8Array<ArrayBuffer> {
  const whole = JSON.stringify({ event_name: "item:added", user_id: "48000001", event_data: { id: String(n) } });
  const texts = [
    whole.slice(0, n % whole.length),
    JSON.stringify([null, true, n, "x", [], {}][n % 6]),
    "[".repeat(50_000),
    `{"user_id":{"$gt":""},"event_name":["item:added"],"n":${n}}`,
    `{"__proto__":{"user_id":"48000001"},"constructor":{"prototype":{}}}`,
    whole.replace("48000001", "4800\u00000001"),
  ];
  const noise = n % 4 === 0 ? randomBytes(1 + (n % 900)) : Buffer.from(texts[n % texts.length] ?? "");
  return new Uint8Array(noise);
}

it("an unknown address of a known integration gets the answer of a forged delivery", async () => {
  const answers: { status: number; body: object }[] = [];
  for (const context of ["todoist", "todoist.AAAAAAAAAAAAAAAAAAAAAA", "x", "%00"]) {
    const headers = { "x-todoist-hmac-sha256": "AAAA", "x-todoist-delivery-id": "d1" };
    const response = await house.send({ path: `/webhooks/todoist/${context}`, method: "POST", body: "{}", headers });
    const { correlationId, ...body } = (await response.json()) as Record<string, string>;
    expect(correlationId).toBe(response.headers.get("x-request-id"));
    answers.push({ status: response.status, body });
  }
  expect(answers[0]).toMatchObject({ status: 401, body: { error: "invalid_signature" } });
  expect(answers).toEqual(answers.map(() => answers[0]));
});

const CANARY = "canarycanarycanary";

describe("the provider's answer", () => {
  it.each([{ code: CANARY }, { error: "server_error", error_description: CANARY }])(
    "leaves nothing of itself in the next address, and is kept nowhere: %j",
    async (answer) => {
      const begun = await house.send(json("/api/integrations/todoist/oauth/start", {}));
      const { redirectUrl } = (await begun.json()) as { redirectUrl: string };
      const state = new URL(redirectUrl).searchParams.get("state") ?? "";
      const query = new URLSearchParams({ ...answer, state });
      const response = await house.send({ path: `/api/integrations/oauth/callback/todoist?${query}` });
      expect(response.status).toBe(303);
      const location = response.headers.get("location") ?? "";
      expect(location).toMatch(/^\/connect\/todoist\?outcome=error&/);
      expect(state).not.toBe("");
      for (const secret of [state, CANARY]) expect(location).not.toContain(secret);
      expect(Object.fromEntries(response.headers)).toMatchObject({
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
      });
      expect(await response.text()).toBe("");
    },
  );
});
