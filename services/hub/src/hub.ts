import { createApi, createRpc, EVENT_RETENTION_DAYS } from "@tributary/api";
import {
  type Auth,
  createAuth,
  createGuard,
  createServiceKeys,
  createTokens,
  erasePeople,
  migrations as authTables,
} from "@tributary/auth";
import { connectors } from "@tributary/connectors";
import { type Database, migrate, openPglite, openPostgres, RowSecurityError } from "@tributary/db";
import {
  createConnections,
  createIngress,
  createRegistry,
  migrations as integrationTables,
  moveAllPlaintext,
  replayErasures,
  type Runtime,
  startScheduler,
} from "@tributary/integrations";
import {
  append,
  createEventStream,
  createEventTail,
  createHandOff,
  eraseMessages,
  type EventTail,
  migrations as pipelineTables,
  trimDeadLetters,
  trimReplays,
} from "@tributary/pipeline";
import { migrations as vaultTables, openAuditor, openVault, VaultError } from "@tributary/vault";
import { apiOver, createPages } from "@tributary/web-service";
import { Hono } from "hono";
import { randomUUID } from "node:crypto";
import { exportHeads, HEADS_FILE } from "./audit-heads.ts";
import { type Config, ConfigError, keySourceOf } from "./config.ts";
import { type DataFolder, openDataFolder } from "./data-folder.ts";
import { type EventServices, openEventServices } from "./event-services.ts";
import { healthRoutes } from "./health.ts";
import { createLog } from "./log.ts";
import { ownSecret } from "./own-secret.ts";
import { auditPeople, firstAdminLink, openPeople, organizationOf } from "./people.ts";
import type { Progress } from "./progress.ts";
import { type Publishing, startPublishing } from "./publishing.ts";
import { type Sandbox, startSandbox } from "./sandbox.ts";
import { serve } from "./serve.ts";
import { startUpkeep } from "./upkeep.ts";

/** A running hub. */
export interface Hub {
  readonly origin: string;
  readonly database: Database;
  /** A key with which a program on this machine may subscribe: for the sample, and for whoever can read the data folder. */
  readonly localKey: string;
  readonly sandbox: Sandbox | undefined;
  /** The way in for the first administrator. To be shown once and kept nowhere: undefined ever after. */
  readonly adminLink: string | undefined;
  /** Lets what is under way come to a safe point, and closes everything in the reverse order. */
  stop(): Promise<void>;
}

/**
 * The composition root: the only place that constructs. Reads top to bottom in the order in which things need each
 * other; what was opened is closed again when a later part cannot start.
 * @throws ConfigError for what the operator has to change.
 */
export async function startHub(config: Config, onStart: Progress["step"] = () => {}): Promise<Hub> {
  const opened: (() => Promise<void> | void)[] = [];
  const stop = async (): Promise<void> => {
    for (const close of opened.splice(0).toReversed()) await close();
  };
  try {
    return await compose(config, onStart, opened, stop);
  } catch (error) {
    await stop();
    const operators =
      error instanceof RowSecurityError || (error instanceof VaultError && /^(key|erasure_ledger)_/.test(error.code));
    throw operators ? new ConfigError(error.message) : error;
  }
}

