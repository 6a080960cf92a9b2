import { EVENT_RETENTION_DAYS } from "@tributary/api";
import type { Database } from "@tributary/db";
import type { Log } from "@tributary/integrations";
import { type BacklogWatch, type HandOff, type Relay, startRelay, watchBacklog } from "@tributary/pipeline";
import { Hono } from "hono";
import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "./config.ts";
import { type HealthOptions, healthRoutes } from "./health.ts";
import { metricsRoutes } from "./metrics.ts";
import { createRequestFigures, type RequestFigures } from "./metrics-text.ts";
import type { Progress } from "./progress.ts";
import { serve } from "./serve.ts";

/** The way to the broker, and what is told of it. */
export interface Publishing {
  /** Whether the intake should rest: too much waits for the broker. */
  readonly resting: () => boolean;
  readonly health: HealthOptions;
  readonly requests: RequestFigures;
}

interface Parts {
  readonly database: Database;
  readonly handOff: HandOff;
  readonly log: Log;
}

type Opened = (() => Promise<void> | void)[];

/** Starts the relay where there is a broker and this process has the role, a watch on what waits, and the figures. */
export async function startPublishing(
  config: Config,
  parts: Parts,
  onStart: Progress["step"],
  opened: Opened,
): Promise<Publishing> {
  const relay = await relayTo(config, parts, onStart, opened);
  const backlog = await backlogOf(config, parts, opened);
  const requests = createRequestFigures();
  const health: HealthOptions = {
    database: parts.database,
    ...(backlog === undefined ? {} : { backlog: () => backlog.state() }),
    ...(relay === undefined ? {} : { relay: () => relay.status() }),
  };
  if (config.metricsPort !== undefined) {
    // A listener of its own, so that no setting of the hub's address and no proxy before it ever shows the figures outside.
    const app = new Hono();
    app.route("/", metricsRoutes({ ...health, requests }));
    app.route("/", healthRoutes(health));
    const address = { host: "127.0.0.1", port: config.metricsPort, setting: "TRIBUTARY_METRICS_PORT" };
    const listener = await serve(app.fetch, address);
    opened.push(() => listener.close());
  }
  return { resting: () => backlog?.state().full === true, health, requests };
}

async function relayTo(
  config: Config,
  parts: Parts,
  onStart: Progress["step"],
  opened: Opened,
): Promise<Relay | undefined> {
  const { natsUrl: servers, natsMonitorUrl: monitorUrl, streamReplicas: replicas } = config;
  if (servers === undefined || !config.roles.has("relay")) return undefined;
  onStart("Connecting to NATS");
  const relay = startRelay({
    ...parts,
    servers,
    retentionDays: EVENT_RETENTION_DAYS,
    ...(replicas === undefined ? {} : { replicas }),
    ...(monitorUrl === undefined ? {} : { monitorUrl }),
  });
  opened.push(() => relay.stop());
  await untilStream(relay, parts.log);
  return relay;
}

/** Without a broker nothing waits for one: then the retention alone bounds the ledger. */
async function backlogOf(
  { natsUrl, backlogBytes: bytesMax }: Config,
  { database, log }: Parts,
  opened: Opened,
): Promise<BacklogWatch | undefined> {
  if (natsUrl === undefined) return undefined;
  const backlog = watchBacklog({ database, bytesMax, log });
  opened.push(() => backlog.stop());
  await backlog.look();
  return backlog;
}

/** A broker that is away delays nothing but itself: events are taken in and published when it is back. */
async function untilStream(relay: Relay, log: Log): Promise<void> {
  for (let waitedMs = 0; waitedMs < STREAM_MS_MAX; waitedMs += 20) {
    const { state } = relay.status();
    if (state !== "connecting" && state !== "waiting") return;
    await sleep(20);
  }
  const { reason } = relay.status();
  log.warn(reason === undefined ? {} : { reason }, "NATS is not there yet; events are kept and published when it is");
}
const STREAM_MS_MAX = 5_000;
