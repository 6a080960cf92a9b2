import { type Database, type Queryable, withOrganization } from "@tributary/db";
import type { DataKeys } from "./data-keys.ts";
import type { KeyRing } from "./keys.ts";
import type { OAuthClient } from "./oauth.ts";
import type { Outbound } from "./outbound.ts";
import type { CredentialScope } from "./vault.ts";

/** What the vault's functions share; made once, by `openVault`. */
export interface VaultParts {
  readonly database: Database;
  readonly ring: KeyRing;
  readonly outbound: Outbound;
  readonly clients: readonly OAuthClient[];
  /** Where browsers reach this hub: "https://tributary.example.com". */
  readonly publicOrigin: string;
  readonly limits: VaultLimits;
  readonly now: () => Date;
  readonly randomUUID: () => string;
  /** Renewals under way in this process, by credential and generation. */
  readonly renewals: Map<string, Promise<"renewed" | "impossible">>;
  readonly dataKeys: DataKeys;
  /** The file that erasures are written down in besides the database; undefined: in the database alone. */
  readonly erasureLedger: string | undefined;
}

export interface VaultLimits {
  /** One request of a session with everything it takes: renewal, redirects, the answer's body. ms. Default 30,000. */
  readonly requestMs: number;
  /** One request to a provider's token or revocation endpoint, ms. Default 10,000. */
  readonly tokenRequestMs: number;
  /** Bytes of an answer after decompression. Default 16 MiB. */
  readonly responseBytesMax: number;
}

/** A transaction on the vault's own tables, within the organisation of the scope. */
export const inOrganization = <T>(
  { database }: Pick<VaultParts, "database">,
  { organizationId }: Pick<CredentialScope, "organizationId">,
  work: (tx: Queryable) => Promise<T>,
): Promise<T> => withOrganization(database, organizationId, work, "vault");
