import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Broker, openBroker } from "./jetstream.ts";
import type { LedgerEvent } from "./ledger.ts";
import { type PrivateNats, startPrivateNats } from "./testing/private-nats.ts";
import { sampleBatch } from "./testing/sample-batch.ts";
import { openStreamSurgeon } from "./testing/stream-surgeon.ts";

const MAX_PAYLOAD_BYTES = 65_536;

let nats: PrivateNats;
let broker: Broker;
const ended = new AbortController();
beforeAll(async () => {
  nats = await startPrivateNats({ maxPayloadBytes: MAX_PAYLOAD_BYTES });
  broker = await openBroker({ servers: nats.url, signal: ended.signal });
  await broker.ensureStreams(1);
});
afterAll(async () => {
  ended.abort();
  await broker.close();
  await nats.stop();
});

function window(count: number): LedgerEvent[] {
  const { events, ...batch } = sampleBatch(randomUUID(), count);
  return events.map((event, index) => ({ ...batch, ...event, sequence: BigInt(index + 1) }));
}

const held = async (): Promise<(readonly [string, number])[]> =>
  (await openStreamSurgeon(nats.url).messages()).map(({ connectionId, sequence }) => [connectionId, sequence]);

describe("a window", () => {
  it("is stored whole, each event behind the one before it", async () => {
    const events = window(5);
    const { lastSequence } = await broker.state();
    const outcomes = await broker.publish(events, lastSequence);
    expect(outcomes).toEqual(events.map((_, index) => ({ kind: "stored", streamSequence: lastSequence + index + 1 })));
  });

  it("is refused whole when another publisher's message stands where it should begin", async () => {
    const { lastSequence } = await broker.state();
    const others = window(1);
    const before = await held();
    await broker.publish(others, lastSequence);
    // Numbers alone would fit again from the second event on, and let the rest in behind a gap.
    const outcomes = await broker.publish(window(5), lastSequence);
    expect(outcomes).toEqual(Array.from({ length: 5 }, () => ({ kind: "out_of_turn" })));
    expect(await held()).toEqual([...before, [others[0]?.connectionId, 1]]);
  });
});

describe("an event near the broker's limit", () => {
  it("is refused before it is sent or stored: the client would throw in the middle of a window", async () => {
    const id = randomUUID();
    const sizes = Array.from({ length: 600 }, (_, index) => MAX_PAYLOAD_BYTES - 900 + index);
    const events = sizes.map((bytes, index): LedgerEvent => {
      const { events: made, ...batch } = sampleBatch(id, 1);
      const [event] = made;
      if (event === undefined) throw new Error("no sample");
      return {
        ...batch,
        ...event,
        id: `near-the-limit-${index}`.padEnd(22, "-"),
        payload: new Uint8Array(bytes),
        sequence: BigInt(index + 1),
      };
    });
    const fitting = events.filter((event) => broker.refusal(event) === undefined);
    expect(fitting.length).toBeGreaterThan(50);
    expect(events.length - fitting.length).toBeGreaterThan(50);
    for (let from = 0; from < fitting.length; from += 100) {
      const { lastSequence } = await broker.state();
      const outcomes = await broker.publish(fitting.slice(from, from + 100), lastSequence);
      expect(new Set(outcomes.map(({ kind }) => kind))).toEqual(new Set(["stored"]));
    }
  });
});
