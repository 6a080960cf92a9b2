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
  /** @returns whether the event was outstanding. */
  settle(sequence: bigint): boolean;
  /** Takes in what the database says, which another process may have moved. @returns how many this settled. */
  merge(stored: StoredPosition): number;
}

export function createLane(connectionId: string, stored: StoredPosition | undefined): Lane {
  let read: LedgerPlace = { sequence: stored?.settled ?? 0n };
  /** In ascending order, which is the order of insertion. */
  const outstanding = new Set<bigint>();
  /** Settled before it was read. */
  const early = new Set(stored?.ahead);
  return {
    connectionId,
    get read() {
      return read;
    },
    get settled() {
      const [first] = outstanding;
      return first === undefined ? read.sequence : first - 1n;
    },
    get outstanding() {
      return outstanding.size;
    },
    step: (place, wanted) => {
      read = place;
      if (!wanted || early.delete(place.sequence)) return false;
      outstanding.add(place.sequence);
      return true;
    },
    settle: (sequence) => {
      if (outstanding.delete(sequence)) return true;
      if (sequence > read.sequence) early.add(sequence);
      return false;
    },
    merge: ({ settled, ahead }) => {
      let count = 0;
      for (const sequence of outstanding)
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
