import { listNotices } from "@tributary/integrations";
import { Hono } from "hono";
import type { ApiEnv, ApiOptions } from "./options.ts";

/** What happened that an organisation's admins have to know. */
export function noticeRoutes({ runtime }: Pick<ApiOptions, "runtime">): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/notices", async (c) => {
    const notices = await listNotices(runtime.database, c.get("identity").organizationId);
    return c.json({ items: notices.map(({ at, ...said }) => ({ ...said, at: at.toISOString() })) });
  });
  return routes;
}
