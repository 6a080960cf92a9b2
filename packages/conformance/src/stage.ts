import { asOwner, type Database, migrate, openPglite, run } from "@tributary/db";
import {
  type Connections,
  createConnections,
  createRegistry,
  migrations as integrationTables,
  type Runtime,
} from "@tributary/integrations";
import { append, ensurePartitions, migrations as pipelineTables } from "@tributary/pipeline";
import { type Control, createClock, type SandboxClient } from "@tributary/sandbox";
import type { Connector } from "@tributary/sdk";
import { migrations as vaultTables, openVault } from "@tributary/vault";
import { randomBytes, randomUUID } from "node:crypto";
import { CANARY, canariesInTables, holdsCanaryInside } from "./canary.ts";
import { codeOf } from "./check.ts";
import { type BoundAdapter, bindAdapter, type ConformanceEmulator, type ProviderAdapter } from "./provider-adapter.ts";
import { createWitness, watch, type Witness } from "./watch.ts";

/** Where a connector is proven: the real runtime over a database in memory, and the simulated provider beside it. */
export interface Stage {
  /** As it was given. */
  readonly connector: Connector;
  readonly person: BoundAdapter;
  readonly control: Control<unknown>;
  /** Where the simulated provider listens. */
  readonly origin: string;
  readonly database: Database;
  /** Of the current check. */
  readonly runtime: Runtime;
  readonly connections: Connections;
  readonly witness: Witness;
  /** Everything that was logged or thrown since the last {@link Stage.fresh}. */
  readonly said: unknown[];
  /** Places where a planted secret has shown up, in any check so far. */
  readonly leaks: ReadonlySet<string>;
  /** Looks for planted secrets in what the last check left behind, and starts over: no rows, no grants, the provider's seed. */
  fresh(): Promise<void>;
  /** Looks for planted secrets in every table, in what was said and in what the connector threw. */
  lookForLeaks(): Promise<void>;
  close(): Promise<void>;
}

export interface StageOptions {
  /** With every migration applied, used by one stage at a time. Default: one of its own, in memory. */
  readonly database?: Database;
}

/** Where browsers would reach the hub; nothing listens there. */
export const PUBLIC_ORIGIN = "https://hub.example.com";

/** Nobody listens: deliveries are kept back, and the checks hand them over. */
const WEBHOOK_URL = "http://127.0.0.1:9/webhooks";

/** A database in memory with the tables of every package that a connector can reach. */
export async function openStageDatabase(): Promise<Database> {
  const database = await openPglite();
  await migrate(database, [vaultTables, pipelineTables, integrationTables]);
  await ensurePartitions(database, new Date());
  return database;
}

/** Starts the simulated provider on a free port of loopback, and a runtime that takes it for the real one. */
export async function openStage<World>(
  connector: Connector,
  emulator: ConformanceEmulator<World>,
  adapter: ProviderAdapter<World>,
  options: StageOptions = {},
): Promise<Stage> {
  const database = options.database ?? (await openStageDatabase());
  const client: SandboxClient = {
    clientId: "conformance",
    clientSecret: `${CANARY}client-secret-${randomBytes(8).toString("hex")}`,
    redirectUris: [`${PUBLIC_ORIGIN}/api/integrations/oauth/callback/${connector.id}`],
  };
  const clock = createClock();
  clock.freeze();
  const started = await emulator.start({
    port: 0,
    clock,
    clients: [client],
    tokenPrefix: CANARY,
    webhookUrl: WEBHOOK_URL,
    environment: {},
  });
  const witness = createWitness();
  const watched = watch(connector, witness);
  const leaks = new Set<string>();
  const said: unknown[] = [];
  const unhook = hearConsole(said);
  const keys = keyRing();
  const now = (): Date => clock.now();
  let parts: Pick<Stage, "runtime" | "connections"> | undefined;
  const current = (): Pick<Stage, "runtime" | "connections"> => {
    if (parts === undefined) throw new Error("the stage is used before fresh()");
    return parts;
  };

  const compose = async (): Promise<void> => {
    const vault = await openVault({
      database,
      keys: { value: keys },
      clients: [{ contextId: connector.id, integration: connector.id, ...client }],
      publicOrigin: PUBLIC_ORIGIN,
      origins: new Map(emulator.origins.map((origin) => [origin, started.origin])),
      now,
    });
    const hear = (fields: Readonly<Record<string, unknown>>, message: string): void =>
      void said.push({ message, ...fields });
    const runtime: Runtime = {
      database,
      vault,
      registry: createRegistry([watched]),
      append,
      committed: () => {},
      now,
      uuid: randomUUID,
      random: () => 0.5,
      log: { info: hear, warn: hear, error: hear },
    };
    parts = { runtime, connections: createConnections(runtime, () => {}) };
  };
  const stage: Stage = {
    connector,
    person: bindAdapter(adapter, () => started.control.world),
    control: started.control,
    origin: started.origin,
    database,
    get runtime() {
      return current().runtime;
    },
    get connections() {
      return current().connections;
    },
    witness,
    said,
    leaks,
    fresh: async () => {
      if (parts !== undefined) await stage.lookForLeaks();
      for (const list of [said, witness.errors, witness.asked]) list.splice(0);
      witness.deliveries = 0;
      await truncate(database);
      started.control.reset();
      started.control.deliveries.lose(Infinity);
      await compose();
    },
    lookForLeaks: async () => {
      for (const place of await canariesInTables(database)) leaks.add(place);
      if (holdsCanaryInside(said)) leaks.add("a log line or an error");
      for (const error of witness.errors)
        if (holdsCanaryInside(error)) leaks.add(`an error that the connector threw (${codeOf(error)})`);
      // Without the schemas: a descriptor leads to every contract there is.
      const yielded = witness.yielded.map((one) =>
        one.kind === "signal" ? [one.id, one.revision, one.message] : one.cursor,
      );
      if (holdsCanaryInside(yielded)) leaks.add("a signal or a checkpoint");
    },
    close: async () => {
      unhook();
      await started.stop();
      if (options.database === undefined) await database.close();
    },
  };
  return stage;
}

const TABLES = `
SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') AS names FROM pg_tables
WHERE schemaname IN ('vault', 'pipeline', 'integrations') AND tablename <> 'migration'`;

async function truncate(database: Database): Promise<void> {
  await asOwner(database, async (tx) => {
    const [tables] = await run<{ names: string }>(tx, TABLES);
    await run(tx, `TRUNCATE ${tables?.names ?? ""}`);
  });
}

function keyRing(): string {
  const key = (): string => randomBytes(32).toString("base64url");
  return JSON.stringify({ version: 1, keys: [{ id: "conformance", key: key() }], signingSeed: key() });
}

/** What a connector prints leaves the process as well. @returns how to stop hearing it. */
function hearConsole(said: unknown[]): () => void {
  const terminal = globalThis.console;
  const original = { ...terminal };
  const hear =
    (print: (...words: unknown[]) => void) =>
    (...words: unknown[]): void => {
      said.push(words);
      print(...words);
    };
  const { debug, error, info, log, warn } = original;
  Object.assign(terminal, {
    debug: hear(debug),
    error: hear(error),
    info: hear(info),
    log: hear(log),
    warn: hear(warn),
  });
  return () => void Object.assign(terminal, { debug, error, info, log, warn });
}
