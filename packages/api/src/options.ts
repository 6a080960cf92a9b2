import type { Authenticator, Identity } from "@tributary/auth";
import type { Caller, Connections, Ingress, Runtime } from "@tributary/integrations";
import type { Context } from "hono";

/** What the routes stand on. No route holds logic: each is a parse, a call and a view. */
export interface ApiOptions {
  readonly runtime: Runtime;
  readonly connections: Connections;
  readonly ingress: Ingress;
  readonly authenticator: Authenticator;
  /** Public origin, "https://tributary.example.com": what a browser's `Origin` must equal when something changes. */
  readonly origin: string;
  /** True when the providers are simulated. */
  readonly sandbox: boolean;
  /** Makes the scheduler look for due connections now. */
  readonly nudge: () => void;
}

export interface ApiEnv {
  Variables: { identity: Identity; correlationId: string };
}

/** The signed-in person, as the owner of their own connections. */
export const caller = (c: Context<ApiEnv>): Caller => {
  const { organizationId, userId, name } = c.get("identity");
  return { organizationId, owner: { kind: "user", id: userId }, name };
};
