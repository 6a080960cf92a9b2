import type { Identity } from "@tributary/auth";

/** The longest that a timer can wait; a stream that lives longer sets another. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/**
 * A signal for what must not outlive the proof of who asked for it.
 * @returns `expired` tells whether that, rather than the caller, ended it; `done` puts the timer away.
 */
export function untilExpiry(
  identity: Identity,
  signal: AbortSignal,
  now: () => Date,
): { readonly signal: AbortSignal; readonly expired: () => boolean; readonly done: () => void } {
  const { expiresAtMs } = identity;
  if (expiresAtMs === undefined) return { signal, expired: () => false, done: () => {} };
  const end = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const check = (): void => {
    const leftMs = expiresAtMs - now().getTime();
    if (leftMs <= 0) end.abort();
    else timer = setTimeout(check, Math.min(leftMs, TIMER_MS_MAX));
  };
  check();
  return {
    signal: AbortSignal.any([signal, end.signal]),
    expired: () => end.signal.aborted && !signal.aborted,
    done: () => clearTimeout(timer),
  };
}
