import { migrate, openPostgres, run } from "@tributary/db";
import { asOwner, type PrivatePostgres } from "@tributary/db/testing";
import { migrations as integrationTables } from "@tributary/integrations";
import { ensurePartitions, migrations as pipelineTables } from "@tributary/pipeline";
import { openStreamSurgeon, type PrivateNats, startPrivateNats, type StreamSurgeon } from "@tributary/pipeline/testing";
import { INBOX_TABLE } from "@tributary/subscriber";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { LARGE_ACCOUNT } from "./change-connector.ts";
import type { Arm, Role } from "./points.ts";
import { type Provider, startProvider } from "./provider.ts";
import { startWorkerProcess, type WorkerProcess } from "./worker-process.ts";

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
  /** What the path must not do: stand still, be led by two. */
  readonly problems: string[];
  /** What makes a trial worth nothing: a process that ended by itself, a point that nobody came to. */
  readonly failures: string[];
  /** How often each moment of each point was reached, and how often a process ended there. */
  readonly reached: Map<string, { times: number; kills: number }>;
  /** Asks the database as its owner; waits while it is down. */
  ask<T>(text: string, params?: readonly unknown[]): Promise<T[]>;
  start(name: string, roles: readonly Role[], arm?: Arm): WorkerProcess;
  workers(): readonly WorkerProcess[];
  effects(): Promise<number>;
  /** Lets time pass for what a dead process held. */
  ageLeases(): Promise<void>;
  ageLeader(): Promise<void>;
  /** Adds changes to every account again and again. */
  load(perSecond: number): () => void;
}

const ACCOUNTS = ["a1", "a2", "a3", "a4", "a5", "a6", "a7", "poisoned", LARGE_ACCOUNT];

const TABLES = [
  "CREATE SCHEMA crash",
  INBOX_TABLE.replace("{table}", "crash.inbox"),
  `CREATE TABLE crash.effect (number bigserial PRIMARY KEY, connection_id uuid NOT NULL, change bigint NOT NULL,
    event_id text NOT NULL, sequence bigint NOT NULL)`,
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

const ASK_ATTEMPTS = 300;

export async function openWorld(options: WorldOptions): Promise<World> {
  const { postgres, opened, compiled, windowMs, plant, poison, silent = false, accounts = ACCOUNTS } = options;
  const nats = await startPrivateNats({ maxPayloadBytes: 65_536 });
  opened.push(() => nats.stop());
  const provider = await startProvider(accounts);
  opened.push(() => provider.stop());
  const databaseUrl = await postgres.createDatabase();
  const owner = openPostgres({ url: databaseUrl, connectionsMax: 3 });
  opened.push(() => owner.close());
  const stream = openStreamSurgeon(nats.url);
  const workers = new Set<WorkerProcess>();
  let over = false;
  opened.push(() => {
    over = true;
    return Promise.all([...workers].map((worker) => worker.kill()));
  });
  const problems: string[] = [];
  const failures: string[] = [];
  const reached: World["reached"] = new Map();
  const ask = async <T>(text: string, params: readonly unknown[] = []): Promise<T[]> => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await asOwner(owner, (tx) => run<T>(tx, text, params));
      } catch (error) {
        // The driver's errors of a socket have no stack: this one says who asked.
        if (attempt === ASK_ATTEMPTS || !isAway(error))
          throw new Error("the database did not answer", { cause: error });
        await sleep(50);
      }
    }
  };
  const connections = new Map(accounts.map((account) => [account, randomUUID() as string]));
  await prepare(databaseUrl, ask, connections);
  await stream.shortWindow(windowMs);

  function start(name: string, roles: readonly Role[], arm?: Arm): WorkerProcess {
    // What was interrupted would replace whom it killed.
    if (over) throw new Error("the world is over");
    const settings = { roles, databaseUrl, natsUrl: nats.url, providerUrl: provider.url, silent };
    const more = { ...(poison === undefined ? {} : { poison }), ...(arm === undefined ? {} : { arm }) };
    const worker = startWorkerProcess({ name, settings: { ...settings, ...more }, plant, compiled });
    workers.add(worker);
    void worker.ended.then(({ at, unexpected, said }) => {
      workers.delete(worker);
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
    problems,
    failures,
    reached,
    ask,
    start,
    workers: () => [...workers],
    effects: async () => Number((await ask<{ n: bigint }>("SELECT count(*) AS n FROM crash.effect"))[0]?.n ?? 0n),
    ageLeases: async () => void (await ask(AGE_LEASES)),
    ageLeader: async () => void (await ask(AGE_LEADER)),
    load: (perSecond) => produce(provider, accounts, perSecond),
  };
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

async function prepare(url: string, ask: World["ask"], connections: ReadonlyMap<string, string>): Promise<void> {
  const database = openPostgres({ url, connectionsMax: 2 });
  await migrate(database, [pipelineTables, integrationTables]);
  await ensurePartitions(database, new Date());
  await database.close();
  for (const statement of TABLES) await ask(statement);
  for (const [account, id] of connections) {
    await ask(CONNECTION, [id, account]);
    await ask(CREDENTIAL, [randomUUID(), id]);
  }
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
