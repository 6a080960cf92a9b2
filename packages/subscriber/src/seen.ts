/** Settled events remembered at most; of those before, a redelivery is handled as if it were new. */
const SETTLED_MAX = 100_000;

/**
 * What this process has already taken on: a source that reconnects sends again what was not settled, and what was
 * settled but not heard. Only what was taken here counts: an event that comes behind its successors may have been lost on
 * its way, and is new.
 */
export interface Seen {
  /** "new": take it on. "pending": it is under way. "settled": it was settled before; say so again. */
  take(lane: string, sequence: bigint): "new" | "pending" | "settled";
  settled(lane: string, sequence: bigint): void;
  /** It was given back: should it come again, it is new. */
  released(lane: string, sequence: bigint): void;
}

export function createSeen(): Seen {
  const pending = new Set<string>();
  /** Two generations: the older goes as a whole when the younger is full. */
  let young = new Set<string>();
  let old = new Set<string>();
  const name = (lane: string, sequence: bigint): string => `${lane} ${sequence}`;
  return {
    take: (lane, sequence) => {
      const event = name(lane, sequence);
      if (pending.has(event)) return "pending";
      if (young.has(event) || old.has(event)) return "settled";
      pending.add(event);
      return "new";
    },
    settled: (lane, sequence) => {
      const event = name(lane, sequence);
      pending.delete(event);
      if (young.size >= SETTLED_MAX / 2) [old, young] = [young, new Set()];
      young.add(event);
    },
    released: (lane, sequence) => void pending.delete(name(lane, sequence)),
  };
}
