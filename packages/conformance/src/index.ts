export { type Check, ConformanceFailure } from "./check.ts";
export { checks } from "./checks/checks.ts";
export type { ActionProof, ConformanceEmulator, Deed, ProviderAdapter } from "./provider-adapter.ts";
export { openStage, type Stage, type StageOptions } from "./stage.ts";
export { type ConformanceResult, runCheck, testConnector } from "./test-connector.ts";
