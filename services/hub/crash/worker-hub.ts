import { type Database, openPglite, openPostgres } from "@tributary/db";
import type { Runtime } from "@tributary/integrations";
import type { HandOff } from "@tributary/pipeline";
import { randomUUID } from "node:crypto";
import { HUB_KEY } from "./agreed.ts";
import { watchedDatabase } from "./watch.ts";
import type { WorkerParts } from "./worker.ts";

/** What a hub is: it commits, relays and serves subscribers, or does some of it. */
export async function startHub(parts: WorkerParts): Promise<void> {
  const { settings, roles, closing, told } = parts;
  const { createHandOff } = await import("@tributary/pipeline");
  const database = await openLedger(parts);
  const handOff = await parts.untilItWorks(() => createHandOff({ database, process: randomUUID() }));
  closing.push(["the hand-off", () => handOff.stop()]);
  if (roles.has("relay") && settings.natsUrl !== undefined) {
    const { startRelay } = await import("@tributary/pipeline");
    const { status, stop } = startRelay({ database, handOff, servers: settings.natsUrl });
    told.relay = status;
    closing.push(["the relay", stop]);
  }
  if (!roles.has("commit") && !roles.has("serve")) return;
  const runtime = await openRuntime(parts, database, handOff);
  if (roles.has("serve")) await startServing(parts, runtime, handOff);
  if (!roles.has("commit")) return;
  const { startScheduler } = await import("@tributary/integrations");
  const scheduler = startScheduler(runtime, { concurrency: 4, pollMs: 50 });
  closing.push(["the scheduler", () => scheduler.stop()]);
}

async function openLedger({ settings, tripwire, closing }: WorkerParts): Promise<Database> {
  const { dataDir, databaseUrl: url } = settings;
  const opened = dataDir === undefined ? openPostgres({ url, connectionsMax: 8 }) : await openPglite({ dataDir });
  closing.push(["the database", () => opened.close()]);
  await opened.confine();
  return watchedDatabase(opened, tripwire);
}

async function openRuntime(
  { settings, tripwire }: WorkerParts,
  database: Database,
  handOff: HandOff,
): Promise<Runtime> {
  const { append } = await import("@tributary/pipeline");
  const { createRegistry } = await import("@tributary/integrations");
  const { changeConnector } = await import("./change-connector.ts");
  const quiet = (): void => {};
  const session = {
    fetch: async (url: string) => {
      tripwire.at("commit.fetch", "before");
      const response = await fetch(url, { signal: AbortSignal.timeout(5_000) });
      tripwire.at("commit.fetch", "after");
      return response;
    },
  };
  return {
    database,
    // The provider of the harness wants no credential: of the vault only its way out is here.
    vault: new Proxy(
      {},
      { get: (_, method) => (method === "open" ? () => session : () => Promise.resolve([])) },
    ) as never,
    registry: createRegistry([changeConnector(settings.providerUrl, settings.poison)]),
    append: async (tx, batch) => {
      tripwire.at("commit.append", "before");
      const first = await append(tx, batch);
      tripwire.at("commit.append", "after");
      return first;
    },
    committed: (batch, firstSequence) => {
      tripwire.at("commit.handoff", "before");
      if (settings.silent !== true) handOff.committed(batch, firstSequence);
      tripwire.at("commit.handoff", "after");
    },
    now: () => new Date(),
    uuid: randomUUID,
    random: Math.random,
    log: { info: quiet, warn: quiet, error: quiet },
  };
}

/** What subscribers ask over HTTP, and what looks after dead letters and replays. */
async function startServing({ settings, closing, untilItWorks }: WorkerParts, runtime: Runtime, handOff: HandOff) {
  const { createRpc } = await import("@tributary/api");
  const { createGuard, createServiceKeys } = await import("@tributary/auth");
  const { createConnections } = await import("@tributary/integrations");
  const { createEventStream } = await import("@tributary/pipeline");
  const { openEventServices } = await import("../src/event-services.ts");
  const { serve } = await import("../src/serve.ts");
  const { database, log, now, uuid } = runtime;
  const stream = await untilItWorks(() => createEventStream({ database, handOff }));
  closing.push(["the event stream", () => stream.stop()]);
  const opened: (() => Promise<void> | void)[] = [];
  const config = { natsUrl: settings.natsUrl, organizationId: "acme", replayEventsPerSecond: 5_000 };
  const events = openEventServices(config, { database, stream, log }, opened);
  for (const close of opened) closing.push(["what stands beside the stream", async () => close()]);
  const app = createRpc({
    guard: createGuard({
      serviceKeys: createServiceKeys([{ name: "crash", organizationId: "acme", key: HUB_KEY }]),
      sessions: { authenticate: async () => undefined },
      log: () => {},
      now,
      uuid,
    }),
    origin: `http://127.0.0.1:${settings.hubPort}`,
    stream,
    ...events,
    connections: createConnections(runtime, () => {}),
    runtime,
  });
  // The port may be held for a moment by connections of the process that was killed.
  const listener = await untilItWorks(() =>
    serve((request) => app.fetch(request), { host: "127.0.0.1", port: settings.hubPort ?? 0, setting: "hubPort" }),
  );
  closing.push(["the listener", () => listener.close()]);
}
