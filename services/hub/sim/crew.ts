import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { SeedResult } from "./run-seed.ts";

/** Runs one seed after the other, and knows nothing of the next one. */
export interface SimWorker {
  /** @throws Error when the process ended. */
  run(seed: number): Promise<SeedResult>;
  stop(): void;
}

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** @param plant the bug to run with; empty for none. */
export async function startWorker(plant: string): Promise<SimWorker> {
  const child = fork(path("./worker.ts"), {
    execArgv: ["--disable-warning=ExperimentalWarning", "--import", path("./hooks.ts")],
    env: { ...process.env, SIM_PLANT: plant },
    serialization: "advanced",
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  await answer(child);
  return {
    run: async (seed) => {
      const answered = answer(child);
      child.send(seed);
      return (await answered) as SeedResult;
    },
    stop: () => void child.kill("SIGKILL"),
  };
}

const answer = (child: ChildProcess): Promise<unknown> =>
  new Promise((resolve, reject) => {
    const over = (code: number | null): void => reject(new Error(`the simulation's process ended (${code})`));
    child.once("exit", over);
    child.once("message", (message) => {
      child.off("exit", over);
      resolve(message);
    });
  });
