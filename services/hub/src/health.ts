import { type Database, run } from "@tributary/db";
import { Hono } from "hono";

/** `/healthz`: the process answers. `/readyz`: it can work; names the check that fails. */
export function healthRoutes(database: Database): Hono {
  const app = new Hono();
  app.get("/healthz", (c) => c.json({ status: "ok" }));
  app.get("/readyz", async (c) => {
    const reachable = await run(database.query, "SELECT 1").then(
      () => true,
      () => false,
    );
    return reachable ? c.json({ status: "ready" }) : c.json({ status: "unavailable", failing: ["database"] }, 503);
  });
  return app;
}
