/** The only time that simulated providers know: token lifetimes, rate windows and change times follow it. */
export interface SandboxClock {
  now(): Date;
  /** Moves the time forward, ms. It never goes back. */
  advance(ms: number): void;
  /** Stops the time, by default where it is. An earlier time than now is refused. */
  freeze(at?: Date): void;
  /** Lets a frozen time run on. */
  thaw(): void;
}

/** @param real what runs underneath; the default is this machine's clock. */
export function createClock(real: () => number = Date.now): SandboxClock {
  let offset = 0;
  let frozen: number | undefined;
  const now = (): number => frozen ?? real() + offset;
  return {
    now: () => new Date(now()),
    advance: (ms) => {
      if (!(ms >= 0)) throw new RangeError("a sandbox's clock does not go back");
      if (frozen === undefined) offset += ms;
      else frozen += ms;
    },
    freeze: (at) => {
      const target = at?.getTime() ?? now();
      if (!(target >= now())) throw new RangeError("a sandbox's clock does not go back");
      frozen = target;
    },
    thaw: () => {
      if (frozen === undefined) return;
      offset = frozen - real();
      frozen = undefined;
    },
  };
}
