/**
 * Connections whose next event the broker refused a moment ago. Each is set aside for a growing while, so that its
 * neighbours go on; an event that stays refused while its neighbours get through is poison, and is parked.
 */
export interface Holds {
  has(connectionId: string): boolean;
  /**
   * Sets a connection aside.
   * @param elsewhere how many events this process has published so far: a refusal counts only when others got through
   * since the one before.
   * @returns "park" when it was refused often enough.
   */
  refuse(connectionId: string, reason: string, elsewhere: number): "hold" | "park";
  /** The connection got through. */
  clear(connectionId: string): void;
  readonly size: number;
}

const FIRST_MS = 250;
const LONGEST_MS = 30_000;

/** The last of them comes after about four minutes. */
const REFUSALS_MAX = 14;

/** Connections remembered; past it the oldest is forgotten, and tried at once. */
const HOLDS_MAX = 10_000;

/** @param now a clock in milliseconds that never goes back. */
export function createHolds(now: () => number): Holds {
  interface Hold {
    readonly tries: number;
    readonly refusals: number;
    readonly until: number;
    readonly elsewhere: number;
  }
  const holds = new Map<string, Hold>();
  return {
    has: (connectionId) => (holds.get(connectionId)?.until ?? 0) > now(),
    refuse: (connectionId, reason, elsewhere) => {
      const before = holds.get(connectionId);
      holds.delete(connectionId);
      // The broker still remembers the id of a message that was purged: that passes by itself.
      const counts = reason !== ID_REMEMBERED && (before === undefined || elsewhere > before.elsewhere);
      const refusals = (before?.refusals ?? 0) + (counts ? 1 : 0);
      if (refusals >= REFUSALS_MAX) return "park";
      const tries = (before?.tries ?? 0) + 1;
      const pause = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(tries - 1, 10));
      holds.set(connectionId, { tries, refusals, until: now() + pause, elsewhere });
      const [oldest] = holds.keys();
      if (holds.size > HOLDS_MAX && oldest !== undefined) holds.delete(oldest);
      return "hold";
    },
    clear: (connectionId) => holds.delete(connectionId),
    get size() {
      return holds.size;
    },
  };
}

/** Why an event is refused that the stream has lost and whose id it still knows. */
export const ID_REMEMBERED = "id_remembered";
