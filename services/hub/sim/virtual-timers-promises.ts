// Stands in for `node:timers/promises` in the runtime's files: see hooks.ts.
import { setTimeout as realSleep } from "node:timers/promises";
import { currentProcess } from "./processes.ts";
import { clearTimeout, setTimeout as after } from "./virtual-timers.ts";

export { setImmediate } from "node:timers/promises";

export function setTimeout<T>(ms?: number, value?: T, options: { signal?: AbortSignal } = {}): Promise<T> {
  if (currentProcess() === undefined) return realSleep(ms, value as T, options);
  const { signal } = options;
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer);
      reject(new DOMException("The operation was aborted", "AbortError"));
    };
    const timer = after(() => {
      signal?.removeEventListener("abort", abort);
      resolve(value as T);
    }, ms);
    if (signal?.aborted === true) abort();
    else signal?.addEventListener("abort", abort, { once: true });
  });
}
