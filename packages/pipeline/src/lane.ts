import type { LedgerPlace } from "./ledger.ts";
import type { StoredPosition } from "./positions.ts";

/**
 * A consumer's view of one connection. Events up to `settled` are done with; those in `outstanding` were handed out
 * and not settled; `read` is the last one looked at, wanted or not. Reading moves `read`, settling empties
 * `outstanding`, and `settled` follows by itself: it stands before the first outstanding event, or at `read`.
 */
export interface Lane {
  readonly connectionId: string;
  readonly read: LedgerPlace;
  /** Settled as far as is known, without a gap. */
  readonly settled: bigint;
  readonly outstanding: number;
  /** Looked at up to here; `wanted` is handed out now. Skips what was settled before it was read. @returns false then. */
  step(place: LedgerPlace, wanted: boolean): boolean;
  /**
   * Everything up to here is gone. Where that is told, the last of it stands for what was handed out, and the position
   * stays before all of it until that is settled. @returns how many of them had not been settled.
   */
  pass(place: LedgerPlace, told: boolean): bigint;
  /** @returns whether the event was outstanding. */
  settle(sequence: bigint): boolean;
  /** Takes in what the database says, which another process may have moved. @returns how many this settled. */
  merge(stored: StoredPosition): number;
}

export function createLane(connectionId: string, stored: StoredPosition | undefined): Lane {
  let read: LedgerPlace = { sequence: stored?.settled ?? 0n };
  /**
   * By what it is settled under, the first that it stands for: an event stands for itself, and the last of what is gone
   * for all of that. In ascending order, which is the order of insertion.
   */
  const outstanding = new Map<bigint, bigint>();
  /** Settled before it was read. */
  const early = new Set(stored?.ahead);
  return {
    connectionId,
    get read() {
      return read;
    },
    get settled() {
      const [first] = outstanding.values();
      return first === undefined ? read.sequence : first - 1n;
    },
    get outstanding() {
      return outstanding.size;
    },
    step: (place, wanted) => {
      read = place;
      if (!wanted || early.delete(place.sequence)) return false;
      outstanding.set(place.sequence, place.sequence);
      return true;
    },
    pass: (place, told) => {
      const first = read.sequence + 1n;
      let unsettled = place.sequence - read.sequence;
      for (const sequence of early)
        if (sequence <= place.sequence && early.delete(sequence) && sequence >= first) unsettled--;
      read = place;
      if (!told || unsettled === 0n) return 0n;
      outstanding.set(place.sequence, first);
      return unsettled;
    },
    settle: (sequence) => {
      if (outstanding.delete(sequence)) return true;
      if (sequence > read.sequence) early.add(sequence);
      return false;
    },
    merge: ({ settled, ahead }) => {
      let count = 0;
      for (const sequence of outstanding.keys())
        if (sequence <= settled || ahead.includes(sequence)) {
          outstanding.delete(sequence);
          count++;
        }
      for (const sequence of ahead) if (sequence > read.sequence) early.add(sequence);
      if (settled > read.sequence) read = { sequence: settled };
      return count;
    },
  };
}
