import { describe, expect, it } from "vitest";
import { createRecent } from "./recent.ts";
import { sampleBatch } from "./testing/sample-batch.ts";

const CONNECTION = "00000000-0000-4000-8000-000000000001";
const OTHER = "00000000-0000-4000-8000-000000000002";

function recentAt() {
  const time = { now: 0 };
  const recent = createRecent(() => time.now);
  const sequences = (connection: string, after: bigint, limit = 1_000): bigint[] =>
    recent.after(connection, after, limit).map(({ sequence }) => sequence);
  return { recent, time, sequences };
}

const upTo = (first: number, last: number): bigint[] =>
  Array.from({ length: last - first + 1 }, (_, index) => BigInt(first + index));

describe("what was committed a moment ago", () => {
  it("is given in order, across batches, as much as is asked for, from wherever the reader stands", () => {
    const { recent, sequences } = recentAt();
    recent.offer(sampleBatch(CONNECTION, 3), 5n);
    recent.offer(sampleBatch(CONNECTION, 3), 8n);
    recent.offer(sampleBatch(OTHER, 2), 1n);
    expect(sequences(CONNECTION, 4n)).toEqual(upTo(5, 10));
    expect(sequences(CONNECTION, 5n, 4)).toEqual(upTo(6, 9));
    expect(sequences(CONNECTION, 9n)).toEqual([10n]);
    expect(sequences(CONNECTION, 10n)).toEqual([]);
    expect(sequences(OTHER, 0n)).toEqual([1n, 2n]);
  });

  it("is the event as it was committed", () => {
    const { recent } = recentAt();
    const batch = sampleBatch(CONNECTION, 1);
    recent.offer(batch, 7n);
    const { organizationId, connectionId, connector, backfill, traceparent, events } = batch;
    const shared = { organizationId, connectionId, connector, backfill, traceparent, sequence: 7n };
    expect(recent.after(CONNECTION, 6n, 10)).toEqual([{ ...shared, ...events[0] }]);
  });

  it("is left to the ledger where the reader stands further back, or a gap is between", () => {
    const { recent, sequences } = recentAt();
    recent.offer(sampleBatch(CONNECTION, 2), 5n);
    expect(sequences(CONNECTION, 2n)).toEqual([]);
    recent.offer(sampleBatch(CONNECTION, 2), 9n);
    expect(sequences(CONNECTION, 4n)).toEqual([]);
    expect(sequences(CONNECTION, 8n)).toEqual([9n, 10n]);
  });

  it("is forgotten after five seconds, when another process wrote, and whole connections when there is no room", () => {
    const { recent, time, sequences } = recentAt();
    recent.offer(sampleBatch(CONNECTION, 2), 1n);
    time.now = 5_001;
    expect(sequences(CONNECTION, 0n)).toEqual([]);
    recent.offer(sampleBatch(CONNECTION, 2), 3n);
    recent.forget(CONNECTION);
    expect(sequences(CONNECTION, 2n)).toEqual([]);

    const large = { bytes: 5 * 1024 * 1024 };
    recent.offer(sampleBatch(CONNECTION, 1, large), 5n);
    recent.offer(sampleBatch(OTHER, 1, large), 1n);
    recent.offer(sampleBatch(CONNECTION, 1, large), 6n);
    // Nothing may be missing between what is given and what comes next.
    recent.offer(sampleBatch(CONNECTION, 1, large), 7n);
    expect(sequences(CONNECTION, 4n)).toEqual([]);
    expect(sequences(OTHER, 0n)).toEqual([1n]);
    recent.offer(sampleBatch(CONNECTION, 1, large), 8n);
    expect(sequences(CONNECTION, 7n)).toEqual([8n]);
  });
});
