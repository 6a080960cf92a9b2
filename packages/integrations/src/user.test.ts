import { VaultError, type VaultErrorCode } from "@tributary/vault";
import { describe, expect, it } from "vitest";
import { instruction } from "./user.ts";

describe("what the vault refused", () => {
  it.each<[VaultErrorCode, string]>([
    ["reauth_required", "ReauthRequired"],
    ["credential_missing", "ReauthRequired"],
    ["provider_unavailable", "Retryable"],
    ["audit_unavailable", "Retryable"],
    ["url_not_allowed", "ContractViolation"],
    ["response_too_large", "ContractViolation"],
    ["oauth_client_invalid", "ClientInvalid"],
    ["credential_integrity_error", "VaultError"],
  ])("%s becomes %s", (code, name) => {
    expect((instruction(new VaultError(code, "x")) as Error).name).toBe(name);
  });

  it("leaves a bug what it is", () => {
    const bug = new RangeError("x");
    expect(instruction(bug)).toBe(bug);
  });
});
