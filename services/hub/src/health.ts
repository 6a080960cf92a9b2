import { type Database, run } from "@tributary/db";
import type { BacklogState, RelayStatus } from "@tributary/pipeline";
import { Hono } from "hono";
import { setTimeout as sleep } from "node:timers/promises";

export interface HealthOptions {
  readonly database: Database;
  /** Absent where there is no broker. */
  readonly backlog?: () => BacklogState;
  /** Absent where this process relays nothing. */
  readonly relay?: () => RelayStatus;
}

/**
 * `/healthz`: the process answers, and says whether the intake rests because too much waits for the broker, and how the
 * relay fares. `/readyz`: it can work; names the check that fails. A broker that is away is no such check: events are
 * taken in and kept all the same, and a hub that left its load balancer for it would make an outage of a delay.
 */
export function healthRoutes({ database, backlog, relay }: HealthOptions): Hono {
  const app = new Hono();
  app.get("/healthz", (c) =>
    c.json({
      status: "ok",
      ...(backlog === undefined ? {} : intake(backlog())),
      ...(relay === undefined ? {} : fares(relay())),
    }),
  );
  app.get("/readyz", async (c) => {
    const answered = run(database.query, "SELECT 1").then(
      () => true,
      () => false,
    );
    // Others wait for a database that is away, and whoever asks this wants to know.
    const reachable = await Promise.race([answered, sleep(READY_MS_MAX, false, { ref: false })]);
    return reachable ? c.json({ status: "ready" }) : c.json({ status: "unavailable", failing: ["database"] }, 503);
  });
  return app;
}

const READY_MS_MAX = 2_000;

const intake = ({ full, events, bytes, bytesMax }: BacklogState) => ({
  intake: { state: full ? "resting" : "open", waitingEvents: events, waitingBytes: bytes, bytesMax },
});

const fares = ({ state, reason, sinceMs, held }: RelayStatus) => ({
  relay: { state, since: new Date(sinceMs).toISOString(), ...(reason === undefined ? {} : { reason }), held },
});
