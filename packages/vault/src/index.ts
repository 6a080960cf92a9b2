export { VaultError, type VaultErrorCode } from "./errors.ts";
export { createKeyFile, type KeySource } from "./keys.ts";
export { migrations } from "./migrations.ts";
export type { OAuthClient } from "./oauth.ts";
export { openVault, type VaultOptions } from "./open-vault.ts";
export type { Resolve } from "./outbound.ts";
export type { VaultLimits } from "./parts.ts";
export type {
  ConsentCallback,
  ConsentFlow,
  ConsentRequest,
  CredentialScope,
  CredentialSession,
  CredentialUse,
  Grant,
  Person,
  Vault,
} from "./vault.ts";
