import { join, resolve } from "node:path";
import { BACKLOG_BYTES_MAX } from "@tributary/pipeline";
import { z } from "zod";

/** Something about the environment that the operator has to change. Ends the process with code 3. */
export class ConfigError extends Error {
  override get name(): string {
    return "ConfigError";
  }
}

const ROLES = ["http", "ingress", "scheduler", "vault", "relay"] as const;
export type Role = (typeof ROLES)[number];

const port = z.coerce.number().int().min(1).max(65_535);
const flag = z.enum(["true", "false"]).transform((value) => value === "true");
const PERMISSIONS = ["view", "manage", "credentials"] as const;
/** `name:organisation:key` or `name:organisation:key:view+manage`, separated by commas. */
const serviceKeys = z
  .string()
  .transform((text) => text.split(",").map((entry) => entry.trim().split(":")))
  .refine(
    (entries) => entries.every(([, , key = "", ...rest]) => key.length >= 32 && rest.length <= 1),
    "name:organisation:key, the key of 32 characters at least",
  )
  .refine(
    (entries) => entries.every(([, , , names]) => (names?.split("+") ?? []).every((one) => isPermission(one))),
    `after the key: ${PERMISSIONS.join("+")}, or some of them`,
  )
  .refine(
    (entries) => entries.every(([name]) => entries.filter(([other]) => other === name).length <= 2),
    "a service has two keys at most",
  )
  .refine(
    (entries) =>
      new Set(entries.map(([name, organization]) => `${name}:${organization}`)).size ===
      new Set(entries.map(([name]) => name)).size,
    "a service works for one organisation",
  )
  .transform((entries) =>
    entries.map(([name = "", organizationId = "", key = "", names]) => ({
      name,
      organizationId,
      key,
      ...(names === undefined
        ? {}
        : {
            permissions: names
              .split("+")
              .filter(isPermission)
              .map((one) => `integrations.${one}` as const),
          }),
    })),
  );
const isPermission = (name: string): name is (typeof PERMISSIONS)[number] => PERMISSIONS.some((one) => one === name);

const isBroker = (text: string): boolean => {
  const url = URL.parse(text.trim());
  return url !== null && ["nats:", "tls:"].includes(url.protocol) && url.hostname !== "";
};

/** Every setting there is; `.env.example` and docs/SETTINGS.md explain them in the same order. */
const Environment = z.object({
  DATABASE_URL: z.string().startsWith("postgres").optional(),
  NATS_URL: z
    .string()
    .refine((text) => text.split(",").every(isBroker), "nats://host:port or tls://host:port, commas between several")
    .optional(),
  NATS_MONITOR_URL: z.url({ protocol: /^https?$/ }).optional(),
  TRIBUTARY_STREAM_REPLICAS: z.coerce.number().int().min(1).max(5).optional(),
  TRIBUTARY_BACKLOG_BYTES: z.coerce.number().int().min(1_048_576).default(BACKLOG_BYTES_MAX),
  TRIBUTARY_REPLAY_EVENTS_PER_SECOND: z.coerce.number().int().min(1).max(100_000).default(1_000),
  TRIBUTARY_DATA_DIR: z.string().min(1).default(".data"),
  TRIBUTARY_HOST: z.string().min(1).default("127.0.0.1"),
  TRIBUTARY_PORT: port.default(4600),
  TRIBUTARY_PUBLIC_ORIGIN: z.url({ protocol: /^https?$/ }).optional(),
  TRIBUTARY_METRICS_PORT: port.optional(),
  TRIBUTARY_ROLES: z
    .string()
    .transform((text) => text.split(",").map((role) => role.trim()))
    .pipe(z.array(z.enum(ROLES)).min(1))
    .default([...ROLES]),
  TRIBUTARY_VAULT_KEYS: z.string().min(1).optional(),
  TRIBUTARY_VAULT_KEYS_FILE: z.string().min(1).optional(),
  TRIBUTARY_ERASURE_LEDGER: z.string().min(1).optional(),
  TRIBUTARY_SESSION_SECRET: z.string().min(32).optional(),
  TRIBUTARY_SERVICE_KEYS: serviceKeys.default([]),
  TRIBUTARY_ORGANIZATION: z
    .string()
    .regex(/^[a-z0-9-]{1,40}$/)
    .default("sample"),
  TRIBUTARY_OIDC_ISSUER: z.url().optional(),
  TRIBUTARY_OIDC_CLIENT_ID: z.string().min(1).optional(),
  TRIBUTARY_OIDC_CLIENT_SECRET: z.string().min(1).optional(),
  TRIBUTARY_JWT_SECRET: z.string().min(32).optional(),
  TRIBUTARY_JWT_KEYS_URL: z.url({ protocol: /^https?$/ }).optional(),
  TRIBUTARY_JWT_ISSUER: z.string().min(1).optional(),
  TRIBUTARY_JWT_AUDIENCE: z.string().min(1).optional(),
  TRIBUTARY_SANDBOX: flag.optional(),
  TRIBUTARY_SANDBOX_PORT: port.default(4609),
  LOG_LEVEL: z.enum(["debug", "info", "warn", "error", "silent"]).optional(),
});

