import type { Guard, Identity, People, UserIdentity } from "@tributary/auth";
import type { Caller, Connections, Ingress, Runtime } from "@tributary/integrations";
import type { EventTail } from "@tributary/pipeline";
import type { Context } from "hono";

/** What the routes stand on. No route holds logic: each is a parse, a call and a view. */
export interface ApiOptions {
  readonly runtime: Runtime;
  readonly connections: Connections;
  readonly ingress: Ingress;
  /** What is committed, as it is committed. */
  readonly tail: EventTail;
  /** Lets requests in: by session or by token. */
  readonly guard: Guard;
  readonly people: People;
  /** Public origin, "https://tributary.example.com": what a browser's `Origin` must equal when something changes. */
  readonly origin: string;
  /** True when the providers are simulated. */
  readonly sandbox: boolean;
  /** What the simulated providers can be made to do; absent with the real ones. */
  readonly triggers?: Triggers;
  /** Makes the scheduler look for due connections now. */
  readonly nudge: () => void;
}

/** Has simulated people cause events. */
export interface Triggers {
  readonly triggerTypes: readonly string[];
  /** @returns what was done; undefined when nothing lends itself to it. */
  trigger(type: string): string | undefined;
}

export interface ApiEnv {
  Variables: { identity: Identity; correlationId: string };
}

/** Whoever asks, as the owner of their own connections: a person's are theirs, a service's are its organisation's. */
export const caller = (c: Context<ApiEnv>): Caller => {
  const identity = c.get("identity");
  const { organizationId, name } = identity;
  const owner: Caller["owner"] =
    identity.kind === "user" ? { kind: "user", id: identity.userId } : { kind: "organization", id: organizationId };
  return { organizationId, owner, name };
};

/** Whoever asks, as the audit names them. */
export const actorIdOf = (c: Context<ApiEnv>): string => {
  const identity = c.get("identity");
  return identity.kind === "user" ? identity.userId : `service:${identity.name}`;
};

/** The person who is signed in. The table lets nobody else come here. */
export const personOf = (c: Context<ApiEnv>): UserIdentity => {
  const identity = c.get("identity");
  if (identity.kind !== "user") throw new Error("no person");
  return identity;
};

/** The person and the browser that a flow is bound to. The table lets nobody else come here. */
export const browserOf = (c: Context<ApiEnv>): { readonly userId: string; readonly sessionHash: string } => {
  const identity = c.get("identity");
  if (identity.kind !== "user" || identity.sessionHash === undefined) throw new Error("no browser session");
  return { userId: identity.userId, sessionHash: identity.sessionHash };
};
