import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** A program that the tests start for themselves, on ports and data of their own. */
interface Server {
  readonly debianPackage: string;
  readonly found: () => boolean;
}

const SERVERS: readonly Server[] = [
  { debianPackage: "postgresql", found: hasPostgres },
  { debianPackage: "nats-server", found: () => onPath("nats-server") },
  {
    debianPackage: "chromium",
    found: () => onPath("chromium") || onPath("chromium-browser") || onPath("google-chrome"),
  },
  // No server: it reads the Python in docs/other-languages.md.
  { debianPackage: "python3", found: () => onPath("python3") },
];

const POSTGRES_MIN = 15;

/**
 * Makes sure that PostgreSQL, nats-server, Chromium and Python exist. As root on Debian what is missing is installed.
 * @returns "" when all are there, otherwise one line that says what to do.
 */
export function provideServers(): string {
  const missing = SERVERS.filter((server) => !server.found()).map((server) => server.debianPackage);
  if (missing.length === 0) return "";
  const packages = missing.join(" ");
  const advice = `missing: ${packages}. On Debian or Ubuntu, as root: apt-get update && apt-get install -y ${packages}`;
  if (process.getuid?.() !== 0 || !onPath("apt-get")) return advice;
  process.stderr.write(`Installing ${packages} with apt-get (once; a minute or two) …\n`);
  const problem =
    apt(["update"]) ??
    apt(["install", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", ...missing]);
  if (problem !== undefined) return `apt-get failed: ${problem}. ${advice}`;
  const still = SERVERS.filter((server) => !server.found()).map((server) => server.debianPackage);
  return still.length === 0
    ? ""
    : `apt-get installed ${still.join(" ")}, but no usable version; PostgreSQL must be 15 or newer`;
}

/** @returns what apt-get complained of, when it failed. */
function apt(args: readonly string[]): string | undefined {
  const run = spawnSync("apt-get", ["-q", ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 600_000,
    // RUNLEVEL=1 keeps the package's own service from starting: the tests start servers of their own and want no other.
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" },
  });
  if (run.status === 0) return undefined;
  const said = `${run.stdout ?? ""}\n${run.stderr ?? ""}`.split("\n").filter((line) => line.trim() !== "");
  const complaints = said.filter((line) => line.startsWith("E:"));
  return complaints.length > 0 ? complaints.join(" ") : (said.at(-1) ?? run.error?.message ?? "no message");
}

/** Debian keeps PostgreSQL's programs off the path, one folder a version. */
function hasPostgres(): boolean {
  const debian = "/usr/lib/postgresql";
  const versions = existsSync(debian) ? readdirSync(debian).map(Number) : [];
  if (versions.some((each) => each >= POSTGRES_MIN && existsSync(join(debian, String(each), "bin/initdb"))))
    return true;
  const said = spawnSync("initdb", ["--version"], { encoding: "utf8" });
  return said.status === 0 && Number(/(\d+)(?:\.\d+)?\s*(?:\(|$)/m.exec(said.stdout)?.[1] ?? 0) >= POSTGRES_MIN;
}

/** Also where an ordinary user's path does not look: Debian installs servers there. */
function onPath(program: string): boolean {
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/usr/local/sbin"];
  return folders.some((folder) => folder !== "" && existsSync(join(folder, program)));
}
