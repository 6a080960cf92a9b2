// A process of the harness: the real packages, put together as the hub puts them together, with what is handed in to them
// watched. It ends itself where it is armed to, and when whoever started it is gone.
import { openPostgres, run } from "@tributary/db";
import type { Runtime } from "@tributary/integrations";
import type { HandOff, Relay } from "@tributary/pipeline";
import type { EventContext, Subscription } from "@tributary/subscriber";
import { randomUUID } from "node:crypto";
import { writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { type Arm, createTripwire, type Role, watchBroker, watchedDatabase } from "./points.ts";

export interface WorkerSettings {
  readonly roles: readonly Role[];
  readonly databaseUrl: string;
  readonly natsUrl: string;
  readonly providerUrl: string;
  /** See {@link changeConnector}. */
  readonly poison?: number;
  /** Commits without telling anybody: the relay has to look for itself. */
  readonly silent?: boolean;
  readonly arm?: Arm;
}

/** What a worker says of itself, ten times a second. */
export interface WorkerStatus {
  readonly ready: boolean;
  readonly relay?: string;
  readonly published: number;
  readonly handled: number;
  readonly deadLetters: number;
  readonly reached: Readonly<Record<string, number>>;
}

const settings = JSON.parse(process.env["CRASH_WORKER"] ?? "") as WorkerSettings;
const roles = new Set(settings.roles);
const tripwire = createTripwire(settings.arm);
watchBroker(Number(new URL(settings.natsUrl).port), roles, tripwire);

let relay: Relay | undefined;
let subscription: Subscription | undefined;
let ready = false;
/** In the order in which they were opened; the name says what an end hangs on. */
const closing: (readonly [string, () => Promise<unknown>])[] = [];

process.on("disconnect", () => process.exit(1));
process.on("message", (arm: Arm) => tripwire.arm(arm));
process.once("SIGTERM", () => {
  void (async () => {
    for (const [name, close] of closing.toReversed()) {
      writeSync(2, `closing ${name}\n`);
      await close();
    }
    tell();
    process.disconnect();
    process.exit(0);
  })();
});
setInterval(tell, 100).unref();

if (roles.has("commit") || roles.has("relay")) await startHub();
if (roles.has("subscribe")) await startSubscriber();
ready = true;
tell();

function tell(): void {
  const stats = subscription?.stats();
  const status: WorkerStatus = {
    ready,
    ...(relay === undefined ? {} : { relay: relay.status().state }),
    published: relay?.status().published ?? 0,
    handled: stats?.handled ?? 0,
    deadLetters: stats?.deadLetters ?? 0,
    reached: tripwire.reached,
  };
  if (process.connected) process.send?.(status);
}

/** A server that is down when a process starts is up a moment later: a supervisor would start the process again. */
async function untilItWorks<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (attempt === 200) throw error;
      await sleep(100);
    }
  }
}

/** Only what a role needs is loaded: processes are started some hundred times. */
async function startHub(): Promise<void> {
  const { createHandOff, startRelay } = await import("@tributary/pipeline");
  const opened = openPostgres({ url: settings.databaseUrl, connectionsMax: 8 });
  closing.push(["the database", () => opened.close()]);
  await opened.confine();
  const database = watchedDatabase(opened, tripwire);
  const handOff = await untilItWorks(() => createHandOff({ database, process: randomUUID() }));
  closing.push(["the hand-off", () => handOff.stop()]);
  if (roles.has("relay")) {
    relay = startRelay({ database, handOff, servers: settings.natsUrl });
    const { stop } = relay;
    closing.push(["the relay", stop]);
  }
  if (!roles.has("commit")) return;
  const { startScheduler } = await import("@tributary/integrations");
  const scheduler = startScheduler(await runtime(database, handOff), { concurrency: 4, pollMs: 50 });
  closing.push(["the scheduler", () => scheduler.stop()]);
}

async function runtime(database: Runtime["database"], handOff: HandOff): Promise<Runtime> {
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

const EFFECT = "INSERT INTO crash.effect (connection_id, change, event_id, sequence) VALUES ($1, $2, $3, $4)";

interface Tx {
  query(text: string, parameters: unknown[]): Promise<{ rows: object[] }>;
}

async function startSubscriber(): Promise<void> {
  const { TaskChangedSchema, TaskCompletedSchema } = await import("@tributary/contracts");
  const { postgresInbox, retry, subscribe } = await import("@tributary/subscriber");
  const opened = openPostgres({ url: settings.databaseUrl, connectionsMax: 8 });
  closing.push(["the database", () => opened.close()]);
  const database = watchedDatabase(opened, tripwire);
  const inbox = postgresInbox<Tx>({
    consumer: "crash",
    table: "crash.inbox",
    transaction: (work) =>
      database.transaction((tx) =>
        work({ query: async (text, parameters) => ({ rows: await run<object>(tx, text, parameters) }) }),
      ),
  });
  const handle = async ({ task }: { task?: { title: string } | undefined }, context: EventContext<Tx>) => {
    const change = Number.parseInt(task?.title ?? "", 10);
    // Now and then a service fails, and what follows in its connection waits.
    if (change % 41 === 0 && context.attempt === 1) throw retry(20);
    await context.tx.query(EFFECT, [context.connectionId, change, context.id, context.sequence]);
  };
  subscription = await untilItWorks(() =>
    subscribe<Tx>({
      url: settings.natsUrl,
      name: "crash",
      inbox,
      window: 500,
      ackWaitMs: 1_000,
      attemptsMax: 1_000_000,
      backoffMs: { first: 20, longest: 500 },
    })
      .on(TaskChangedSchema, handle)
      .on(TaskCompletedSchema, handle)
      .start(),
  );
  const { stop } = subscription;
  closing.push(["the subscription", () => stop(2_000)]);
}
