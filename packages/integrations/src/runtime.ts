import type { Database } from "@tributary/db";
import type { Append, EventBatch } from "@tributary/pipeline";
import type { CredentialScope, Vault } from "@tributary/vault";
import type { Registry } from "./registry.ts";

/** What this package is given: constructed once, in the hub's main. */
export interface Runtime {
  readonly database: Database;
  readonly vault: Vault;
  readonly registry: Registry;
  readonly append: Append;
  /** Hands a batch to whoever publishes, after its transaction committed. A hint: the ledger is read as well. */
  readonly committed: (batch: EventBatch, firstSequence: bigint) => void;
  readonly now: () => Date;
  readonly uuid: () => string;
  /** In [0, 1); spreads schedules and retries. */
  readonly random: () => number;
  readonly log: Log;
}

/** Structured and allow-listed: fields are ids, codes, counts and times, never content. */
export interface Log {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
}

/**
 * What may be said of any error in a log: its class, and the code of the system or the database where there is one.
 * Messages of bugs and libraries may hold what was read.
 */
export function errorName(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  const code = codeIn(error) ?? codeIn(error.cause);
  return code === undefined ? error.name : `${error.name} ${code}`;
}

function codeIn(error: unknown): string | undefined {
  const { code } = (error instanceof Error ? error : {}) as { readonly code?: unknown };
  return typeof code === "string" && /^[A-Za-z0-9_]{1,40}$/.test(code) ? code : undefined;
}

/** Who owns a connection. */
export interface Owner {
  readonly kind: "user" | "organization";
  readonly id: string;
}

/** Whose credential: always built from the caller's own context, never from the credential's row. */
export const credentialScope = (
  organizationId: string,
  integration: string,
  owner: Owner,
  credentialId: string,
): CredentialScope => ({
  organizationId,
  integration,
  owner,
  credentialId,
});
