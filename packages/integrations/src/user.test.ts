import { VaultError, type VaultErrorCode } from "@tributary/vault";
import { describe, expect, it } from "vitest";
import { instruction, retryAfterMs, statusError } from "./user.ts";

const now = (): Date => new Date("2026-11-21T00:00:00Z");

describe("status → instruction", () => {
  it.each([
    [401, {}, "ReauthRequired"],
    [400, {}, "Rejected"],
    [403, {}, "Rejected"],
    [404, {}, "Rejected"],
    [409, {}, "Rejected"],
    [410, {}, "CursorExpired"],
    [429, {}, "RateLimited"],
    [429, { "retry-after": "7" }, "RateLimited"],
    [403, { "retry-after": "7" }, "RateLimited"],
    [503, { "retry-after": "7" }, "RateLimited"],
    [500, {}, "Retryable"],
    [502, {}, "Retryable"],
    [302, {}, "Rejected"],
  ])("%i %o is %s", (status, headers, name) => {
    expect(statusError({ status, headers: new Headers(headers) }, now).name).toBe(name);
  });

  it.each([
    [null, undefined],
    ["0", 0],
    ["30", 30_000],
    ["999999", 3_600_000],
    ["Sat, 21 Nov 2026 00:01:00 GMT", 60_000],
    ["Fri, 20 Nov 2026 00:00:00 GMT", 0],
    ["soon", undefined],
    ["-5", 0],
  ])("reads Retry-After %s as %s ms", (value, ms) => {
    expect(retryAfterMs(value, now)).toBe(ms);
  });
});

describe("what the vault refused", () => {
  it.each<[VaultErrorCode, string]>([
    ["reauth_required", "ReauthRequired"],
    ["credential_missing", "ReauthRequired"],
    ["provider_unavailable", "Retryable"],
    ["audit_unavailable", "Retryable"],
    ["url_not_allowed", "ContractViolation"],
    ["response_too_large", "ContractViolation"],
    ["oauth_client_invalid", "ContractViolation"],
    ["credential_integrity_error", "VaultError"],
  ])("%s becomes %s", (code, name) => {
    expect((instruction(new VaultError(code, "x")) as Error).name).toBe(name);
  });

  it("leaves a bug what it is", () => {
    const bug = new RangeError("x");
    expect(instruction(bug)).toBe(bug);
  });
});
