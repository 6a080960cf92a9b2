import type { EventBatch } from "./append.ts";
import type { LedgerEvent } from "./ledger.ts";

/** Of payloads, in all connections together. */
const BYTES_MAX = 16 * 1024 * 1024;
/** What was erased meanwhile is not to come from memory for long. */
const AGE_MAX_MS = 5_000;
/** What an event takes besides its payload, about. */
const EVENT_BYTES = 300;

/**
 * What this process committed a moment ago: who reads close behind it need not ask the ledger. Memory is bounded. Of a
 * connection it holds everything up to the last that it was told of, or nothing.
 */
export interface Recent {
  /** Takes in what was committed; without room, the connection is left to the ledger. */
  offer(batch: EventBatch, firstSequence: bigint): void;
  /** Another process wrote to the connection. */
  forget(connectionId: string): void;
  /** What follows a sequence in its connection, `limit` at most, and forgets what stands before. Empty: ask the ledger. */
  after(connectionId: string, sequence: bigint, limit: number): readonly LedgerEvent[];
}

interface Entry {
  readonly batch: EventBatch;
  readonly first: bigint;
  readonly last: bigint;
  readonly bytes: number;
  readonly at: number;
}

/** @param clock milliseconds that only ever grow. */
export function createRecent(clock: () => number): Recent {
  /** In the order of their sequences, without a gap. */
  const connections = new Map<string, Entry[]>();
  let bytes = 0;

  /** Drops entries from the front as long as `gone` says so, and the connection with its last. */
  function drop(connectionId: string, entries: Entry[], gone: (entry: Entry) => boolean): void {
    for (let [head] = entries; head !== undefined && gone(head); [head] = entries) {
      bytes -= head.bytes;
      entries.shift();
    }
    if (entries.length === 0) connections.delete(connectionId);
  }

  function forget(connectionId: string): void {
    const entries = connections.get(connectionId);
    if (entries !== undefined) drop(connectionId, entries, () => true);
  }

  return {
    forget,
    offer: (batch, first) => {
      const now = clock();
      const weight = batch.events.reduce((sum, { payload }) => sum + payload.length + EVENT_BYTES, 0);
      if (bytes + weight > BYTES_MAX)
        for (const [id, entries] of connections) drop(id, entries, ({ at }) => now - at > AGE_MAX_MS);
      const { connectionId } = batch;
      const isNext = connections.get(connectionId)?.at(-1)?.last === first - 1n;
      if (!isNext || bytes + weight > BYTES_MAX) forget(connectionId);
      if (bytes + weight > BYTES_MAX) return;
      const entries = connections.get(connectionId) ?? [];
      entries.push({ batch, first, last: first + BigInt(batch.events.length - 1), bytes: weight, at: now });
      connections.set(connectionId, entries);
      bytes += weight;
    },
    after: (connectionId, sequence, limit) => {
      const entries = connections.get(connectionId);
      if (entries === undefined) return [];
      const now = clock();
      drop(connectionId, entries, ({ last, at }) => last <= sequence || now - at > AGE_MAX_MS);
      const events: LedgerEvent[] = [];
      let next = sequence + 1n;
      for (const { batch, first, last } of entries) {
        if (events.length >= limit || first > next) break;
        const { organizationId, connector, backfill, traceparent } = batch;
        const start = Number(next - first);
        for (const event of batch.events.slice(start, start + limit - events.length))
          events.push({ organizationId, connectionId, connector, backfill, traceparent, sequence: next++, ...event });
        if (next <= last) break;
      }
      return events;
    },
  };
}
