export { createApi } from "./api.ts";
export type { ApiOptions } from "./options.ts";
export { type ErrorBody } from "./errors.ts";
export { EVENT_RETENTION_DAYS } from "./views.ts";
export { createRpc, type EventServiceOptions } from "./event-service.ts";
export { ACCESS, type Access } from "./authorisation.ts";
export { verified } from "./guard.ts";
