import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import postgres from "postgres";
import { openPostgres } from "../postgres.ts";
import { freePort } from "./free-ports.ts";

/** A PostgreSQL server of our own: a free port on loopback, data in a temporary folder, gone when stopped. */
export interface PrivatePostgres {
  readonly url: string;
  readonly port: number;
  /** A fresh database; its URL. */
  createDatabase(name?: string): Promise<string>;
  /** SIGQUIT: an immediate shutdown, as a crash is. SIGKILL would leave a backend that commits afterwards. */
  crash(): Promise<void>;
  /** Starts again on the same port and data. */
  restart(): Promise<void>;
  /**
   * Starts again and goes on starting up, where PostgreSQL refuses everybody (57P03), until the function that it gives is
   * called. It waits for neither.
   */
  restartSlowly(): () => void;
  stop(): Promise<void>;
}

/** @throws Error that says how to install PostgreSQL when there is none. */
export async function startPrivatePostgres(settings: Readonly<Record<string, string>> = {}): Promise<PrivatePostgres> {
  const bin = postgresBin();
  const folder = mkdtempSync(join(tmpdir(), "tributary-pg-"));
  const user = serverUser();
  if (user !== undefined) chownSync(folder, user.uid, user.gid);
  const identity = user ?? {};
  const data = join(folder, "data");
  const made = spawnSync(
    join(bin, "initdb"),
    ["-D", data, "-U", "tributary", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"],
    { ...identity, cwd: folder, encoding: "utf8", timeout: 60_000 },
  );
  if (made.status !== 0) throw new Error(`initdb failed: ${made.stderr}`);
  const port = await freePort();
  const url = `postgres://tributary@127.0.0.1:${port}/postgres`;
  let child: ChildProcess | undefined;

  function spawnServer(more: Readonly<Record<string, string>> = {}): ChildProcess {
    const fixed = { listen_addresses: "127.0.0.1", unix_socket_directories: "", max_connections: "60" };
    const flags = Object.entries({ ...fixed, ...settings, ...more }).flatMap(([name, value]) => [
      "-c",
      `${name}=${value}`,
    ]);
    child = spawn(join(bin, "postgres"), ["-D", data, "-p", String(port), ...flags], {
      ...identity,
      cwd: folder,
      stdio: "ignore",
    });
    return child;
  }
  async function start(): Promise<void> {
    const server = spawnServer();
    const probe = postgres(url, { max: 1, connect_timeout: 30, backoff: () => 0.03, onnotice: () => {} });
    const ended = new Promise<never>((_, reject) => {
      server.once("exit", (status) => reject(new Error(`postgres ended with ${status}`)));
    });
    ended.catch(() => {});
    await Promise.race([probe`SELECT 1`, ended]).finally(() => probe.end({ timeout: 0 }));
  }
  /** A standby that takes nobody in, until it is promoted. */
  function restartSlowly(): () => void {
    writeFileSync(join(data, "standby.signal"), "");
    const server = spawnServer({ hot_standby: "off" });
    return () => {
      writeFileSync(join(data, "promote"), "");
      server.kill("SIGUSR1");
    };
  }
  async function end(signal: NodeJS.Signals): Promise<void> {
    const server = child;
    child = undefined;
    if (server === undefined || server.exitCode !== null) return;
    const gone = new Promise((resolve) => server.once("exit", resolve));
    server.kill(signal);
    await gone;
  }

  await start();
  return {
    url,
    port,
    createDatabase: async (name = `test_${Math.random().toString(36).slice(2, 10)}`) => {
      const admin = openPostgres({ url, connectionsMax: 1 });
      await admin.query.execute(`CREATE DATABASE "${name}"`);
      await admin.close();
      return url.replace(/\/postgres$/, `/${name}`);
    },
    crash: () => end("SIGQUIT"),
    restart: start,
    restartSlowly,
    stop: async () => {
      await end("SIGINT");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function postgresBin(): string {
  const debian = "/usr/lib/postgresql";
  const versions = existsSync(debian) ? readdirSync(debian).filter((version) => Number(version) >= 15) : [];
  const folders = [
    ...versions
      .toSorted()
      .toReversed()
      .map((version) => join(debian, version, "bin")),
    ...(process.env["PATH"] ?? "").split(":"),
  ];
  const found = folders.find((folder) => existsSync(join(folder, "initdb")) && existsSync(join(folder, "postgres")));
  if (found === undefined) throw new Error("PostgreSQL 15 or newer is not installed: apt-get install postgresql");
  return found;
}

/** PostgreSQL refuses to run as root: then another user does. */
function serverUser(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const id = (flag: string, name: string): number => Number(spawnSync("id", [flag, name], { encoding: "utf8" }).stdout);
  for (const name of ["postgres", "nobody"]) {
    const uid = id("-u", name);
    if (uid > 0) return { uid, gid: id("-g", name) };
  }
  throw new Error("PostgreSQL does not run as root, and there is neither a user postgres nor nobody");
}
