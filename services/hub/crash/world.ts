import { consumerKnownAs } from "@tributary/contracts";
import { type Database, migrate, openPglite, openPostgres, run } from "@tributary/db";
import { asOwner, freePort, type PrivatePostgres } from "@tributary/db/testing";
import { migrations as integrationTables } from "@tributary/integrations";
import { ensurePartitions, migrations as pipelineTables } from "@tributary/pipeline";
import { openStreamSurgeon, type PrivateNats, startPrivateNats, type StreamSurgeon } from "@tributary/pipeline/testing";
import { INBOX_TABLE } from "@tributary/subscriber";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Again, openAgain } from "./again.ts";
import { LARGE_ACCOUNT } from "./change-connector.ts";
import type { Road, Role } from "./points.ts";
import { type Provider, startProvider } from "./provider.ts";
import type { Arm } from "./watch.ts";
import { openWires, type Wires } from "./wires.ts";
import { startWorkerProcess, type WorkerProcess } from "./worker-process.ts";
import type { WorkerSettings } from "./worker.ts";

export interface WorldOptions {
  readonly postgres: PrivatePostgres;
  /** What has to be closed, newest last: the caller's, who closes it when this process is told to end. */
  readonly opened: (() => Promise<unknown>)[];
  /** A folder of the caller's, see {@link startWorkerProcess}. */
  readonly compiled: string;
  /** Accounts, each with a connection. Default: ten, and the large one. */
  readonly accounts?: readonly string[];
  /** How long the broker remembers message ids. */
  readonly windowMs: number;
  readonly plant?: string | undefined;
  /** The change of the account "poisoned" that the broker does not take. */
  readonly poison?: number;
  readonly silent?: boolean;
  /** Over which the subscriber reads. "http": there is no broker. Default "nats". */
  readonly road?: Road;
  /** What the hub keeps its ledger in; effects are always in PostgreSQL. Default "postgres". */
  readonly engine?: Database["engine"];
  /** Whether bytes between processes and their servers can be held up and lost. Over HTTP those to the hub always can. */
  readonly wired?: boolean;
  /** Whether events die and are redriven, and are replayed; a hub has to be in the crew. */
  readonly mortal?: boolean;
  /** Whether writers append to the connections, instead of runs. */
  readonly written?: boolean;
}

/** Servers, a provider, connections, and processes that come and go. */
export interface World {
  readonly postgres: PrivatePostgres;
  readonly nats: PrivateNats;
  readonly stream: StreamSurgeon;
  readonly provider: Provider;
  /** Connection ids by account. */
  readonly connections: ReadonlyMap<string, string>;
  readonly poison: number | undefined;
  readonly road: Road;
  readonly wires: Wires;
  /** Whether writers append events, and the provider has nothing to say. */
  readonly written: boolean;
  /** Dead letters and replays, where there are some. */
  readonly again: Again | undefined;
  /** What the path must not do: stand still, be led by two. */
  readonly problems: string[];
  /** What makes a trial worth nothing: a process that ended by itself, a point that nobody came to. */
  readonly failures: string[];
  /** How often each moment of each point was reached, and how often a process ended there. */
  readonly reached: Map<string, { times: number; kills: number }>;
  /** Asks the database of the effects as its owner; waits while it is down. */
  ask<T>(text: string, params?: readonly unknown[]): Promise<T[]>;
  /** Asks the ledger's database. A PGlite answers only when no process has it. */
  askLedger<T>(text: string, params?: readonly unknown[]): Promise<T[]>;
  /** Whether the ledger can be asked while processes run. */
  readonly ledgerIsShared: boolean;
  /** @param held it begins when it is let go. */
  start(name: string, roles: readonly Role[], arm?: Arm, held?: boolean): WorkerProcess;
  workers(): readonly WorkerProcess[];
  effects(): Promise<number>;
  /**
   * Lets time pass for what dead processes of such roles held, as soon as nothing that they sent can be committed any more:
   * what a process asks for with its last breath is granted when it is dead.
   */
  age(roles: readonly Role[]): Promise<void>;
  /** Adds changes to every account again and again. */
  load(perSecond: number): () => void;
}

const ACCOUNTS = ["a1", "a2", "a3", "a4", "a5", "a6", "a7", "poisoned", LARGE_ACCOUNT];

const TABLES = [
  "CREATE SCHEMA crash",
  INBOX_TABLE.replace("{table}", "crash.inbox"),
  `CREATE TABLE crash.effect (number bigserial PRIMARY KEY, connection_id uuid NOT NULL, change bigint NOT NULL,
    event_id text NOT NULL, sequence bigint NOT NULL, replay_id text NOT NULL, redrive int NOT NULL)`,
  "CREATE INDEX ON crash.effect (connection_id, change)",
];

const CONNECTION = `
INSERT INTO integrations.connection (id, organization_id, integration, owner_kind, owner_id, account_id, account_label,
  api_version, state, backfill_from, due_at)
VALUES ($1::uuid, 'acme', 'crash', 'user', 'u', $2, 'x', 'v1', 'connected', now(), now())`;

