import { connectors } from "@tributary/connectors";
import type { Database } from "@tributary/db";
import {
  type Connections,
  createConnections,
  createIngress,
  createRegistry,
  type Ingress,
  type Runtime,
  type Scheduler,
  startScheduler,
} from "@tributary/integrations";
import { append, createEventStream, createHandOff, type EventStream } from "@tributary/pipeline";
import { openVault } from "@tributary/vault";
import type { Dice } from "./dice.ts";
import { type Front, openFront } from "./front.ts";
import { mortalDatabase, type Statement } from "./mortal-database.ts";
import { createProcess, type Process } from "./processes.ts";
import { ORIGINS, PUBLIC_ORIGIN, type Town } from "./town.ts";
import type { Turns } from "./turns.ts";

/** A hub put together as `src/hub.ts` does it, from what its surfaces stand on. */
export interface HubProcess {
  readonly process: Process;
  readonly runtime: Runtime;
  readonly connections: Connections;
  readonly ingress: Ingress;
  readonly scheduler: Scheduler;
  readonly stream: EventStream;
  /** Ends it as an operator would. */
  stop(): Promise<void>;
}

export interface HubParts {
  readonly database: Database;
  /** "postgres": leases run out by themselves. "pglite": it knows itself alone, and takes them back at its start. */
  readonly engine: Database["engine"];
  readonly town: Town;
  readonly turns: Turns;
  readonly dice: Dice;
  /** Hears everything that is logged. */
  readonly hear: (process: Process, fields: Readonly<Record<string, unknown>>, message: string) => void;
}

/** Enough for what was completed before the seed began, in two windows; a year of them would be most of the time. */
const BACKFILL_DAYS = 20;
const POLL_MS = 1_000;

/** The same for every seed: what is sealed with it is of no interest. */
const KEYS = JSON.stringify({
  version: 1,
  keys: [{ id: "simulation", key: Buffer.alloc(32, 7).toString("base64url") }],
  signingSeed: Buffer.alloc(32, 9).toString("base64url"),
});

/** A hub that has yet to start: what it will be, and where it reaches the provider. */
export interface Seat {
  readonly process: Process;
  readonly front: Front;
  /** Undefined until it has started. */
  hub: HubProcess | undefined;
}

export async function takeSeat(name: string, parts: HubParts): Promise<Seat> {
  const process = createProcess(name);
  return { process, front: await openFront(process, parts.town, parts.turns), hub: undefined };
}

/** To be called in its process. */
export async function startHub({ process, front }: Seat, parts: HubParts): Promise<HubProcess> {
  const { turns, town, dice, engine } = parts;
  const committed = (statements: readonly Statement[]): void => noteStored(town, statements);
  const database = mortalDatabase(parts.database, { process, turns, engine, committed });
  const now = (): Date => new Date(town.nowMs());
  const { clientId, clientSecret } = town.client;
  const vault = await openVault({
    database,
    keys: { value: KEYS },
    clients: [{ contextId: "todoist", integration: "todoist", clientId, clientSecret }],
    publicOrigin: PUBLIC_ORIGIN,
    origins: new Map(ORIGINS.map((origin) => [origin, front.origin])),
    now,
    randomUUID: dice.uuid,
  });
  // Within one process that is all there is to hear; what other processes commit is looked for every second.
  const handOff = await createHandOff({ database: { ...database, engine: "pglite" }, process: dice.uuid() });
  const stream = await createEventStream({ database, handOff, clock: town.nowMs, uuid: dice.uuid });
  const say = (fields: Readonly<Record<string, unknown>>, message: string): void => {
    if (!process.dead) parts.hear(process, fields, message);
  };
  const runtime: Runtime = {
    database,
    vault,
    registry: createRegistry(
      connectors.map((one) => ({ ...one, manifest: { ...one.manifest, backfillDays: BACKFILL_DAYS } })),
    ),
    append,
    committed: handOff.committed,
    now,
    uuid: dice.uuid,
    random: dice.random,
    log: { info: say, warn: say, error: say },
  };
  const scheduler = startScheduler(runtime, { pollMs: POLL_MS, concurrency: 4 });
  return {
    process,
    runtime,
    connections: createConnections(runtime, scheduler.nudge),
    ingress: createIngress(runtime),
    scheduler,
    stream,
    stop: async () => {
      await scheduler.stop();
      await stream.stop();
      await handOff.stop();
    },
  };
}

const STORED = /^\s*UPDATE vault\.credential_grant\s+SET generation = /;
/** Of the statement's parameters, the owner's id. */
const OWNER = 4;

/** A renewed refresh token is stored: from here on nobody has a reason to use the one before it. */
function noteStored(town: Town, statements: readonly Statement[]): void {
  for (const { text, params } of statements) {
    if (!STORED.test(text)) continue;
    const account = town.accounts[Number(String(params[OWNER]).split("-")[1])];
    if (account !== undefined) account.rotating = false;
  }
}
