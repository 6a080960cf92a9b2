export * from "./auth.ts";
export * from "./connector.ts";
export * from "./errors.ts";
export * from "./manifest.ts";
export * from "./response.ts";
export * from "./signal.ts";
export * from "./webhook.ts";
export * from "./zoned-time.ts";
