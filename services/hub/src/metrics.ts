import type { Database } from "@tributary/db";
import { type BacklogState, pipelineFigures, type PipelineFigures, type RelayStatus } from "@tributary/pipeline";
import { Hono } from "hono";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { type Metric, METRICS_CONTENT_TYPE, renderMetrics, type RequestFigures, type Sample } from "./metrics-text.ts";

export interface MetricsOptions {
  readonly database: Database;
  readonly requests: RequestFigures;
  /** Absent where this process relays nothing. */
  readonly relay?: () => RelayStatus;
  /** Absent where there is no broker. */
  readonly backlog?: () => BacklogState;
}

/** The database's figures are asked for at most so often, however often somebody scrapes. */
const FIGURES_FRESH_MS = 15_000;

/**
 * `GET /metrics` for Prometheus: relay, ledger, consumers, dead letters, requests, and the process. Names organisations and
 * consumers, so it belongs on loopback: whoever asks by another name is refused, which keeps a page in a browser on
 * this machine away from it.
 */
export function metricsRoutes(options: MetricsOptions): Hono {
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  const figures = keptFor(FIGURES_FRESH_MS, () => pipelineFigures(options.database).catch(() => undefined));
  const app = new Hono();
  app.use(async (c, next) => {
    const { hostname } = new URL(c.req.url);
    if (!["127.0.0.1", "[::1]", "localhost"].includes(hostname)) return c.text("only on loopback\n", 403);
    await next();
    return undefined;
  });
  app.get("/metrics", async (c) => {
    const known = await figures();
    const metrics = [
      ...relayMetrics(options.relay?.()),
      ...backlogMetrics(options.backlog?.()),
      ...databaseMetrics(known),
      ...options.requests.metrics(),
      ...processMetrics(delay),
    ];
    return c.body(renderMetrics(metrics), 200, { "content-type": METRICS_CONTENT_TYPE });
  });
  return app;
}

const RELAY_STATES = ["connecting", "standby", "catching_up", "leading", "waiting", "stopped"] as const;

function relayMetrics(relay: RelayStatus | undefined): Metric[] {
  if (relay === undefined) return [];
  const { state, reason = "", sinceMs, published, found, held, repairs } = relay;
  return [
    gauge(
      "tributary_relay_state",
      "1 for the state that this process's relay is in; the reason is why it waits.",
      RELAY_STATES.map((one) => ({
        value: one === state ? 1 : 0,
        labels: { state: one, reason: one === state ? reason : "" },
      })),
    ),
    gauge("tributary_relay_state_since_timestamp_seconds", "When that state began.", sinceMs / 1_000),
    counter(
      "tributary_relay_published_events_total",
      "Events that the broker acknowledged to this process.",
      published,
    ),
    counter(
      "tributary_relay_found_events_total",
      "Messages that were found in the stream without having been marked as published.",
      found,
    ),
    counter(
      "tributary_relay_repairs_total",
      "How often the stream had lost events, which were then published again.",
      Object.entries(repairs).map(([kind, value]) => ({ value, labels: { kind } })),
    ),
    gauge("tributary_relay_held_connections", "Connections whose next event the broker refused a moment ago.", held),
  ];
}

function backlogMetrics(backlog: BacklogState | undefined): Metric[] {
  if (backlog === undefined) return [];
  const { connections, events, bytes, bytesMax, full, oldestAtMs } = backlog;
  return [
    gauge("tributary_backlog_connections", "Connections with events that wait for the broker.", connections),
    gauge("tributary_backlog_events", "Events that wait for the broker.", events),
    gauge("tributary_backlog_bytes", "What they take on the database's disk, estimated.", bytes),
    gauge("tributary_backlog_max_bytes", "What they may take before the intake rests.", bytesMax),
    gauge(
      "tributary_backlog_oldest_timestamp_seconds",
      "When the oldest of them was committed; absent when nothing waits.",
      oldestAtMs === undefined ? [] : oldestAtMs / 1_000,
    ),
    gauge(
      "tributary_intake_resting",
      "1 while nothing is taken in because too much waits for the broker.",
      full ? 1 : 0,
    ),
  ];
}

function databaseMetrics(figures: PipelineFigures | undefined): Metric[] {
  const known = gauge(
    "tributary_database_figures_known",
    "1 when the database told the figures below; they are up to 15 seconds old.",
    figures === undefined ? 0 : 1,
  );
  if (figures === undefined) return [known];
  return [
    known,
    gauge("tributary_relay_led", "1 while some process leads the event stream.", figures.led ? 1 : 0),
    gauge(
      "tributary_relay_parked_connections",
      "Connections that stand still until somebody unparks them.",
      figures.parked.map(({ reason, connections }) => ({ value: connections, labels: { reason } })),
    ),
    gauge(
      "tributary_consumer_lag_events",
      "Events that a consumer over HTTP has not settled.",
      figures.consumers.map(({ organizationId: organization, consumer, lag }) => ({
        value: lag,
        labels: { organization, consumer },
      })),
    ),
    gauge(
      "tributary_dead_letters",
      "Events that a consumer gave up on, waiting for somebody.",
      figures.deadLetters.map(({ organizationId: organization, consumer, road, letters }) => ({
        value: letters,
        labels: { organization, consumer, road },
      })),
    ),
  ];
}

function processMetrics(delay: ReturnType<typeof monitorEventLoopDelay>): Metric[] {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  const quantiles = [0.5, 0.99, 1].map((quantile) => ({
    value: delay.percentile(quantile * 100) / 1e9,
    labels: { quantile: String(quantile) },
  }));
  delay.reset();
  return [
    gauge("process_resident_memory_bytes", "Memory of this process.", rss),
    gauge("nodejs_heap_size_used_bytes", "Of it, what JavaScript uses.", heapUsed),
    counter("process_cpu_seconds_total", "Processor time of this process.", (user + system) / 1e6),
    gauge("process_start_time_seconds", "When this process began.", Date.now() / 1_000 - process.uptime()),
    gauge("nodejs_eventloop_lag_seconds", "How late timers were since the last scrape.", quantiles),
  ];
}

const metric =
  (type: "gauge" | "counter") =>
  (name: string, help: string, samples: number | readonly Sample[]): Metric => ({
    name,
    help,
    type,
    samples: typeof samples === "number" ? [{ value: samples }] : samples,
  });
const gauge = metric("gauge");
const counter = metric("counter");

/** Asks again when what it has is old; whoever asks meanwhile shares the answer. */
function keptFor<T>(ms: number, ask: () => Promise<T>): () => Promise<T> {
  let asked: { readonly at: number; readonly answer: Promise<T> } | undefined;
  return () => {
    if (asked === undefined || performance.now() - asked.at > ms) asked = { at: performance.now(), answer: ask() };
    return asked.answer;
  };
}