export interface OAuthClientConfig {
  readonly integration: string;
  readonly clientId: string;
  readonly clientSecret: string;
}

/** Whose signed tokens services may send, and how they are verified: by a shared secret or by published keys. */
export interface TokenConfig {
  readonly issuer: string;
  readonly audience: string;
  readonly keys: { readonly secret: string } | { readonly keySetUrl: string };
}

export interface SandboxConfig {
  readonly firstPort: number;
  /** Every code and token of the providers starts with it, for a test that searches for them; not a setting. */
  readonly tokenPrefix?: string;
}

export interface Config {
  /** Undefined: embedded, on PGlite. */
  readonly databaseUrl: string | undefined;
  /** Undefined: the ledger alone is the stream. */
  readonly natsUrl: string | undefined;
  /** nats-server's monitoring, which tells what a client is not told. */
  readonly natsMonitorUrl: string | undefined;
  /** Copies of the streams in the broker's cluster; undefined: as they are, and one for a new one. */
  readonly streamReplicas: number | undefined;
  /** What may wait for the broker, on disk, before intake rests. */
  readonly backlogBytes: number;
  /** How fast a replay goes that does not say. */
  readonly replayEventsPerSecond: number;
  readonly dataDir: string;
  readonly host: string;
  readonly port: number;
  readonly publicOrigin: string;
  /** Where figures and health are told on loopback; undefined: nowhere. */
  readonly metricsPort: number | undefined;
  readonly roles: ReadonlySet<Role>;
  /** The key ring as JSON, or where its file is. Both undefined: a file of the data folder. */
  readonly vaultKeys: string | undefined;
  readonly vaultKeysFile: string | undefined;
  /** The erasure ledger's copy outside the database. */
  readonly erasureLedger: string;
  readonly sessionSecret: string | undefined;
  readonly serviceKeys: z.output<typeof serviceKeys>;
  readonly organizationId: string;
  readonly oidc: { readonly issuer: string; readonly clientId: string; readonly clientSecret: string } | undefined;
  /** Undefined: no token is valid. */
  readonly tokens: TokenConfig | undefined;
  readonly oauthClients: readonly OAuthClientConfig[];
  /** The simulated providers, and where their block of ports begins; undefined: the real ones. */
  readonly sandbox: SandboxConfig | undefined;
  readonly logLevel: string;
}

/**
 * Reads the environment, once.
 * @throws ConfigError that names every setting that is wrong, and never its value.
 */
export function readConfig(env: Readonly<Record<string, string | undefined>>, integrations: readonly string[]): Config {
  const present = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ""));
  const parsed = Environment.safeParse(present);
  if (!parsed.success) {
    const wrong = parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
    throw new ConfigError(`settings are wrong: ${wrong.join("; ")}`);
  }
  const settings = parsed.data;
  const embedded = settings.DATABASE_URL === undefined;
  const sandbox = settings.TRIBUTARY_SANDBOX ?? embedded;
  const publicOrigin = new URL(
    settings.TRIBUTARY_PUBLIC_ORIGIN ?? `http://${settings.TRIBUTARY_HOST}:${settings.TRIBUTARY_PORT}`,
  ).origin;
  if (sandbox && env["NODE_ENV"] === "production")
    throw new ConfigError(
      "the simulated providers are on (TRIBUTARY_SANDBOX) and NODE_ENV is production; that is refused",
    );
  if (sandbox && !isLoopback(settings.TRIBUTARY_HOST))
    throw new ConfigError("with simulated providers the hub listens on loopback only; set TRIBUTARY_HOST to 127.0.0.1");
  const [keys, keysFile] = [settings.TRIBUTARY_VAULT_KEYS, settings.TRIBUTARY_VAULT_KEYS_FILE];
  if (!embedded && keys === undefined && keysFile === undefined && !sandbox)
    throw new ConfigError(
      "TRIBUTARY_VAULT_KEYS_FILE or TRIBUTARY_VAULT_KEYS is missing; outside embedded mode the vault's keys are yours to keep",
    );
  if (keys !== undefined && keysFile !== undefined)
    throw new ConfigError(
      "TRIBUTARY_VAULT_KEYS and TRIBUTARY_VAULT_KEYS_FILE are both set; one of them is the key ring",
    );
  return {
    databaseUrl: settings.DATABASE_URL,
    natsUrl: settings.NATS_URL,
    natsMonitorUrl: settings.NATS_MONITOR_URL,
    streamReplicas: settings.TRIBUTARY_STREAM_REPLICAS,
    backlogBytes: settings.TRIBUTARY_BACKLOG_BYTES,
    replayEventsPerSecond: settings.TRIBUTARY_REPLAY_EVENTS_PER_SECOND,
    dataDir: resolve(settings.TRIBUTARY_DATA_DIR),
    host: settings.TRIBUTARY_HOST,
    port: settings.TRIBUTARY_PORT,
    publicOrigin,
    metricsPort: settings.TRIBUTARY_METRICS_PORT,
    roles: new Set(settings.TRIBUTARY_ROLES),
    vaultKeys: settings.TRIBUTARY_VAULT_KEYS,
    vaultKeysFile: settings.TRIBUTARY_VAULT_KEYS_FILE && resolve(settings.TRIBUTARY_VAULT_KEYS_FILE),
    erasureLedger: resolve(settings.TRIBUTARY_ERASURE_LEDGER ?? join(settings.TRIBUTARY_DATA_DIR, "erasures.jsonl")),
    sessionSecret: settings.TRIBUTARY_SESSION_SECRET,
    serviceKeys: settings.TRIBUTARY_SERVICE_KEYS,
    organizationId: settings.TRIBUTARY_ORGANIZATION,
    oidc: oidc(settings),
    tokens: tokens(settings),
    oauthClients: integrations.flatMap((integration) => oauthClient(integration, env)),
    sandbox: sandbox ? { firstPort: settings.TRIBUTARY_SANDBOX_PORT } : undefined,
    logLevel: settings.LOG_LEVEL ?? (embedded ? "warn" : "info"),
  };
}

