export { createApi } from "./api.ts";
export type { ApiOptions } from "./options.ts";
export { type ErrorBody, type ErrorCode } from "./errors.ts";
export { EVENT_RETENTION_DAYS } from "./views.ts";
export { createRpc, type EventServiceOptions } from "./event-service.ts";
