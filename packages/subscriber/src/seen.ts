/** Connections remembered; of the one that was quiet longest nothing is known any more. */
const CONNECTIONS_MAX = 50_000;

/**
 * What this process has already taken on: a source that reconnects sends again what was not settled, and what was
 * settled but not heard. Events of a connection come in order, so one number a connection tells.
 */
export interface Seen {
  /** "new": take it on. "pending": it is under way. "settled": it was settled before; say so again. */
  take(connectionId: string, sequence: bigint): "new" | "pending" | "settled";
  settled(connectionId: string, sequence: bigint): void;
  /** It was given back: should it come again, it is new. */
  released(connectionId: string, sequence: bigint): void;
}

export function createSeen(): Seen {
  const lanes = new Map<string, { taken: bigint; readonly pending: Set<bigint> }>();
  return {
    take: (connectionId, sequence) => {
      const lane = lanes.get(connectionId) ?? { taken: 0n, pending: new Set() };
      if (sequence <= lane.taken) return lane.pending.has(sequence) ? "pending" : "settled";
      lane.taken = sequence;
      lane.pending.add(sequence);
      lanes.delete(connectionId);
      lanes.set(connectionId, lane);
      if (lanes.size > CONNECTIONS_MAX)
        for (const [id, { pending }] of lanes)
          if (pending.size === 0) {
            lanes.delete(id);
            break;
          }
      return "new";
    },
    settled: (connectionId, sequence) => lanes.get(connectionId)?.pending.delete(sequence),
    released: (connectionId) => lanes.delete(connectionId),
  };
}