const CREDENTIAL = `
INSERT INTO integrations.credential (id, connection_id, organization_id, integration, secret_ids, granted_scopes, meta)
VALUES ($1, $2, 'acme', 'crash', '{}', '{}', '{"v": "1"}')`;

/** Past its end a lease is anybody's; the token says who still has it. A frozen process may hold rows: they are left. */
const AGE_LEASES = `
UPDATE integrations.connection SET lease_until = now() - interval '1 second', due_at = now() - interval '1 second'
WHERE id IN (SELECT id FROM integrations.connection WHERE lease_until IS NOT NULL FOR UPDATE SKIP LOCKED)`;

const AGE_LEADER = `
UPDATE pipeline.relay_leader SET until = now() - interval '1 second'
WHERE stream IN (SELECT stream FROM pipeline.relay_leader FOR UPDATE SKIP LOCKED)`;

const AGE_CONSUMERS = "UPDATE pipeline.consumer SET until = now() - interval '1 second' WHERE holder IS NOT NULL";
const AGE_REPLAYS = "UPDATE pipeline.replay SET lease_until = now() - interval '1 second' WHERE state = 'running'";

/** What a process of a role holds for a while. */
const AGES: Readonly<Record<Role, readonly string[]>> = {
  commit: [AGE_LEASES],
  relay: [AGE_LEADER],
  serve: [AGE_CONSUMERS, AGE_REPLAYS],
  subscribe: [],
  append: [],
};

/** A server hears that a client is gone behind everything that it said, and ends what was its connection then. */
const CONNECTED = `
SELECT DISTINCT application_name AS name FROM pg_stat_activity
WHERE datname = current_database() AND application_name = ANY ($1::text[])`;

const GONE_MS_MAX = 30_000;

const ASK_ATTEMPTS = 300;

export async function openWorld(options: WorldOptions): Promise<World> {
  const { postgres, opened, compiled, windowMs, plant, poison, accounts = ACCOUNTS } = options;
  const { silent = false, road = "nats", engine = "postgres", mortal = false, written = false } = options;
  const nats = await startPrivateNats({ maxPayloadBytes: 65_536 });
  opened.push(() => nats.stop());
  const provider = await startProvider(accounts);
  opened.push(() => provider.stop());
  const databaseUrl = await postgres.createDatabase();
  const owner = openPostgres({ url: databaseUrl, connectionsMax: 3 });
  opened.push(() => owner.close());
  const stream = openStreamSurgeon(nats.url);
  const hubPort = await freePort();
  const wires = await openWires(options.wired === true, {
    database: postgres.port,
    ...(road === "nats" ? { broker: nats.port } : { hub: hubPort }),
  });
  opened.push(() => wires.close());
  const workers = new Set<WorkerProcess>();
  /** What the connections of those were called that have ended, and may still be there. */
  const ended = new Set<string>();
  let started = 0;
  let over = false;
  opened.push(() => {
    over = true;
    return Promise.all([...workers].map((worker) => worker.kill()));
  });
  const problems: string[] = [];
  const failures: string[] = [];
  const reached: World["reached"] = new Map();
  const ask = <T>(text: string, params: readonly unknown[] = []): Promise<T[]> => asked<T>(owner, text, params);
  const connections = new Map(accounts.map((account) => [account, randomUUID() as string]));
  for (const statement of TABLES) await ask(statement);
  const ledger = engine === "postgres" ? sharedLedger(databaseUrl, ask) : ownLedger(opened);
  await prepare(ledger, connections);
  await stream.shortWindow(windowMs);
  if (mortal && road === "nats") await stream.quickLetters();

  function start(name: string, roles: readonly Role[], arm?: Arm, held = false): WorkerProcess {
    // What was interrupted would replace whom it killed.
    if (over) throw new Error("the world is over");
    const called = `crash-${++started}`;
    const settings: WorkerSettings = {
      roles,
      providerUrl: provider.url,
      silent,
      mortal,
      held,
      databaseUrl: `${through(databaseUrl, wires.port(name, "database"))}?application_name=${called}`,
      ...(ledger.dataDir === undefined ? {} : { dataDir: ledger.dataDir }),
      ...(road === "nats"
        ? { natsUrl: through(nats.url, wires.port(name, "broker")) }
        : { hubUrl: `http://127.0.0.1:${wires.port(name, "hub")}` }),
      ...(roles.includes("serve") ? { hubPort } : {}),
      ...(roles.includes("append") ? { connectionIds: [...connections.values()] } : {}),
      ...(poison === undefined ? {} : { poison }),
      ...(arm === undefined ? {} : { arm }),
    };
    const worker = startWorkerProcess({ name, settings, plant, compiled });
    workers.add(worker);
    void worker.ended.then(({ at, unexpected, said }) => {
      workers.delete(worker);
      ended.add(called);
      for (const [point, times] of Object.entries(worker.status.reached)) count(reached, point, times, 0);
      if (at !== undefined) count(reached, at, 1, 1);
      if (unexpected) failures.push(`${name} ended by itself: ${said.trim().split("\n").slice(-6).join(" | ")}`);
    });
    return worker;
  }

  return {
    postgres,
    nats,
    stream,
    provider,
    connections,
    poison,
    road,
    wires,
    written,
    // Over the broker its subscriber hears every organisation.
    again: mortal
      ? openAgain(`http://127.0.0.1:${hubPort}`, road === "nats" ? consumerKnownAs("crash") : "crash")
      : undefined,
    problems,
    failures,
    reached,
    ask,
    askLedger: ledger.ask,
    ledgerIsShared: engine === "postgres",
    start,
    workers: () => [...workers],
    effects: async () => Number((await ask<{ n: bigint }>("SELECT count(*) AS n FROM crash.effect"))[0]?.n ?? 0n),
    age: async (roles) => {
      // A PGlite's processes look after that themselves: there is only one at a time.
      if (engine !== "postgres") return;
      await untilGone(ended, ask);
      for (const statement of roles.flatMap((role) => AGES[role])) await ask(statement);
    },
    load: (perSecond) => produce(provider, accounts, perSecond),
  };
}

