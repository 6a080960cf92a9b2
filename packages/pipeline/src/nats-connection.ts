import { connect, type NatsConnection, type NodeConnectionOptions } from "@nats-io/transport-node";
import { setTimeout as sleep } from "node:timers/promises";

export interface NatsOptions {
  /** `nats://[user:password@]host:port` (or `tls://`), one or several of one cluster. */
  readonly servers: string | readonly string[];
  /** What the broker's own listings call the connection. Default "tributary". */
  readonly name?: string;
}

const CONNECT_EVERY_MS = 500;
const CONNECT_MS_MAX = 5_000;

/** Connects, or fails within five seconds; for a command that somebody waits for. */
export const connectNats = (options: NatsOptions): Promise<NatsConnection> => connect(connectionOptions(options));

/** Connects, and tries until the signal aborts. Afterwards the client reconnects by itself, for ever. */
export async function connectUntil(options: NatsOptions, signal: AbortSignal): Promise<NatsConnection> {
  for (;;) {
    signal.throwIfAborted();
    try {
      return await connect(connectionOptions(options));
    } catch {
      await sleep(CONNECT_EVERY_MS, undefined, { signal }).catch(() => {});
    }
  }
}

function connectionOptions({ servers, name = "tributary" }: NatsOptions): NodeConnectionOptions {
  const urls = [servers].flat().map((server) => new URL(server));
  const [first] = urls;
  const { username, password, protocol } = first ?? { username: "", password: "", protocol: "nats:" };
  const credentials = username === "" ? {} : { user: decodeURIComponent(username), pass: decodeURIComponent(password) };
  return {
    servers: urls.map((url) => url.host),
    name,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    pingInterval: 10_000,
    timeout: CONNECT_MS_MAX,
    ...(protocol === "tls:" ? { tls: {} } : {}),
    ...credentials,
  };
}
