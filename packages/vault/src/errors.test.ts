import { DatabaseUnavailable, databaseUnavailableIn } from "@tributary/db";
import { describe, expect, it } from "vitest";
import { recordAccess } from "./access.ts";
import { retrievalFailure } from "./functions.ts";
import type { VaultParts } from "./parts.ts";
import type { CredentialScope } from "./vault.ts";

const unavailable = new DatabaseUnavailable("57P01", new Error("terminating connection"));
const other = Object.assign(new Error("a value that was read"), { code: "42501" });
const scope = { organizationId: "acme" } as CredentialScope;
const recording = (failure: Error): Promise<unknown> =>
  recordAccess({ database: { transaction: () => Promise.reject(failure) } } as unknown as VaultParts, scope, {
    purpose: "sync",
    correlationId: "run",
  });
const reading = (failure: Error): Promise<unknown> => Promise.reject(failure).catch(retrievalFailure);

describe.each([
  ["recorded", recording],
  ["read", reading],
])("an access that could not be %s", (_, ask) => {
  it("says so when the database was unavailable, which is nobody else's fault", async () => {
    const error = await ask(unavailable).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "audit_unavailable", cause: unavailable });
    expect(databaseUnavailableIn(error)).toBeDefined();
  });

  it("keeps everything else to itself", async () => {
    const error = await ask(other).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "audit_unavailable" });
    expect(error).not.toHaveProperty("cause");
  });
});
