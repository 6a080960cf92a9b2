import { createApi } from "@tributary/api";
import { connectors } from "@tributary/connectors";
import { type Database, migrate, openPostgres, run, runLast } from "@tributary/db";
import { asOwner, freePort, startPrivatePostgres } from "@tributary/db/testing";
import { createIngress, createRegistry, migrations as integrationTables, type Runtime } from "@tributary/integrations";
import { migrations as pipelineTables } from "@tributary/pipeline";
import { createKeyFile, migrations as vaultTables, openVault } from "@tributary/vault";
import { Hono } from "hono";
import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { serve } from "../src/serve.ts";
import type { Load, Loaded } from "./load-worker.ts";

/**
 * POST /webhooks/… over HTTP on loopback: verified, durable, and the connection that it concerns made due, before the
 * answer. The ceiling is Hono on the same listener, the HMAC and an INSERT of the delivery's id, committed in groups and in
 * one round trip as ours are. 64 connections from a thread that shares the two cores.
 */
const SECRET = "0123456789abcdef0123456789abcdef";
const PATH = "/webhooks/todoist/todoist";
const ACCOUNTS = 500;
const WARM_UP = 300;
const REQUESTS = 3_000;
const SOCKETS = 64;

/** How many requests a second go through when each connection sends its next as soon as it has an answer. */
export const measureRate = (): Promise<{ ours: number; ceiling: number }> =>
  withApps(async ({ ours, bare }) => ({ ours: await rateOf(ours), ceiling: await rateOf(bare) }));

/**
 * The 99th percentile at half of the rate that was measured a moment before, in milliseconds: of 3,000 requests, each
 * counted from when it was due to be sent. The ceiling is the bare one's at the same rate as ours.
 */
export const measureHalfLoad = (): Promise<{ ours: number; ceiling: number }> =>
  withApps(async ({ ours, bare }) => {
    const perSecond = (await rateOf(ours)) / 2;
    const tail = async (app: App): Promise<number> => (await load(app, { requests: REQUESTS, perSecond })).p99Ms;
    return { ours: await tail(ours), ceiling: await tail(bare) };
  });

const rateOf = async (app: App): Promise<number> => (REQUESTS / (await load(app, { requests: REQUESTS })).ms) * 1000;

async function withApps<T>(work: (apps: { readonly ours: App; readonly bare: App }) => Promise<T>): Promise<T> {
  const server = await startPrivatePostgres();
  const folder = mkdtempSync(join(tmpdir(), "tributary-bench-"));
  const database = openPostgres({ url: server.url });
  try {
    await migrate(database, [vaultTables, pipelineTables, integrationTables]);
    await asOwner(database, (tx) => run(tx, CONNECTIONS, [ACCOUNTS]));
    const apps = { ours: await ourApi(database, join(folder, "keys.json")), bare: bareApp(database) };
    // Thrown away: both are compiled and their statements are prepared.
    for (const app of [apps.ours, apps.bare]) await load(app, { requests: WARM_UP });
    const before = sent;
    const result = await work(apps);
    const [kept] = await asOwner(database, (tx) =>
      run<{ count: bigint }>(tx, "SELECT count(*) FROM integrations.delivery"),
    );
    if (kept?.count !== BigInt(sent - before + 2 * WARM_UP)) throw new Error(`${kept?.count} deliveries were kept`);
    return result;
  } finally {
    await database.close();
    await server.stop();
    rmSync(folder, { recursive: true });
  }
}

let sent = 0;

const CONNECTIONS = `
INSERT INTO integrations.connection (id, organization_id, integration, owner_kind, owner_id, account_id, account_label,
  api_version, state, backfill_from, due_at)
SELECT gen_random_uuid(), 'acme', 'todoist', 'user', 'u' || n, 'a' || n, 'x', 'v1', 'connected', now(), now()
FROM generate_series(1, $1::int) AS n`;

type App = { fetch(request: Request): Response | Promise<Response> };

async function ourApi(database: Database, keyFile: string): Promise<App> {
  await createKeyFile(keyFile);
  const vault = await openVault({
    database,
    keys: { file: keyFile },
    clients: [{ integration: "todoist", contextId: "todoist", clientId: "bench", clientSecret: SECRET }],
    publicOrigin: "http://127.0.0.1",
  });
  const ignore = (): void => {};
  const runtime = {
    database,
    vault,
    registry: createRegistry(connectors),
    uuid: randomUUID,
    now: () => new Date(),
    log: { info: ignore, warn: ignore, error: ignore },
  } as unknown as Runtime;
  const rest = {
    connections: {},
    ingress: createIngress(runtime),
    authenticator: {},
    origin: "http://127.0.0.1",
    sandbox: false,
    nudge: ignore,
  };
  const api = createApi({ runtime, ...rest } as unknown as Parameters<typeof createApi>[0]);
  return { fetch: (request) => api.fetch(request) };
}

const INSERT = `
INSERT INTO integrations.delivery (context_id, delivery_id, integration)
SELECT 'todoist', id, 'todoist' FROM jsonb_array_elements_text($1::jsonb) AS x (id) ON CONFLICT DO NOTHING`;

function bareApp(database: Database): App {
  const app = new Hono();
  let group: { readonly id: string; readonly resolve: () => void }[] = [];
  let busy = false;
  const drain = async (): Promise<void> => {
    busy = true;
    while (group.length > 0) {
      const now = group;
      group = [];
      await asOwner(database, (tx) => runLast(tx, INSERT, [JSON.stringify(now.map(({ id }) => id))]));
      for (const { resolve } of now) resolve();
    }
    busy = false;
  };
  app.post(PATH, async (c) => {
    const body = new Uint8Array(await c.req.arrayBuffer());
    const signature = Buffer.from(c.req.header("x-todoist-hmac-sha256") ?? "", "base64");
    const expected = createHmac("sha256", SECRET).update(body).digest();
    if (signature.length !== expected.length || !timingSafeEqual(signature, expected)) return c.body(null, 401);
    await new Promise<void>((resolve) => {
      group.push({ id: c.req.header("x-todoist-delivery-id") ?? "", resolve });
      if (!busy) void drain();
    });
    return c.body(null, 200);
  });
  return { fetch: (request) => app.fetch(request) };
}

async function load(app: App, { requests, perSecond }: Pick<Load, "requests" | "perSecond">): Promise<Loaded> {
  const port = await freePort();
  const listener = await serve((request) => app.fetch(request), { host: "127.0.0.1", port, setting: "TRIBUTARY_PORT" });
  const pace = perSecond === undefined ? {} : { perSecond };
  const data: Load = { port, path: PATH, secret: SECRET, accounts: ACCOUNTS, requests, sockets: SOCKETS, ...pace };
  sent += requests;
  try {
    return await new Promise<Loaded>((resolve, reject) => {
      const worker = new Worker(new URL("./load-worker.ts", import.meta.url), { workerData: data });
      worker.once("message", resolve).once("error", reject);
      worker.once("exit", () => reject(new Error("the load ended without an answer")));
    });
  } finally {
    await listener.close();
  }
}
