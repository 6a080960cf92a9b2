import type { SandboxClock } from "./clock.ts";

/** A fixed window of requests, per key. */
export interface RateWindow {
  /** @returns undefined when the request may pass, else the whole seconds until the window ends, at least 1. */
  take(key: string): number | undefined;
  clear(): void;
}

const KEYS_MAX = 10_000;

export function createRateWindow(clock: SandboxClock, requests: number, perMs: number): RateWindow {
  const windows = new Map<string, { readonly start: number; used: number }>();
  return {
    take: (key) => {
      const now = clock.now().getTime();
      let window = windows.get(key);
      if (window === undefined || now >= window.start + perMs) {
        if (windows.size >= KEYS_MAX) windows.clear();
        windows.set(key, (window = { start: now, used: 0 }));
      }
      if (window.used >= requests) return Math.max(1, Math.ceil((window.start + perMs - now) / 1000));
      window.used++;
      return undefined;
    },
    clear: () => windows.clear(),
  };
}
