import { withOrganization } from "@tributary/db";
import { freePort, freePorts, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { append } from "@tributary/pipeline";
import { type PrivateNats, sampleBatch, startPrivateNats, until } from "@tributary/pipeline/testing";
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:http";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readConfig } from "../src/config.ts";
import { type Hub, startHub } from "../src/hub.ts";

let postgres: PrivatePostgres;
let nats: PrivateNats;
let hub: Hub;
let figuresPort: number;
const folder = mkdtempSync(join(tmpdir(), "tributary-figures-"));

beforeAll(async () => {
  [postgres, nats] = await Promise.all([startPrivatePostgres(), startPrivateNats()]);
  figuresPort = await freePort();
  const port = await freePorts(3);
  const settings = {
    DATABASE_URL: await postgres.createDatabase(),
    NATS_URL: nats.url,
    TRIBUTARY_DATA_DIR: folder,
    TRIBUTARY_PORT: String(port),
    TRIBUTARY_METRICS_PORT: String(figuresPort),
    TRIBUTARY_SANDBOX: "true",
    TRIBUTARY_SANDBOX_PORT: String(port + 1),
    LOG_LEVEL: "silent",
  };
  hub = await startHub(readConfig(settings, ["todoist"]));
});
afterAll(async () => {
  await hub.stop();
  await Promise.all([postgres.stop(), nats.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

const scrape = async (): Promise<string> => (await fetch(`http://127.0.0.1:${figuresPort}/metrics`)).text();
/** The value of a series, by its whole name. */
const valueOf = (text: string, series: string): number | undefined => {
  const line = text.split("\n").find((one) => one.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
};
const health = async () => (await (await fetch(`${hub.origin}/healthz`)).json()) as Record<string, unknown>;

const LEADING = 'tributary_relay_state{state="leading",reason=""}';

describe("the figures", () => {
  it("tell of relay, backlog, requests and process, in lines that a scraper can read", async () => {
    await fetch(`${hub.origin}/api/connections`);
    await withOrganization(hub.database, "acme", (tx) => append(tx, sampleBatch(randomUUID(), 30)));
    await until(
      "it is published",
      async () => valueOf(await scrape(), "tributary_relay_published_events_total") === 30,
    );
    const text = await scrape();
    for (const line of text.trimEnd().split("\n"))
      expect(line).toMatch(/^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z_]+="[^"\n]*",?)+\})? [-+.\deInf]+)$/);
    const page = readFileSync(join(import.meta.dirname, "../../../docs/OPERATIONS.md"), "utf8");
    const names = [...text.matchAll(/^# TYPE (\w+)/gm)].map(([, name = ""]) => name);
    expect(names.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
    expect(valueOf(text, LEADING)).toBe(1);
    expect(valueOf(text, "tributary_relay_led")).toBe(1);
    expect(valueOf(text, "tributary_backlog_max_bytes")).toBe(10 * 1024 ** 3);
    expect(valueOf(text, "tributary_intake_resting")).toBe(0);
    expect(valueOf(text, "tributary_database_figures_known")).toBe(1);
    expect(valueOf(text, 'tributary_http_requests_total{route="api",status="4xx"}')).toBe(1);
    expect(valueOf(text, "process_resident_memory_bytes")).toBeGreaterThan(50e6);
  });

  it("are to be had on loopback alone, and by its name alone", async () => {
    expect((await fetch(`${hub.origin}/metrics`)).status).toBe(404);
    // Another address of loopback stands for one outside where there is none: the listener has exactly one.
    const others = Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .filter((one) => !one.internal && one.family === "IPv4")
      .map(({ address }) => address);
    for (const address of ["127.0.0.2", ...others])
      await expect(fetch(`http://${address}:${figuresPort}/metrics`)).rejects.toThrow("fetch failed");
    // A page of another site whose name was made to mean this machine.
    const rebound = await new Promise<number | undefined>((resolve, reject) => {
      const options = { host: "127.0.0.1", port: figuresPort, path: "/metrics", headers: { host: "evil.example.com" } };
      request(options, (answer) => resolve(answer.resume().statusCode))
        .on("error", reject)
        .end();
    });
    expect(rebound).toBe(403);
  });

  it("and the health tell why the relay waits and what has piled up; the hub is ready all the same", async () => {
    expect(await health()).toMatchObject({ status: "ok", relay: { state: "leading", held: 0 } });
    await nats.kill();
    await withOrganization(hub.database, "acme", (tx) => append(tx, sampleBatch(randomUUID(), 20)));
    const waiting = 'tributary_relay_state{state="waiting",reason="no_connection"}';
    await until("it says so", async () => {
      const text = await scrape();
      return valueOf(text, waiting) === 1 && valueOf(text, "tributary_backlog_events") === 20;
    });
    expect(valueOf(await scrape(), "tributary_backlog_oldest_timestamp_seconds")).toBeGreaterThan(
      Date.now() / 1_000 - 120,
    );
    expect(await health()).toMatchObject({ relay: { state: "waiting", reason: "no_connection" } });
    expect((await fetch(`${hub.origin}/readyz`)).status).toBe(200);
    await nats.restart();
    await until("it leads again", async () => valueOf(await scrape(), LEADING) === 1);
  });
});
