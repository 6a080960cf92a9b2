import { type AuthContext, checkOrigin, type Demand, type Guard, PERMISSIONS } from "@tributary/auth";
import type { Context, MiddlewareHandler } from "hono";
import { matchedRoutes } from "hono/route";
import { ACCESS, type Access } from "./authorisation.ts";
import { ApiError } from "./errors.ts";
import type { ApiEnv, ApiOptions } from "./options.ts";

/** `verifyRequest` as middleware, for a Hono app of services: what it lets through is `c.get("auth")`. */
export const verified =
  (verifyRequest: Guard["verifyRequest"]): MiddlewareHandler<{ Variables: { auth: AuthContext } }> =>
  async (c, next) => {
    const answer = await verifyRequest(c.req.raw);
    return answer instanceof Response ? answer : (c.set("auth", answer), next());
  };

/** The one way into the API: a session or a token, with what the table demands for the route. */
export const guarded =
  ({ guard, origin }: Pick<ApiOptions, "guard" | "origin">): MiddlewareHandler<ApiEnv> =>
  async (c, next) => {
    const route = routeOf(c);
    const access: Access | undefined = route === undefined ? "member" : ACCESS[route];
    if (access === "public") return next();
    const demand = { route: route ?? "none", requestId: c.get("correlationId"), ...demandOf(access) };
    const identity = await guard.admit(c.req.raw, demand);
    if (identity instanceof Response) return identity;
    c.set("identity", identity);
    const session = identity.kind === "user" && identity.sessionHash !== undefined;
    if (session && !checkOrigin(c.req.raw, origin)) {
      guard.report(c.req.raw, "csrf_rejected: origin", demand, identity);
      throw new ApiError("csrf_rejected", "The request did not come from our own pages.");
    }
    return next();
  };

function demandOf(access: Access | undefined): Pick<Demand, "nobody" | "browser" | "permissions"> {
  if (access === undefined) return { nobody: true };
  const rules = typeof access === "string" ? [access] : access;
  const permissions = PERMISSIONS.filter((one) => rules.includes(one));
  return { permissions, browser: rules.includes("browser") };
}

/** The route that will answer, such as "GET /api/connections/:id"; undefined when none does. */
function routeOf(c: Context): string | undefined {
  const found = matchedRoutes(c).find(({ method }) => method !== "ALL");
  return found === undefined ? undefined : `${found.method} ${found.path}`;
}
