export type { ActRequest } from "./act.ts";
export { chores } from "./chores.ts";
export { commit, type Commit, COMMIT_SIGNALS_MAX, type Committed, LeaseLost } from "./commit.ts";
export { addressNames } from "./address-values.ts";
export { listClients, type PutClient, putClient, removeClient } from "./clients.ts";
export { type Caller, type Connections, type ConnectionView, createConnections } from "./connections.ts";
export { type BeginConsent, beginConsent, type ConsentOutcome, finishConsent } from "./consent.ts";
export {
  erase,
  type EraseMessages,
  type EraseOptions,
  type EraseReport,
  type EraseTarget,
  organizationsOf,
  replayErasures,
} from "./erase.ts";
export { every, type EveryOptions } from "./every.ts";
export { IntegrationError, type IntegrationErrorCode } from "./errors.ts";
export { createIngress, type InboundRequest, type Ingress } from "./ingress.ts";
export { jsonColumns } from "./json-columns.ts";
export { claimDue, type Lease } from "./lease.ts";
export { type Damage, findDamage, resetDamage, type ResetParts } from "./repair.ts";
export { renewCredentials } from "./renew-credentials.ts";
export { createRegistry, type Registry } from "./registry.ts";
export { errorName, type Log, type Owner, type Runtime } from "./runtime.ts";
export { type Scheduler, type SchedulerOptions, startScheduler } from "./scheduler.ts";
export type { ConnectionRow, ReceiptRow } from "./schema.ts";
export { moveAllPlaintext, readSetting, type Setting, type SettingChange, writeSetting } from "./setting.ts";
export { missingScopes, type State } from "./state.ts";
export { type RunResult, syncRun } from "./sync-run.ts";
export { createThrottle, type Throttle } from "./throttle.ts";
export { migrations } from "./migrations.ts";
export { listNotices, type Notice } from "./notices.ts";