async function compose(
  config: Config,
  onStart: Progress["step"],
  opened: (() => Promise<void> | void)[],
  stop: () => Promise<void>,
): Promise<Hub> {
  const log = createLog(config.logLevel);
  const folder = openDataFolder(config.dataDir);
  opened.push(folder.release);

  onStart(config.databaseUrl === undefined ? "Opening the database (PGlite, on disk)" : "Connecting to PostgreSQL");
  const database = await openDatabase(config, { folder, log });
  opened.push(() => database.close());
  await migrate(database, [authTables, vaultTables, pipelineTables, integrationTables]);

  const sandbox = config.sandbox === undefined ? undefined : await startSandbox(config, folder, onStart);
  if (sandbox !== undefined) opened.push(() => sandbox.stop());
  const vault = await vaultOf(config, database, sandbox);
  const writeHeads = await openHeads(config, { database, folder, log }, opened);

  // Only whoever serves pages signs people in, and needs to know with whom.
  const auth = config.roles.has("http") ? createAuth(authOptions(config, folder, database, sandbox)) : undefined;
  opened.push(
    await startUpkeep({
      database,
      log,
      now: () => new Date(),
      retentionDays: EVENT_RETENTION_DAYS,
      relayed: config.natsUrl !== undefined,
      sweep: async () => {
        await auth?.sweep();
        await trimDeadLetters(database);
        await trimReplays(database);
        await writeHeads();
      },
    }),
  );
  const handOff = await createHandOff({ database, process: randomUUID() });
  opened.push(() => handOff.stop());
  const stream = await createEventStream({ database, handOff });
  opened.push(() => stream.stop());
  const tail = createEventTail({ database, handOff, clock: () => Date.now() });
  const events = openEventServices(config, { database, stream, log }, opened);
  const runtime: Runtime = {
    database,
    vault,
    registry: createRegistry(connectors),
    append,
    committed: (batch, firstSequence) => handOff.committed(batch, firstSequence),
    now: () => new Date(),
    uuid: randomUUID,
    random: Math.random,
    log,
  };

  await eraseAgain(config, runtime);
  await moveAllPlaintext(runtime);

  const publishing = await startPublishing(config, { database, handOff, log }, onStart, opened);
  const { resting } = publishing;
  const scheduler = config.roles.has("scheduler") ? startScheduler(runtime, { resting }) : undefined;
  if (scheduler !== undefined) opened.push(() => scheduler.stop());

  const localKey = ownSecret(folder.file("subscriber.key"));
  if (auth !== undefined) {
    const nudge = (): void => scheduler?.nudge();
    const app = routes({ config, runtime, auth, nudge, stream, tail, events, localKey, publishing, sandbox });
    const listener = await serve(app.fetch, { host: config.host, port: config.port, setting: "TRIBUTARY_PORT" });
    opened.push(() => listener.close());
  }
  log.info({ origin: config.publicOrigin, roles: [...config.roles].join(",") }, "the hub is ready");
  const adminLink = auth === undefined ? undefined : await firstAdminLink(config, database);
  return { origin: config.publicOrigin, database, localKey, sandbox, adminLink, stop };
}

/** Before anything is served: a restored copy of the database brings back who was erased. */
async function eraseAgain({ natsUrl: servers }: Config, runtime: Runtime): Promise<void> {
  await replayErasures(runtime, {
    people: (target, until) => erasePeople(runtime.database, target, until),
    ...(servers === undefined ? {} : { messages: { servers, erase: eraseMessages } }),
  });
}

/** What says outside the database how far the audit has come. @returns a function that writes it down anew. */
async function openHeads(
  config: Config,
  { database, folder, log }: { readonly database: Database; readonly folder: DataFolder; readonly log: Runtime["log"] },
  opened: (() => Promise<void> | void)[],
): Promise<() => Promise<unknown>> {
  const auditor = await openAuditor({ database, keys: keySourceOf(config) });
  const write = (): Promise<unknown> => exportHeads(auditor, folder.file(HEADS_FILE), new Date());
  // The last entries before a stop are known outside as well. A database that is away must not keep the rest from closing.
  opened.push(() =>
    write().then(
      () => {},
      () => log.warn({}, "the heads of the audit could not be written on stopping"),
    ),
  );
  return write;
}

const vaultOf = (config: Config, database: Database, sandbox: Sandbox | undefined) =>
  openVault({
    database,
    keys: keySourceOf(config),
    erasureLedger: config.erasureLedger,
    clients: (sandbox?.oauthClients ?? config.oauthClients).map((client) => ({
      ...client,
      contextId: client.integration,
    })),
    publicOrigin: config.publicOrigin,
    ...(sandbox === undefined ? {} : { origins: sandbox.origins }),
  });

/** A server that is away is waited for, for a while at the start as at every later moment; the log says so. */
async function openDatabase(
  config: Config,
  { folder, log }: { readonly folder: DataFolder; readonly log: Runtime["log"] },
): Promise<Database> {
  if (config.databaseUrl === undefined) return openPglite({ dataDir: folder.file("database") });
  const database = openPostgres({ url: config.databaseUrl, onRefused: sayWaiting(log) });
  try {
    await database.query.execute("SELECT 1");
  } catch (error) {
    await database.close();
    const { code } =
      error instanceof Error && error.cause instanceof Error
        ? (error.cause as NodeJS.ErrnoException)
        : (error as NodeJS.ErrnoException);
    throw new ConfigError(`PostgreSQL at DATABASE_URL cannot be used (${code ?? "no answer"})`);
  }
  return database;
}

