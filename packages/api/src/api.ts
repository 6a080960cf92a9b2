import { codeOf } from "@tributary/contracts";
import { Hono, type MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import { clientRoutes } from "./client-routes.ts";
import { connectionRoutes } from "./connection-routes.ts";
import { consentRoutes } from "./consent-routes.ts";
import { ApiError, answerError } from "./errors.ts";
import { eventStreamRoutes } from "./event-stream-routes.ts";
import { guarded } from "./guard.ts";
import { noticeRoutes } from "./notice-routes.ts";
import { type ApiEnv, type ApiOptions } from "./options.ts";
import { peopleRoutes } from "./people-routes.ts";
import { sandboxRoutes } from "./sandbox-routes.ts";
import { webhookRoutes } from "./webhook-routes.ts";
import { integrationJson } from "./views.ts";

const BODY_BYTES_MAX = 1024 * 1024;

/** The public HTTP API, under `/api` and `/webhooks`. */
export function createApi(options: ApiOptions): Hono<ApiEnv> {
  const app = new Hono<ApiEnv>();
  app.use(async (c, next) => {
    c.set("correlationId", options.runtime.uuid());
    await next();
    c.header("x-request-id", c.get("correlationId"));
    c.header("cache-control", "no-store");
    c.header("referrer-policy", "no-referrer");
    c.header("x-content-type-options", "nosniff");
    c.header("content-security-policy", "default-src 'none'; frame-ancestors 'none'");
  });
  app.onError((error, c) => {
    const code = codeOf(error);
    const fields = { code, correlationId: c.get("correlationId"), method: c.req.method, path: c.req.routePath };
    if (code === "internal_error") options.runtime.log.error({ ...fields, error: error.name }, "a request failed");
    return answerError(c, error, c.get("correlationId"));
  });
  app.notFound((c) => {
    const allowed = methodsOf(app, c.req.path);
    if (allowed.length === 0)
      return answerError(c, new ApiError("not_found", "There is nothing here."), c.get("correlationId"));
    // RFC 9110 §15.5.6 wants the methods named.
    c.header("allow", allowed.join(", "));
    return answerError(c, new ApiError("method_not_allowed", "Not by this method."), c.get("correlationId"));
  });
  app.use(limitBody());
  app.route("/webhooks", webhookRoutes(options));
  const signedIn = new Hono<ApiEnv>();
  signedIn.use(guarded(options));
  signedIn.get("/me", (c) => {
    const identity = c.get("identity");
    const { name, organizationId, organizationName, permissions } = identity;
    const who = identity.kind === "user" ? { id: identity.userId, email: identity.email } : { id: "", email: "" };
    return c.json({
      user: { ...who, name },
      organization: { id: organizationId, name: organizationName },
      permissions,
    });
  });
  signedIn.get("/integrations", (c) =>
    c.json({
      items: options.runtime.registry.connectors.map((connector) => integrationJson(connector, options.sandbox)),
    }),
  );
  signedIn.route("/integrations", consentRoutes(options));
  signedIn.route("/integrations", clientRoutes(options));
  signedIn.route("/", connectionRoutes(options));
  signedIn.route("/", eventStreamRoutes(options));
  signedIn.route("/", peopleRoutes(options));
  signedIn.route("/", noticeRoutes(options));
  signedIn.route("/", sandboxRoutes(options));
  app.route("/api", signedIn);
  return app;
}

/**
 * Refuses a body of more than 1 MiB: at once when its length is told, else when it has grown to that. Hono's own way looks
 * at the request's stream even when the length is told, for which the listener builds a whole Request and a stream.
 */
function limitBody(): MiddlewareHandler<ApiEnv> {
  const tooLarge = (): never => {
    throw new ApiError("payload_too_large", "The body has more than 1 MiB.");
  };
  const counting = bodyLimit({ maxSize: BODY_BYTES_MAX, onError: tooLarge });
  return (c, next) => {
    if (c.req.method === "GET" || c.req.method === "HEAD") return next();
    const told = c.req.header("content-length");
    if (told === undefined || c.req.header("transfer-encoding") !== undefined) return counting(c, next);
    return Number(told) <= BODY_BYTES_MAX ? next() : tooLarge();
  };
}

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;

/** The methods that an address has routes for. */
const methodsOf = ({ router }: Hono<ApiEnv>, path: string): string[] =>
  METHODS.filter((method) => router.match(method, path)[0].some(([[, route]]) => route.method === method));
