export { type Auth, type AuthOptions, createAuth } from "./auth.ts";
export { checkOrigin } from "./check-origin.ts";
export { type ErasedPeople, erasePeople, membershipsOf } from "./erase-people.ts";
export {
  type AuthContext,
  bearerAuthenticator,
  createGuard,
  type Demand,
  type Guard,
  type GuardOptions,
  type Rejection,
} from "./guard.ts";
export {
  type Authenticator,
  type Identity,
  type Permission,
  PERMISSIONS,
  type ServiceIdentity,
  type UserIdentity,
} from "./identity.ts";
export { migrations } from "./migrations.ts";
export { type RefusalCode, Refused } from "./refused.ts";
export { type AdminLinkOptions, makeAdminLink, makeFirstAdminLink } from "./admin-link.ts";
export { createPeople, type People } from "./people.ts";
export { PeopleError, type PeopleErrorCode } from "./people-error.ts";
export type {
  Actor,
  AppendAudit,
  InvitationMail,
  InvitationView,
  MemberView,
  OrganizationView,
  PeopleAuditEntry,
  PeopleOptions,
  ReceivedInvitation,
} from "./people-options.ts";
export { returnTo } from "./return-to.ts";
export type { Person } from "./session.ts";
export { createServiceKeys, type ServiceKey, type ServiceKeys } from "./service-keys.ts";
export { createTokens, type TokenOptions, type Tokens } from "./tokens.ts";