/** A restart of a second or two is nobody's concern; what lasts longer is said every five seconds. */
function sayWaiting(log: Runtime["log"]): (code: string) => void {
  let [since, last, said] = [0, -Infinity, -Infinity];
  return (code) => {
    const now = performance.now();
    if (now - last > SAID_EVERY_MS) since = now;
    last = now;
    if (now - since < UNSAID_MS || now - said < SAID_EVERY_MS) return;
    said = now;
    log.warn({ error: code }, "PostgreSQL takes no connection; it is asked again");
  };
}
const UNSAID_MS = 2_000;
const SAID_EVERY_MS = 5_000;

function authOptions(
  config: Config,
  folder: DataFolder,
  database: Database,
  sandbox: Sandbox | undefined,
): Parameters<typeof createAuth>[0] {
  const provider = config.oidc ?? sandbox?.signIn;
  if (provider === undefined)
    throw new ConfigError(
      "nobody could sign in: set TRIBUTARY_OIDC_ISSUER, TRIBUTARY_OIDC_CLIENT_ID and TRIBUTARY_OIDC_CLIENT_SECRET",
    );
  return {
    database,
    origin: config.publicOrigin,
    secret: config.sessionSecret ?? ownSecret(folder.file("session.key")),
    provider,
    organization: organizationOf(config),
    audit: auditPeople,
    now: () => new Date(),
  };
}

interface RouteParts {
  readonly config: Config;
  readonly runtime: Runtime;
  readonly auth: Auth;
  readonly nudge: () => void;
  readonly stream: Parameters<typeof createRpc>[0]["stream"];
  readonly tail: EventTail;
  readonly events: EventServices;
  readonly localKey: string;
  readonly publishing: Publishing;
  readonly sandbox: Sandbox | undefined;
}

/** Who answers which path: health, sign-in, RPC, the API, and the pages for the rest. */
function routes(parts: RouteParts): Hono {
  const { config, runtime, auth, nudge, stream, tail, events, localKey, publishing } = parts;
  const serviceKeys = createServiceKeys([
    ...config.serviceKeys,
    { name: "local", organizationId: config.organizationId, key: localKey },
  ]);
  const guard = createGuard({
    serviceKeys,
    sessions: auth.authenticator,
    ...(config.tokens === undefined ? {} : { tokens: createTokens({ ...config.tokens, now: runtime.now }) }),
    log: (rejection) => runtime.log.warn({ ...rejection }, "a request was refused"),
    now: runtime.now,
    uuid: runtime.uuid,
  });
  const connections = createConnections(runtime, nudge);
  const api = createApi({
    runtime,
    connections,
    ingress: createIngress(runtime, { resting: publishing.resting }),
    tail,
    guard,
    people: openPeople(config, runtime.database),
    origin: config.publicOrigin,
    sandbox: config.sandbox !== undefined,
    ...(parts.sandbox === undefined ? {} : { triggers: parts.sandbox }),
    nudge,
  });
  const app = new Hono();
  app.use(async (c, next) => {
    const since = performance.now();
    await next();
    publishing.requests.record(partOf(c.req.path), c.res.status, performance.now() - since);
  });
  app.route("/", healthRoutes(publishing.health));
  app.all("/auth/*", (c) => auth.handler(c.req.raw));
  app.all("/api/*", (c) => api.fetch(c.req.raw));
  app.all("/webhooks/*", (c) => api.fetch(c.req.raw));
  app.route("/", createRpc({ guard, origin: config.publicOrigin, stream, ...events, connections, runtime }));
  app.route("/", createPages({ api: apiOver((request) => api.fetch(request)), signInPath: "/auth/signin" }));
  return app;
}

/** A few words, whatever is asked for: each is a series of figures. */
function partOf(path: string): string {
  const [, first = ""] = path.split("/");
  if (first.startsWith("tributary.")) return "rpc";
  return ["api", "auth", "webhooks", "healthz", "readyz"].includes(first) ? first : "pages";
}
