export type { Erased, Erasure, ErasureTarget } from "./erasure.ts";
export { appendAudit, type AuditEntry } from "./audit.ts";
export { parseSignedHead, type SignedHead } from "./audit-heads.ts";
export type { AuditFault, AuditFaultKind, AuditReport } from "./audit-verify.ts";
export { type Auditor, openAuditor } from "./auditor.ts";
export { VaultError, type VaultErrorCode } from "./errors.ts";
export type { IntegrationSecret, IntegrationSecrets } from "./integration-secrets.ts";
export { jsonColumns } from "./json-columns.ts";
export { type KeyKeeper, type KeyKeeperOptions, type KeyStatus, openKeyKeeper } from "./key-keeper.ts";
export { createKeyFile, type KeySource } from "./keys.ts";
export { migrations } from "./migrations.ts";
export type { OAuthClient } from "./oauth.ts";
export { openVault, type VaultOptions } from "./open-vault.ts";
export type { Resolve } from "./outbound.ts";
export type { VaultLimits } from "./parts.ts";
export type { OnStep, RotationStep, StepResult } from "./rotation.ts";
export { createSealer, type Sealer, type SealerOptions, type SubmitRequest } from "./sealer.ts";
export type {
  ClientRequest,
  ClientSummary,
  ConsentCallback,
  ConsentFlow,
  ConsentRequest,
  CredentialScope,
  CredentialSession,
  CredentialUse,
  FormRequest,
  FormTicket,
  Grant,
  Person,
  RenewalOutcome,
  SignedContext,
  Vault,
} from "./vault.ts";
