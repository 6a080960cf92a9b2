// A process of the harness: the real packages, put together as the hub puts them together, with what is handed in to them
// watched. It ends itself where it is armed to, and when whoever started it is gone.
import { writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Role } from "./points.ts";
import { type Arm, createTripwire, type Tripwire, watchSockets } from "./watch.ts";

export interface WorkerSettings {
  readonly roles: readonly Role[];
  /** Where effects are, and the ledger. */
  readonly databaseUrl: string;
  /** Where the ledger is instead, in a PGlite of the hub's own. */
  readonly dataDir?: string;
  /** Absent: there is no broker. */
  readonly natsUrl?: string;
  /** Where a hub answers; absent: subscribers read from the broker. */
  readonly hubUrl?: string;
  /** Where the hub listens that this process is. */
  readonly hubPort?: number;
  readonly providerUrl: string;
  /** See {@link changeConnector}. */
  readonly poison?: number;
  /** Commits without telling anybody: the relay has to look for itself. */
  readonly silent?: boolean;
  /** Some events die and have their effect only when they are delivered again. */
  readonly mortal?: boolean;
  /** Connections that a writer appends to. */
  readonly connectionIds?: readonly string[];
  readonly arm?: Arm;
  /** Loads what it needs and waits until it is let go: so the next one is there when the one before it dies. */
  readonly held?: boolean;
}

/** What a worker is told after its start. */
export type WorkerOrder = { readonly arm: Arm } | "go";

/** What a worker says of itself, ten times a second. */
export interface WorkerStatus {
  readonly ready: boolean;
  readonly relay?: string;
  readonly published: number;
  readonly handled: number;
  readonly deadLetters: number;
  /** Transactions of a writer that the database refused. */
  readonly refused: number;
  readonly reached: Readonly<Record<string, number>>;
}

/** What the parts of a worker share. */
export interface WorkerParts {
  readonly settings: WorkerSettings;
  readonly roles: ReadonlySet<Role>;
  readonly tripwire: Tripwire;
  /** In the order in which they were opened; the name says what an end hangs on. */
  readonly closing: (readonly [string, () => Promise<unknown> | void])[];
  /** A server that is down when a process starts is up a moment later: a supervisor would start the process again. */
  untilItWorks<T>(work: () => Promise<T>): Promise<T>;
  /** Counts for {@link WorkerStatus}. */
  readonly told: { relay?: () => { state: string; published: number }; stats?: () => Handled; refused?: () => number };
}

interface Handled {
  readonly handled: number;
  readonly deadLetters: number;
}

const NEEDS: Readonly<Record<Role, readonly string[]>> = {
  commit: ["./worker-hub.ts", "@tributary/pipeline", "@tributary/integrations", "./change-connector.ts"],
  relay: ["./worker-hub.ts", "@tributary/pipeline"],
  serve: ["./worker-hub.ts", "@tributary/api", "@tributary/auth", "../src/event-services.ts", "../src/serve.ts"],
  subscribe: ["./worker-subscriber.ts"],
  append: ["./worker-writer.ts"],
};

const settings = JSON.parse(process.env["CRASH_WORKER"] ?? "") as WorkerSettings;
const roles = new Set(settings.roles);
const tripwire = createTripwire(settings.arm);
const portsOf = (...urls: readonly (string | undefined)[]): Set<number> =>
  new Set(urls.flatMap((url) => (url === undefined ? [] : [Number(new URL(url).port)])));
watchSockets(
  {
    to: portsOf(settings.natsUrl, settings.hubUrl),
    on: new Set(settings.hubPort === undefined ? [] : [settings.hubPort]),
  },
  roles,
  tripwire,
);

let ready = false;
const parts: WorkerParts = { settings, roles, tripwire, closing: [], untilItWorks, told: {} };

process.on("disconnect", () => process.exit(1));
const letGo = Promise.withResolvers<void>();
process.on("message", (order: WorkerOrder) => {
  if (order === "go") letGo.resolve();
  else tripwire.arm(order.arm);
});
process.once("SIGTERM", () => {
  void (async () => {
    for (const [name, close] of parts.closing.toReversed()) {
      writeSync(2, `closing ${name}\n`);
      await close();
    }
    tell();
    process.disconnect();
    process.exit(0);
  })();
});
setInterval(tell, 100).unref();

if (settings.held === true) {
  await Promise.all([...roles].flatMap((role) => NEEDS[role].map((name) => import(name) as Promise<unknown>)));
  await letGo.promise;
}
// Only what a role needs is loaded: processes are started some hundred times.
if (roles.has("commit") || roles.has("relay") || roles.has("serve"))
  await (await import("./worker-hub.ts")).startHub(parts);
if (roles.has("append")) await (await import("./worker-writer.ts")).startWriter(parts);
if (roles.has("subscribe")) await (await import("./worker-subscriber.ts")).startSubscriber(parts);
ready = true;
tell();

function tell(): void {
  const { relay, stats } = parts.told;
  const { handled, deadLetters } = stats?.() ?? { handled: 0, deadLetters: 0 };
  const { state, published } = relay?.() ?? { state: undefined, published: 0 };
  const refused = parts.told.refused?.() ?? 0;
  const counts = { published, handled, deadLetters, refused, reached: tripwire.reached };
  const status: WorkerStatus = { ready, ...(state === undefined ? {} : { relay: state }), ...counts };
  if (process.connected) process.send?.(status);
}

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
