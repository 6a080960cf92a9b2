import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Moment } from "./points.ts";
import type { Arm } from "./watch.ts";
import type { WorkerSettings, WorkerStatus } from "./worker.ts";

/** How a worker ended. */
export interface Ending {
  /** Where it ended itself; undefined when it was ended from outside, or failed. */
  readonly at?: string;
  /** Neither armed nor told to end. */
  readonly unexpected: boolean;
  readonly said: string;
}

export interface WorkerProcess {
  readonly name: string;
  readonly status: WorkerStatus;
  readonly frozen: boolean;
  readonly alive: boolean;
  readonly ended: Promise<Ending>;
  arm(arm: Arm): void;
  /** One that was started held begins. */
  go(): void;
  /** Resolves when it has frozen itself where it was armed to. @returns false when it did not within the time. */
  untilFrozen(ms: number): Promise<boolean>;
  /** SIGCONT. */
  thaw(): void;
  /** SIGKILL. */
  kill(): Promise<Ending>;
  /** SIGTERM, and SIGKILL when that takes too long. @returns what it was doing then; undefined when it ended by itself. */
  stop(): Promise<string | undefined>;
}

const WORKER = fileURLToPath(new URL("worker.ts", import.meta.url));
const PLANT = new URL("plant-hook.ts", import.meta.url).href;
const STOP_MS_MAX = 60_000;
const SAID_MAX = 4_000;

const NOTHING: WorkerStatus = { ready: false, published: 0, handled: 0, deadLetters: 0, refused: 0, reached: {} };

export interface WorkerProcessOptions {
  readonly name: string;
  readonly settings: WorkerSettings;
  /** Id of a planted bug. */
  readonly plant: string | undefined;
  /** Folder in which Node keeps what it compiled, so that the next process starts faster. */
  readonly compiled: string;
}

export function startWorkerProcess({ name, settings, plant, compiled }: WorkerProcessOptions): WorkerProcess {
  const { PATH = "", HOME = "" } = process.env;
  const hook = plant === undefined ? [] : ["--import", PLANT];
  const env = {
    PATH,
    HOME,
    NODE_COMPILE_CACHE: compiled,
    CRASH_WORKER: JSON.stringify(settings),
    ...(plant === undefined ? {} : { CRASH_PLANT: plant }),
  };
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ...hook, WORKER], {
    env,
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  let status = NOTHING;
  let said = "";
  let told = false;
  let frozen = false;
  const note = (text: string): void => {
    said = (said + text).slice(-SAID_MAX);
    if (/^stop /m.test(text)) frozen = true;
  };
  child.stdout?.setEncoding("utf8").on("data", note);
  child.stderr?.setEncoding("utf8").on("data", note);
  child.on("message", (message) => (status = message as WorkerStatus));
  const { promise: ended, resolve } = Promise.withResolvers<Ending>();
  child.once("close", () => {
    const [, at] = /^kill (\S+)$/m.exec(said) ?? [];
    resolve({ ...(at === undefined ? {} : { at }), unexpected: at === undefined && !told, said });
  });
  const signal = (which: NodeJS.Signals): Promise<Ending> => {
    told = true;
    child.kill(which);
    return ended;
  };
  return {
    name,
    get status() {
      return status;
    },
    get frozen() {
      return frozen;
    },
    get alive() {
      return isAlive(child);
    },
    ended,
    arm: (arm) => void (child.connected && child.send({ arm })),
    go: () => void (child.connected && child.send("go")),
    untilFrozen: async (ms) => {
      const stands = (): boolean => frozen && hasStopped(child);
      for (let waited = 0; waited < ms && !stands() && isAlive(child); waited += 20) await sleep(20);
      return frozen;
    },
    thaw: () => {
      frozen = false;
      child.kill("SIGCONT");
    },
    kill: () => signal("SIGKILL"),
    stop: async () => {
      let forced = false;
      const timer = setTimeout(() => (forced = child.kill("SIGKILL")), STOP_MS_MAX);
      if (frozen) child.kill("SIGCONT");
      await signal("SIGTERM");
      clearTimeout(timer);
      return forced ? (said.trim().split("\n").at(-1) ?? "") : undefined;
    },
  };
}

/** It says so just before it stops: a SIGCONT that came between would be lost. Where there is no /proc it is believed. */
function hasStopped({ pid }: ChildProcess): boolean {
  try {
    return / [Tt] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return true;
  }
}

const isAlive = ({ exitCode, signalCode }: ChildProcess): boolean => exitCode === null && signalCode === null;

export const pointName = (point: string, moment: Moment): string => `${point}/${moment}`;
