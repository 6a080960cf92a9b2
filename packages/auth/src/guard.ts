import { type Authenticator, type Identity, type Permission, PERMISSIONS } from "./identity.ts";
import { organizationsIn } from "./organization-in-request.ts";
import { Refused, refusalResponse } from "./refused.ts";
import type { ServiceKeys } from "./service-keys.ts";
import type { Tokens } from "./tokens.ts";

/** A refusal as it is logged: who, what for and why; never the token, and nothing that could hold one. */
export interface Rejection {
  /** Subject of a token whose signature held, a user's id, or `service_role`; "unknown" when nobody is known. */
  readonly caller_identity: string;
  /** Organisation that the request named, else that of its proof; "none" when neither is known. */
  readonly attempted_org_id: string;
  readonly rejection_reason: string;
  /** Method and path, or the route's pattern. */
  readonly route: string;
  readonly request_id: string;
  /** ISO 8601. */
  readonly timestamp: string;
}

/** Whom {@link Guard.verifyRequest} let through. */
export interface AuthContext {
  /** Subject of the token; `service_role` for a service. */
  readonly userId: string;
  /** The organisation of the proof. Everything that is read is read for it. */
  readonly orgId: string;
  readonly isServiceRole: boolean;
  readonly identity: Identity;
}

export interface GuardOptions {
  readonly serviceKeys: ServiceKeys;
  /** Absent: no token is valid. */
  readonly tokens?: Tokens;
  /** Browser sessions, for {@link Guard.admit} alone. */
  readonly sessions?: Authenticator;
  readonly log: (rejection: Rejection) => void;
  readonly now: () => Date;
  readonly uuid: () => string;
}

export interface Demand {
  /** All of them. Default: none, it is enough to be known. */
  readonly permissions?: readonly Permission[];
  /** Only the session of a browser will do. */
  readonly browser?: boolean;
  /** Nobody may: the route has no rule. */
  readonly nobody?: boolean;
  /** For the log. Default: method and path. */
  readonly route?: string;
  /** Default: a new one. */
  readonly requestId?: string;
}

export interface Guard {
  /**
   * For services: accepts a token whose `app_metadata.claims.integration_admin` is true, or a service's key, for the one
   * organisation that it names. Runs before anything is read: it asks no database. Standalone: takes a plain Request,
   * leaves its body unread, and answers with a Response that is ready to be sent.
   */
  readonly verifyRequest: (request: Request) => Promise<Response | AuthContext>;
  /** The same, and browser sessions; with permissions as the route demands them. */
  readonly admit: (request: Request, demand: Demand) => Promise<Response | Identity>;
  /** Writes a refusal down that somebody else decided. @param reason a code, and nothing from the request. */
  readonly report: (request: Request, reason: string, demand: Demand, identity?: Identity) => void;
}

/** RFC 9110 sets no limit. A token beyond it is refused before it is looked at. */
const AUTHORIZATION_BYTES_MAX = 8 * 1024;

/** What an `Authorization: Bearer` header carries: a service's key or a signed token. Reads no database. */
export function bearerAuthenticator({
  serviceKeys,
  tokens,
}: Pick<GuardOptions, "serviceKeys" | "tokens">): Authenticator {
  return {
    authenticate: async (request) => {
      const header = request.headers.get("authorization");
      if (header === null || header === "") return undefined;
      if (header.length > AUTHORIZATION_BYTES_MAX) throw new Refused("invalid_token", "too_large");
      const [, token] = /^Bearer ([\x21-\x7e]+)$/i.exec(header) ?? [];
      if (token === undefined) throw new Refused("invalid_token", "no_bearer_token");
      const service = serviceKeys.authenticate(header);
      if (service !== undefined) return service;
      if (tokens === undefined) throw new Refused("invalid_token", "unknown_key");
      return tokens.verify(token);
    },
  };
}

/** The one way in for every request that needs to be known. */
export function createGuard(options: GuardOptions): Guard {
  const { sessions, now, uuid } = options;
  const bearer = bearerAuthenticator(options);

  const report = (request: Request, refused: Refused | string, demand: Demand, identity?: Identity): void => {
    const known = typeof refused === "string" ? undefined : refused;
    options.log({
      caller_identity: identity === undefined ? (known?.caller ?? "unknown") : callerOf(identity),
      attempted_org_id: attempted(request, known, identity),
      rejection_reason: typeof refused === "string" ? refused : `${refused.code}: ${refused.reason}`,
      route: demand.route ?? `${request.method} ${new URL(request.url).pathname.slice(0, 200)}`,
      request_id: demand.requestId ?? "none",
      timestamp: now().toISOString(),
    });
  };
  const refuse = (request: Request, refused: Refused, demand: Demand, identity?: Identity): Response => {
    const requestId = demand.requestId ?? uuid();
    report(request, refused, { ...demand, requestId }, identity);
    return refusalResponse(refused.code, requestId);
  };

  const admitBy =
    (ways: readonly Authenticator[]) =>
    async (request: Request, demand: Demand): Promise<Response | Identity> => {
      let identity: Identity | undefined;
      try {
        for (const way of ways) identity ??= await way.authenticate(request);
        if (identity === undefined) throw new Refused("missing_authorization", "nothing_sent");
        await decide(request, identity, demand);
        return identity;
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        return refuse(request, error, demand, identity);
      }
    };

  const verify = admitBy([bearer]);
  return {
    verifyRequest: async (request) => {
      const identity = await verify(request, { permissions: PERMISSIONS });
      if (identity instanceof Response) return identity;
      const isServiceRole = identity.kind === "service";
      return { userId: callerOf(identity), orgId: identity.organizationId, isServiceRole, identity };
    },
    admit: admitBy(sessions === undefined ? [bearer] : [bearer, sessions]),
    report,
  };
}

/** @throws Refused. */
async function decide(request: Request, identity: Identity, demand: Demand): Promise<void> {
  const { permissions = [], browser = false, nobody = false } = demand;
  if (nobody) throw new Refused("insufficient_permissions", "route_without_rule");
  if (browser && (identity.kind !== "user" || identity.sessionHash === undefined))
    throw new Refused("insufficient_permissions", "no_browser_session");
  if (!permissions.every((one) => identity.permissions.includes(one)))
    throw new Refused("insufficient_permissions", "permission_missing");
  const named = await organizationsIn(request);
  if (named === undefined) throw new Refused("payload_too_large", "body_not_looked_through");
  const foreign = named.find((one) => one !== identity.organizationId);
  if (foreign !== undefined) throw new ScopeViolation(foreign);
}

class ScopeViolation extends Refused {
  readonly organization: string;
  constructor(organization: string) {
    super("org_scope_violation", "another_organization");
    this.organization = organization;
  }
}

const callerOf = (identity: Identity): string => (identity.kind === "service" ? "service_role" : identity.userId);

/** Only what can be an id: nothing that somebody wrote into a request reaches the log as it is. */
function attempted(request: Request, refused: Refused | undefined, identity: Identity | undefined): string {
  const asked =
    refused instanceof ScopeViolation ? refused.organization : (identity?.organizationId ?? namedInQuery(request));
  if (asked === undefined || asked === "") return "none";
  return /^[\w-]{1,64}$/.test(asked) ? asked : "not an id";
}

/** A body is not read for somebody unknown. */
const namedInQuery = (request: Request): string | undefined => {
  const { searchParams } = new URL(request.url);
  return (
    searchParams.get("org_id") ?? searchParams.get("organization_id") ?? searchParams.get("organizationId") ?? undefined
  );
};
