export { type Auth, type AuthOptions, createAuth } from "./auth.ts";
export { checkOrigin } from "./check-origin.ts";
export type { Authenticator, Identity, Permission } from "./identity.ts";
export { migrations } from "./migrations.ts";
export { returnTo } from "./return-to.ts";
export type { Person } from "./session.ts";
export { createServiceKeys, type ServiceIdentity, type ServiceKey, type ServiceKeys } from "./service-keys.ts";
