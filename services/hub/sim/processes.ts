import { AsyncLocalStorage } from "node:async_hooks";
import { channel } from "node:diagnostics_channel";

/** What would be a process of the operating system: it dies as a whole, in the middle of whatever it does. */
export interface Process {
  readonly name: string;
  dead: boolean;
  /** Stopped as by SIGSTOP: nothing of it goes on, no timer of it fires, and it knows nothing of it afterwards. */
  frozen: boolean;
  /** What the runtime said that it was about to do, since its last transaction: it tells tracing and tests. */
  step: string | undefined;
}

const current = new AsyncLocalStorage<Process>();

export const createProcess = (name: string): Process => ({ name, dead: false, frozen: false, step: undefined });

/** Whose code this is; undefined outside of the processes that are simulated. */
export const currentProcess = (): Process | undefined => current.getStore();

channel("tributary:step").subscribe((step) => {
  const process = current.getStore();
  // Every run starts: what starts with it is nothing yet that could be lost.
  if (process !== undefined && step !== "run.started") process.step = String(step);
});

export const inProcess = <T>(process: Process, work: () => T): T => current.run(process, work);

/** What a dead process waits for. Nothing of it runs any more, not even what it had wanted to do in the end. */
export const never = <T>(): Promise<T> => new Promise(() => {});
