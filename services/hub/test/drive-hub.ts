import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Orders } from "./driven-hub.ts";

/** A hub in a process of its own that logs all it can, and does what no setting and no route can when it is asked. */
export interface DrivenHub {
  readonly origin: string;
  ask<Name extends keyof Orders>(
    order: Name,
    ...argument: Parameters<Orders[Name]>
  ): Promise<Awaited<ReturnType<Orders[Name]>>>;
  /** Ends it well, and hands over what it printed. */
  stop(): Promise<void>;
  readonly child: ChildProcess;
}

/** @param printed is called with the whole of each output when the hub has ended. */
export async function driveHub(
  env: Readonly<Record<string, string>>,
  printed: (name: "stdout" | "stderr", text: string) => void,
): Promise<DrivenHub> {
  const { PATH = "", HOME = "" } = process.env;
  const child = fork(fileURLToPath(new URL("driven-hub.ts", import.meta.url)), {
    execArgv: ["--disable-warning=ExperimentalWarning"],
    serialization: "advanced",
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    env: { PATH, HOME, LOG_LEVEL: "debug", ...env },
  });
  const output: Record<"stdout" | "stderr", string> = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name]?.setEncoding("utf8").on("data", (text: string) => (output[name] += text));
  const answers = new Map<number, (answer: unknown) => void>();
  let asked = 0;
  const closed = once(child, "close").then(() => Promise.reject(new Error(`the hub ended: ${output.stderr}`)));
  closed.catch(() => {});
  const answered = (id: number): Promise<unknown> =>
    Promise.race([new Promise((resolve) => answers.set(id, resolve)), closed]);
  child.on("message", ({ id, answer }: { id: number; answer: unknown }) => answers.get(id)?.(answer));
  const origin = (await answered(0)) as string;
  const ask: DrivenHub["ask"] = async (order, ...[argument]) => {
    const id = ++asked;
    const answer = answered(id);
    child.send({ id, order, argument });
    return (await answer) as never;
  };
  return {
    origin,
    ask,
    child,
    stop: async () => {
      const ended = once(child, "close");
      await ask("stop");
      await ended;
      printed("stdout", output.stdout);
      printed("stderr", output.stderr);
    },
  };
}