/** The same server, by way of another port. */
function through(url: string, port: number): string {
  const changed = new URL(url);
  changed.port = String(port);
  return changed.href;
}

/** @param names of connections; those that are gone are taken out. One that lingers is not waited for for ever. */
async function untilGone(names: Set<string>, ask: World["ask"]): Promise<void> {
  const started = performance.now();
  while (names.size > 0 && performance.now() - started < GONE_MS_MAX) {
    const known = [...names];
    const left = new Set((await ask<{ name: string }>(CONNECTED, [known])).map(({ name }) => name));
    for (const name of known) if (!left.has(name)) names.delete(name);
    if (left.size > 0) await sleep(10);
  }
}

interface Ledger {
  readonly ask: World["ask"];
  /** Where it is, if it is a PGlite. */
  readonly dataDir?: string;
  /** Opens it, for the one who prepares it, who closes it. */
  open(): Promise<Database>;
}

const sharedLedger = (url: string, ask: World["ask"]): Ledger => ({
  ask,
  open: async () => openPostgres({ url, connectionsMax: 2 }),
});

function ownLedger(opened: WorldOptions["opened"]): Ledger {
  const dataDir = mkdtempSync(join(tmpdir(), "tributary-crash-ledger-"));
  opened.push(async () => rmSync(dataDir, { recursive: true, force: true }));
  let opening: Promise<Database> | undefined;
  const open = (): Promise<Database> => openPglite({ dataDir });
  return {
    dataDir,
    open,
    ask: async (text, params = []) => {
      if (opening === undefined) opened.push(() => opening?.then((database) => database.close()) ?? Promise.resolve());
      opening ??= open();
      return asOwner(await opening, (tx) => run(tx, text, params));
    },
  };
}

async function asked<T>(owner: Database, text: string, params: readonly unknown[]): Promise<T[]> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await asOwner(owner, (tx) => run<T>(tx, text, params));
    } catch (error) {
      // The driver's errors of a socket have no stack: this one says who asked.
      if (attempt === ASK_ATTEMPTS || !isAway(error)) throw new Error("the database did not answer", { cause: error });
      await sleep(50);
    }
  }
}

const AWAY = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "CONNECTION_CLOSED",
  "CONNECTION_ENDED",
  "57P01",
  "57P02",
  "57P03",
]);

function isAway(error: unknown): boolean {
  for (let each = error as ErrorOptions & { code?: string }; typeof each === "object"; each = each.cause as never)
    if (AWAY.has(each.code ?? "")) return true;
  return false;
}

function count(reached: World["reached"], point: string, times: number, kills: number): void {
  const before = reached.get(point) ?? { times: 0, kills: 0 };
  reached.set(point, { times: before.times + times, kills: before.kills + kills });
}

async function prepare(ledger: Ledger, connections: ReadonlyMap<string, string>): Promise<void> {
  const database = await ledger.open();
  await migrate(database, [pipelineTables, integrationTables]);
  await ensurePartitions(database, new Date());
  await asOwner(database, async (tx) => {
    for (const [account, id] of connections) {
      await run(tx, CONNECTION, [id, account]);
      await run(tx, CREDENTIAL, [randomUUID(), id]);
    }
  });
  await database.close();
}

const TICK_MS = 40;

function produce(provider: Provider, accounts: readonly string[], perSecond: number): () => void {
  let owed = 0;
  let ticks = 0;
  const timer = setInterval(() => {
    owed += (perSecond * TICK_MS) / 1_000;
    for (ticks++; owed >= 1; owed -= 1) {
      const account = accounts[Math.floor(Math.random() * accounts.length)] ?? "";
      if (account !== LARGE_ACCOUNT) provider.add(account, 1);
    }
    // A burst now and then, longer than one transaction takes.
    if (ticks % 300 === 30 && accounts.includes(LARGE_ACCOUNT)) provider.add(LARGE_ACCOUNT, 620);
  }, TICK_MS);
  return () => clearInterval(timer);
}