/** Where the vault's keys are. */
export const keySourceOf = (
  config: Pick<Config, "vaultKeys" | "vaultKeysFile" | "dataDir">,
): { readonly value: string } | { readonly file: string } =>
  config.vaultKeys === undefined
    ? { file: config.vaultKeysFile ?? join(config.dataDir, "vault-keys.json") }
    : { value: config.vaultKeys };

/**
 * Takes everything secret out of an environment that has been read, so that no child process inherits it and no report
 * of a crash shows it.
 */
export function forgetSecrets(env: Record<string, string | undefined>): void {
  for (const name of Object.keys(env)) if (SECRET_SETTING.test(name)) delete env[name];
}

/** A database's address holds a password; a file's name is no secret. */
const SECRET_SETTING = /^(DATABASE_URL|NATS_URL|TRIBUTARY_(VAULT_KEYS|SERVICE_KEYS|.+_SECRET))$/;

const isLoopback = (host: string): boolean => host === "localhost" || host === "::1" || host.startsWith("127.");

function oidc(settings: z.output<typeof Environment>): Config["oidc"] {
  const {
    TRIBUTARY_OIDC_ISSUER: issuer,
    TRIBUTARY_OIDC_CLIENT_ID: clientId,
    TRIBUTARY_OIDC_CLIENT_SECRET: clientSecret,
  } = settings;
  if (issuer === undefined && clientId === undefined && clientSecret === undefined) return undefined;
  if (issuer === undefined || clientId === undefined || clientSecret === undefined)
    throw new ConfigError(
      "sign-in needs TRIBUTARY_OIDC_ISSUER, TRIBUTARY_OIDC_CLIENT_ID and TRIBUTARY_OIDC_CLIENT_SECRET together",
    );
  return { issuer, clientId, clientSecret };
}

function tokens(settings: z.output<typeof Environment>): TokenConfig | undefined {
  const {
    TRIBUTARY_JWT_SECRET: secret,
    TRIBUTARY_JWT_KEYS_URL: keySetUrl,
    TRIBUTARY_JWT_ISSUER: issuer,
    TRIBUTARY_JWT_AUDIENCE: audience,
  } = settings;
  if ([secret, keySetUrl, issuer, audience].every((one) => one === undefined)) return undefined;
  if (issuer === undefined || audience === undefined || (secret === undefined) === (keySetUrl === undefined))
    throw new ConfigError(
      "tokens need TRIBUTARY_JWT_ISSUER, TRIBUTARY_JWT_AUDIENCE and one of TRIBUTARY_JWT_SECRET and TRIBUTARY_JWT_KEYS_URL",
    );
  if (keySetUrl === undefined) return { issuer, audience, keys: { secret: secret ?? "" } };
  const { protocol, hostname } = new URL(keySetUrl);
  if (protocol !== "https:" && !isLoopback(hostname))
    throw new ConfigError("TRIBUTARY_JWT_KEYS_URL must be https, unless it is on loopback");
  return { issuer, audience, keys: { keySetUrl } };
}

/** `TRIBUTARY_OAUTH_<INTEGRATION>_CLIENT_ID` and `…_CLIENT_SECRET`, with `-` as `_`. */
function oauthClient(integration: string, env: Readonly<Record<string, string | undefined>>): OAuthClientConfig[] {
  const prefix = `TRIBUTARY_OAUTH_${integration.toUpperCase().replaceAll("-", "_")}`;
  const clientId = env[`${prefix}_CLIENT_ID`];
  const clientSecret = env[`${prefix}_CLIENT_SECRET`];
  if (!clientId && !clientSecret) return [];
  if (!clientId || !clientSecret) throw new ConfigError(`${prefix}_CLIENT_ID and ${prefix}_CLIENT_SECRET go together`);
  return [{ integration, clientId, clientSecret }];
}
