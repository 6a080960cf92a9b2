import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

export interface DemoRun {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface DemoRunOptions {
  readonly env: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  /** SIGKILL at the n-th step of the runtime. */
  readonly killAtStep?: number;
  /** A signal so many milliseconds after the start. */
  readonly signalAfter?: { readonly signal: NodeJS.Signals; readonly ms: number };
  /** A signal as soon as the output has this text. */
  readonly signalOn?: { readonly signal: NodeJS.Signals; readonly text: string };
}

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const RUN_MS_MAX = 90_000;

/** Runs the hub's command as a process of its own, as `npm start` does. */
export async function runDemoProcess(options: DemoRunOptions): Promise<DemoRun> {
  const { PATH = "", HOME = "" } = process.env;
  const child = spawn(
    process.execPath,
    [
      "--disable-warning=ExperimentalWarning",
      "--import",
      path("kill-at.mjs"),
      path("../src/main.ts"),
      ...(options.args ?? ["--once", "--json"]),
    ],
    {
      env: {
        PATH,
        HOME,
        ...options.env,
        ...(options.killAtStep === undefined ? {} : { KILL_AT_STEP: String(options.killAtStep) }),
      },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  // A test that times out ends its process without a word to this one's child.
  const orphaned = (): boolean => child.kill("SIGKILL");
  process.once("exit", orphaned);
  child.once("close", () => process.off("exit", orphaned));
  let stdout = "";
  let stderr = "";
  let signalled = false;
  const watch = (): void => {
    if (signalled || options.signalOn === undefined || !(stdout + stderr).includes(options.signalOn.text)) return;
    signalled = true;
    child.kill(options.signalOn.signal);
  };
  child.stdout.setEncoding("utf8").on("data", (text: string) => ((stdout += text), watch()));
  child.stderr.setEncoding("utf8").on("data", (text: string) => ((stderr += text), watch()));
  const { signalAfter } = options;
  const timers = [setTimeout(() => child.kill("SIGKILL"), RUN_MS_MAX)];
  if (signalAfter !== undefined) timers.push(setTimeout(() => child.kill(signalAfter.signal), signalAfter.ms));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      for (const timer of timers) clearTimeout(timer);
      resolve({ code, signal, stdout, stderr });
    });
  });
}
