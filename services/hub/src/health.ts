import { type Database, run } from "@tributary/db";
import type { BacklogState } from "@tributary/pipeline";
import { Hono } from "hono";

/**
 * `/healthz`: the process answers, and says whether the intake rests because too much waits for the broker. `/readyz`: it
 * can work; names the check that fails.
 */
export function healthRoutes(database: Database, backlog?: () => BacklogState): Hono {
  const app = new Hono();
  app.get("/healthz", (c) => c.json({ status: "ok", ...(backlog === undefined ? {} : intake(backlog())) }));
  app.get("/readyz", async (c) => {
    const reachable = await run(database.query, "SELECT 1").then(
      () => true,
      () => false,
    );
    return reachable ? c.json({ status: "ready" }) : c.json({ status: "unavailable", failing: ["database"] }, 503);
  });
  return app;
}

const intake = ({ full, events, bytes, bytesMax }: BacklogState) => ({
  intake: { state: full ? "resting" : "open", waitingEvents: events, waitingBytes: bytes, bytesMax },
});
