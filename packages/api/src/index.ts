export { createApi } from "./api.ts";
export type { ApiOptions } from "./options.ts";
export { type ErrorBody } from "./errors.ts";
export { EVENT_RETENTION_DAYS } from "./views.ts";
export { createRpc } from "./rpc.ts";
export type { RpcOptions } from "./rpc-options.ts";
export { ACCESS, type Access } from "./authorisation.ts";
export { verified } from "./guard.ts";
