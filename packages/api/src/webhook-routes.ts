import { Hono } from "hono";
import type { ApiEnv, ApiOptions } from "./options.ts";

/** Where providers post: `/webhooks/<integration>/<context>`. The signature is the only proof there is. */
export function webhookRoutes({ ingress, nudge }: ApiOptions): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.post("/:integration/:contextId", async (c) => {
    const woken = await ingress.receive({
      integration: c.req.param("integration"),
      contextId: c.req.param("contextId"),
      headers: c.req.raw.headers,
      body: new Uint8Array(await c.req.arrayBuffer()),
    });
    if (woken > 0) nudge();
    return c.body(null, 200);
  });
  return routes;
}
