import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

/** A hub that keeps running in a process of its own, as `npm start` leaves it. */
export interface HubProcess {
  readonly origin: string;
  /** From the start of the process to its line that it is running. */
  readonly runningMs: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Resolves once the output has the text. @throws Error with the output when it does not, or when the process ends. */
  until(text: string): Promise<void>;
  signal(signal: NodeJS.Signals): void;
  /** Sends a signal and waits for the end; SIGKILL when it does not come. */
  stop(signal: NodeJS.Signals): Promise<{ readonly code: number | null; readonly ms: number }>;
}

const MAIN = fileURLToPath(new URL("../src/main.ts", import.meta.url));
const START_MS_MAX = 90_000;
const STOP_MS_MAX = 30_000;

/** Starts the command without `--once` and waits until the hub runs. */
export async function startHubProcess(env: Readonly<Record<string, string>>): Promise<HubProcess> {
  const { PATH = "", HOME = "" } = process.env;
  const startedAt = performance.now();
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", MAIN], {
    env: { PATH, HOME, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = once(child, "close");
  // A test that ran out of time leaves nothing behind.
  process.once("exit", () => child.kill("SIGKILL"));
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const until = async (text: string): Promise<void> => {
    const deadline = performance.now() + START_MS_MAX;
    while (!(stdout + stderr).includes(text)) {
      if (child.exitCode !== null || child.signalCode !== null || performance.now() > deadline)
        throw new Error(`the hub did not say "${text}": ${stdout}${stderr}`);
      await sleep(10);
    }
  };
  const stop = async (signal: NodeJS.Signals): Promise<{ code: number | null; ms: number }> => {
    const askedAt = performance.now();
    const force = setTimeout(() => child.kill("SIGKILL"), STOP_MS_MAX);
    child.kill(signal);
    await ended;
    clearTimeout(force);
    return { code: child.exitCode, ms: performance.now() - askedAt };
  };
  try {
    await until("Tributary is running at ");
  } catch (error) {
    await stop("SIGKILL");
    throw error;
  }
  return {
    origin: /running at (\S+)/.exec(stdout)?.[1] ?? "",
    runningMs: Math.round(performance.now() - startedAt),
    get stdout() {
      return stdout;
    },
    get stderr() {
      return stderr;
    },
    until,
    signal: (signal) => void child.kill(signal),
    stop,
  };
}
