import { freePort } from "@tributary/db/testing";
import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

/** A nats-server of our own: a free port on loopback, JetStream in a temporary folder, gone when stopped. */
export interface PrivateNats {
  /** `nats://127.0.0.1:<port>` */
  readonly url: string;
  readonly port: number;
  /** The folder of its store. */
  readonly store: string;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts again on the same port and store. */
  restart(): Promise<void>;
  /** SIGHUP, after other lines took the place of `config`. Resolves when the server goes by them. */
  reload(lines: string): Promise<void>;
  /** Copies the store aside; only while the server is down. */
  saveStore(): void;
  /** Puts the saved store back, as a power cut that lost writes would; only while the server is down. */
  restoreStore(): void;
  stop(): Promise<void>;
}

export interface PrivateNatsOptions {
  readonly maxPayloadBytes?: number;
  /** Lines of nats-server's configuration besides. */
  readonly config?: string;
  /** What the configuration's variables stand for. */
  readonly env?: Readonly<Record<string, string>>;
}

/** @throws Error that says how to install nats-server when there is none. */
export async function startPrivateNats(options: PrivateNatsOptions = {}): Promise<PrivateNats> {
  const program = natsServer();
  const folder = mkdtempSync(join(tmpdir(), "tributary-nats-"));
  const port = await freePort();
  const config = join(folder, "nats.conf");
  const [store, saved] = [join(folder, "store"), join(folder, "saved")];
  const payload = options.maxPayloadBytes === undefined ? "" : `max_payload: ${options.maxPayloadBytes}\n`;
  const jetstream = `jetstream { store_dir: ${JSON.stringify(store)} }\n`;
  writeFileSync(config, `listen: 127.0.0.1:${port}\n${payload}${jetstream}${options.config ?? ""}`);
  let child: ChildProcess | undefined;
  /** Told whenever the server says that it goes by other lines. */
  let reloaded = (): void => {};

  async function start(): Promise<void> {
    const server = spawn(program, ["-c", config], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, ...options.env },
    });
    child = server;
    createInterface(server.stderr).on("line", (line) => line.includes(RELOADED) && reloaded());
    for (const deadline = performance.now() + START_MS_MAX; performance.now() < deadline;) {
      if (server.exitCode !== null) throw new Error(`nats-server ended with ${server.exitCode}`);
      if (await answers(port)) return;
      await sleep(25);
    }
    throw new Error("nats-server did not answer within a minute");
  }
  async function end(signal: NodeJS.Signals): Promise<void> {
    const server = child;
    child = undefined;
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return;
    const gone = new Promise((resolve) => server.once("exit", resolve));
    server.kill(signal);
    await gone;
  }

  await start();
  return {
    url: `nats://127.0.0.1:${port}`,
    port,
    store,
    kill: () => end("SIGKILL"),
    restart: start,
    reload: async (lines) => {
      writeFileSync(config, `listen: 127.0.0.1:${port}\n${payload}${jetstream}${lines}`);
      const done = new Promise<void>((resolve) => (reloaded = resolve));
      child?.kill("SIGHUP");
      await done;
    },
    saveStore: () => {
      rmSync(saved, { recursive: true, force: true });
      cpSync(store, saved, { recursive: true });
    },
    restoreStore: () => {
      rmSync(store, { recursive: true, force: true });
      cpSync(saved, store, { recursive: true });
    },
    stop: async () => {
      await end("SIGTERM");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const START_MS_MAX = 60_000;
/** Said when every connection that it ends has been ended. */
const RELOADED = "Reloaded server configuration";

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const say = (answer: boolean) => () => {
      socket.destroy();
      resolve(answer);
    };
    // The server greets with INFO when it is ready.
    socket.once("data", say(true)).once("error", say(false)).setTimeout(1_000, say(false));
  });

function natsServer(): string {
  const folders = ["/usr/sbin", "/usr/local/bin", ...(process.env["PATH"] ?? "").split(":")];
  const found = folders.map((folder) => join(folder, "nats-server")).find((path) => existsSync(path));
  if (found === undefined) throw new Error("nats-server 2.9 or newer is not installed: apt-get install nats-server");
  return found;
}
