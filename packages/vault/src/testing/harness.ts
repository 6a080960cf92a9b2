import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Database, migrate } from "@tributary/db";
import type { OAuth2Spec } from "@tributary/sdk";
import { type Grant, migrations, openVault, type Vault, type VaultOptions } from "../index.ts";
import type { ConsentRequest, CredentialScope, CredentialUse, Person } from "../vault.ts";
import { CLIENT, type FakeProvider } from "./fake-provider.ts";

export const SPEC: OAuth2Spec = {
  authorizationUrl: "https://provider.example.com/oauth/authorize",
  tokenUrl: "https://provider.example.com/oauth/token",
  revocation: "https://provider.example.com/oauth/revoke",
};
export const HOST = "provider.example.com";
export const PERSON: Person = { userId: "user-1", sessionHash: "5e55" };
export const SCOPE: CredentialScope = {
  organizationId: "acme",
  integration: "tasks",
  owner: { kind: "user", id: "user-1" },
  credentialId: "credential-1",
};
export const ME = `https://${HOST}/v1/me`;

/** A vault over a database with its tables, a key file of its own, and a provider in place of the real one. */
export interface Harness {
  readonly vault: Vault;
  readonly keyFile: string;
  readonly clock: { now: Date };
  /** The same data and keys in another vault, as another process would have them. */
  another(change?: Partial<VaultOptions>): Promise<Vault>;
  /** The whole road of consent. */
  link(change?: Partial<ConsentRequest>, vault?: Vault): Promise<Grant>;
  use(change?: Partial<CredentialUse>): CredentialUse;
  stop(): void;
}

export async function startHarness(
  database: Database,
  provider: FakeProvider,
  change: Partial<VaultOptions> = {},
): Promise<Harness> {
  await migrate(database, [migrations]);
  const folder = mkdtempSync(join(tmpdir(), "tributary-vault-"));
  const clock = { now: new Date("2026-11-21T10:00:00Z") };
  const options: VaultOptions = {
    database,
    keys: { file: join(folder, "keys.json") },
    clients: [{ contextId: "tasks", integration: "tasks", ...CLIENT }],
    publicOrigin: "https://hub.example.com",
    origins: new Map([[`https://${HOST}`, provider.origin]]),
    now: () => clock.now,
    ...change,
  };
  const vault = await openVault(options);
  const harness: Harness = {
    vault,
    keyFile: join(folder, "keys.json"),
    clock,
    another: (more = {}) => openVault({ ...options, ...more }),
    link: async (request = {}, by = vault) => {
      const { url } = await by.beginConsent(consentRequest(request));
      const flow = await by.takeFlow({
        contextId: "tasks",
        query: provider.consent(url),
        person: PERSON,
        organizationId: (request.scope ?? SCOPE).organizationId,
      });
      const grant = await by.redeem(flow, flow.code);
      await by.accept(flow.scope);
      return grant;
    },
    use: (more = {}) => ({
      spec: SPEC,
      hosts: [HOST],
      purpose: "sync",
      correlationId: "run-1",
      signal: new AbortController().signal,
      ...more,
    }),
    stop: () => rmSync(folder, { recursive: true, force: true }),
  };
  return harness;
}

export const consentRequest = (change: Partial<ConsentRequest> = {}): ConsentRequest => ({
  scope: SCOPE,
  person: PERSON,
  spec: SPEC,
  scopes: ["data:read", "task:add"],
  connectionId: "connection-1",
  ...change,
});

/** Makes every table of the vault text. */
export const DUMP_TABLES = [
  "key_check",
  "subject_key",
  "credential_grant",
  "secret",
  "flow",
  "renewal",
  "oauth_client",
  "audit",
  "audit_head",
  "rotation",
  "form",
  "inbox",
  "erasure",
] as const;
