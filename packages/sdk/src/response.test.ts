import { describe, expect, it } from "vitest";
import { type ConnectorError, RateLimited } from "./errors.ts";
import { type Explain, readJson, retryAfterMs } from "./response.ts";

const now = (): Date => new Date("2026-01-01T00:00:00Z");
const named = {
  parse: (value: unknown): { readonly id: string } => {
    const { id } = value as { id: unknown };
    if (typeof id !== "string") throw new TypeError(`canary: ${JSON.stringify(value)}`);
    return { id };
  },
};
const read = (body: string, init: ResponseInit, explain?: Explain): Promise<unknown> =>
  readJson(named, new Response(body, init), now, explain);
const failure = (attempt: Promise<unknown>): Promise<ConnectorError> =>
  attempt.then(
    () => expect.unreachable(),
    (error: ConnectorError) => error,
  );

describe("an answer becomes a value or an instruction", () => {
  it("a value that has the shape", async () => {
    expect(await read('{"id":"1","more":2}', { status: 200 })).toEqual({ id: "1" });
  });

  it.each<[number, Record<string, string>, string, number?]>([
    [400, {}, "rejected"],
    [401, {}, "reauth_required"],
    [403, {}, "rejected"],
    [404, {}, "rejected"],
    [410, {}, "cursor_expired"],
    [429, {}, "rate_limited"],
    [429, { "retry-after": "7" }, "rate_limited", 7000],
    [403, { "retry-after": "7" }, "rate_limited", 7000],
    [503, { "retry-after": "Thu, 01 Jan 2026 00:00:09 GMT" }, "rate_limited", 9000],
    [500, {}, "retryable"],
    [503, {}, "retryable"],
  ])("status %i with %j", async (status, headers, code, wait?) => {
    const error = await failure(read("canary", { status, headers }));
    expect(error).toMatchObject(wait === undefined ? { code } : { code, retryAfterMs: wait });
    expect(String(error)).not.toContain("canary");
  });

  it.each(["canary", '{"id":{"canary":1}}', ""])("status 200 with the body %j is a broken contract", async (body) => {
    const error = await failure(read(body, { status: 200 }));
    expect([error.code, error.cause]).toEqual(["contract_violation", undefined]);
    expect(String(error)).not.toContain("canary");
  });

  it("what the body says comes before what the status says, and a body that is not JSON says nothing", async () => {
    const explain: Explain = (status, body) =>
      status === 400 && JSON.stringify(body) === '{"slow":true}' ? new RateLimited("Slow down.") : undefined;
    expect((await failure(read('{"slow":true}', { status: 400 }, explain))).code).toBe("rate_limited");
    expect((await failure(read('{"slow":false}', { status: 400 }, explain))).code).toBe("rejected");
    expect((await failure(read("<html>", { status: 400 }, explain))).code).toBe("rejected");
  });
});

it.each([
  [null, undefined],
  ["soon", undefined],
  ["0", 0],
  ["3", 3000],
  ["999999999", 3_600_000],
  ["Wed, 31 Dec 2025 00:00:00 GMT", 0],
  ["Fri, 02 Jan 2026 00:00:00 GMT", 3_600_000],
])("Retry-After %s is %s ms", (value, expected) => expect(retryAfterMs(value, now)).toBe(expected));
