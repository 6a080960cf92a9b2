import { checkOrigin } from "@tributary/auth";
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { connectionRoutes } from "./connection-routes.ts";
import { consentRoutes } from "./consent-routes.ts";
import { ApiError, answerError, codeOf } from "./errors.ts";
import type { ApiEnv, ApiOptions } from "./options.ts";
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
  });
  app.onError((error, c) => {
    const code = codeOf(error);
    const fields = { code, correlationId: c.get("correlationId"), method: c.req.method, path: c.req.routePath };
    if (code === "internal_error") options.runtime.log.error({ ...fields, error: error.name }, "a request failed");
    return answerError(c, error, c.get("correlationId"));
  });
  app.notFound((c) => answerError(c, new ApiError("not_found", "There is nothing here."), c.get("correlationId")));
  app.use(
    bodyLimit({
      maxSize: BODY_BYTES_MAX,
      onError: () => {
        throw new ApiError("payload_too_large", "The body has more than 1 MiB.");
      },
    }),
  );
  app.route("/webhooks", webhookRoutes(options));
  const signedIn = new Hono<ApiEnv>();
  signedIn.use(async (c, next) => {
    const identity = await options.authenticator.authenticate(c.req.raw);
    // The guard's body is exactly this.
    if (identity === undefined)
      return c.json({ error: "missing_authorization" }, 401, { "www-authenticate": "Bearer" });
    c.set("identity", identity);
    if (!checkOrigin(c.req.raw, options.origin))
      throw new ApiError("csrf_rejected", "The request did not come from our own pages.");
    return next();
  });
  signedIn.get("/me", (c) => {
    const { userId, name, email, organizationId, organizationName } = c.get("identity");
    return c.json({ user: { id: userId, name, email }, organization: { id: organizationId, name: organizationName } });
  });
  signedIn.get("/integrations", (c) =>
    c.json({
      items: options.runtime.registry.connectors.map((connector) => integrationJson(connector, options.sandbox)),
    }),
  );
  signedIn.route("/integrations", consentRoutes(options));
  signedIn.route("/", connectionRoutes(options));
  app.route("/api", signedIn);
  return app;
}
