import { currentProcess, type Process } from "./processes.ts";

/**
 * The timers of the simulated processes: they fire when {@link passTime} is told that time has passed, and not before.
 * Code outside of a simulated process gets the real ones. `hooks.ts` puts these into the runtime's files.
 */
class VirtualTimer {
  readonly owner: Process;
  readonly call: () => void;
  readonly ms: number;
  readonly repeats: boolean;
  at: number;
  constructor(owner: Process, call: () => void, ms: number, repeats: boolean) {
    this.owner = owner;
    this.call = call;
    this.ms = Math.max(1, ms);
    this.repeats = repeats;
    this.at = nowMs + this.ms;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
}

const CHORE_MS = 60_000;
let nowMs = 0;
/** In the order in which they were made: of two that are due at once the older one fires first. */
const timers = new Set<VirtualTimer>();

type Call = (...words: unknown[]) => void;
const real = {
  setTimeout: globalThis.setTimeout,
  setInterval: globalThis.setInterval,
  clearTimeout: globalThis.clearTimeout,
};

function make(call: Call, ms: number, words: readonly unknown[], repeats: boolean): VirtualTimer | undefined {
  const owner = currentProcess();
  if (owner === undefined) return undefined;
  const timer = new VirtualTimer(owner, () => call(...words), ms, repeats);
  if (!owner.dead) timers.add(timer);
  return timer;
}

export const setTimeout = (call: Call, ms = 0, ...words: unknown[]): unknown =>
  make(call, ms, words, false) ?? real.setTimeout(call, ms, ...words);

export const setInterval = (call: Call, ms = 0, ...words: unknown[]): unknown =>
  make(call, ms, words, true) ?? real.setInterval(call, ms, ...words);

export function clearTimeout(timer: unknown): void {
  if (timer instanceof VirtualTimer) timers.delete(timer);
  else real.clearTimeout(timer as NodeJS.Timeout);
}

export const clearInterval = clearTimeout;

/**
 * Fires what is due. What came due several times meanwhile fires once, as after a machine that slept.
 * @param late whether an interval of a minute or more, which chores have, lets this occasion pass.
 */
export function passTime(ms: number, late: () => boolean): void {
  nowMs = ms;
  const due = [...timers].filter(({ at, owner }) => at <= nowMs && !owner.frozen).toSorted((a, b) => a.at - b.at);
  for (const timer of due) {
    if (timer.repeats && timer.ms >= CHORE_MS && late()) {
      timer.at = nowMs + timer.ms;
      continue;
    }
    // One that fired before it may have cleared it.
    if (!timers.delete(timer)) continue;
    if (timer.repeats) {
      timer.at = nowMs + timer.ms;
      timers.add(timer);
    }
    timer.call();
  }
}

export function forgetTimersOf(process: Process): void {
  for (const timer of timers) if (timer.owner === process) timers.delete(timer);
}

/** No process of before is left. @param ms what time it is. */
export function resetTimers(ms: number): void {
  timers.clear();
  nowMs = ms;
}
