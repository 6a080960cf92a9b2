import { connect, errors, type NatsConnection, type NodeConnectionOptions } from "@nats-io/transport-node";
import { setTimeout as sleep } from "node:timers/promises";

export interface NatsOptions {
  /** `nats://[user:password@]host:port` (or `tls://`), one or several of one cluster; commas may stand between them. */
  readonly servers: string | readonly string[];
  /** What the broker's own listings call the connection. Default "tributary". */
  readonly name?: string;
}

const CONNECT_EVERY_MS = 500;
const CONNECT_MS_MAX = 5_000;

/** Connects, or fails within five seconds; for a command that somebody waits for. */
export const connectNats = (options: NatsOptions): Promise<NatsConnection> => connect(connectionOptions(options));

/**
 * Connects, and tries until the signal aborts. Afterwards the client reconnects by itself, for ever.
 * @param onFailure is told why, as a code, each time that it did not work.
 */
export async function connectUntil(
  options: NatsOptions,
  signal: AbortSignal,
  onFailure: (reason: string) => void = () => {},
): Promise<NatsConnection> {
  const connection = connectionOptions(options);
  for (;;) {
    signal.throwIfAborted();
    try {
      return await connect(connection);
    } catch (error) {
      onFailure(natsReason(error) ?? "no_connection");
      await sleep(CONNECT_EVERY_MS, undefined, { signal }).catch(() => {});
    }
  }
}

/** Why the broker could not be used, as a code without anything secret in it; undefined for what does not come from it. */
export function natsReason(error: unknown): string | undefined {
  if (error instanceof errors.AuthorizationError) return "authorization_refused";
  if (error instanceof errors.UserAuthenticationExpiredError) return "authorization_expired";
  if (error instanceof errors.PermissionViolationError) return `permission_refused_${error.operation}`;
  if (error instanceof errors.NoRespondersError) return "jetstream_unavailable";
  if (error instanceof errors.TimeoutError) return "no_answer";
  // A request's own error names what it failed with as its cause.
  if (error instanceof errors.RequestError) return natsReason(error.cause) ?? "no_answer";
  return CONNECTION_ERRORS.some((kind) => error instanceof kind) ? "no_connection" : undefined;
}

const CONNECTION_ERRORS = [
  errors.ConnectionError,
  errors.ClosedConnectionError,
  errors.DrainingConnectionError,
  errors.ProtocolError,
];

/** What a connection is good for, as its own events tell. */
export interface ConnectionWatch {
  /** Why the broker cannot be asked anything now, as a code; undefined while it can. */
  trouble(): string | undefined;
  /** Only a new connection helps: it was closed, or a right was taken from it and its subscriptions went with that. */
  readonly over: boolean;
}

/** @param onTrouble is called when answers that are waited for will not come. */
export function watchConnection(nc: NatsConnection, onTrouble: (reason: string) => void): ConnectionWatch {
  let trouble: string | undefined;
  let over = false;
  const begin = (reason: string): void => {
    trouble = reason;
    onTrouble(reason);
  };
  void (async () => {
    for await (const status of nc.status()) {
      // What the server said as it closed the connection tells more than that it is closed.
      if (status.type === "disconnect") begin(trouble ?? "no_connection");
      else if (status.type === "reconnect") trouble = undefined;
      else if (status.type === "error") {
        const reason = natsReason(status.error);
        over ||= status.error instanceof errors.PermissionViolationError;
        if (reason !== undefined && reason !== "no_connection") begin(reason);
      }
    }
    over = true;
    begin(trouble ?? "no_connection");
  })();
  return {
    trouble: () => trouble,
    get over() {
      return over;
    },
  };
}

function connectionOptions({ servers, name = "tributary" }: NatsOptions): NodeConnectionOptions {
  const urls = [servers]
    .flat()
    .flatMap((some) => some.split(","))
    .map((server) => new URL(server.trim()));
  const [first] = urls;
  const { username, password, protocol } = first ?? { username: "", password: "", protocol: "nats:" };
  const credentials = username === "" ? {} : { user: decodeURIComponent(username), pass: decodeURIComponent(password) };
  return {
    servers: urls.map((url) => url.host),
    name,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    // Otherwise the client gives up for good at the second refusal, and a password that is changed at the broker a
    // second before it is changed here ends all publishing.
    ignoreAuthErrorAbort: true,
    pingInterval: 10_000,
    timeout: CONNECT_MS_MAX,
    ...(protocol === "tls:" ? { tls: {} } : {}),
    ...credentials,
  };
}
