import { jetstreamManager, type JetStreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { connectNats } from "./nats-connection.ts";
import { streamMessages } from "./stream-messages.ts";
import { type PrivateNats, startPrivateNats } from "./testing/private-nats.ts";

const MESSAGES = 2_500;
const stream = "MANY";

let nats: PrivateNats;
let nc: NatsConnection;
let jsm: JetStreamManager;
beforeAll(async () => {
  nats = await startPrivateNats();
  nc = await connectNats({ servers: nats.url });
  jsm = await jetstreamManager(nc);
});
afterAll(async () => {
  await nc.close();
  await nats.stop();
});
beforeEach(async () => {
  await jsm.streams.delete(stream).catch(() => {});
  await jsm.streams.add({ name: stream, subjects: ["many.>"] });
  for (let made = 0; made < MESSAGES; made++) nc.publish(`many.${made % 5}`, "content");
  await nc.flush();
});

/** @param also is done once the first message is there. */
async function read(also: () => Promise<unknown>, from?: number): Promise<number[]> {
  const sequences: number[] = [];
  for await (const message of streamMessages(nc, jsm, { stream, ...(from === undefined ? {} : { from }) })) {
    if (sequences.length === 0) await also();
    expect(message.data).toHaveLength(0);
    sequences.push(message.seq);
  }
  return sequences;
}
const nothing = (): Promise<void> => Promise.resolve();

it("reads a stream to its end, in order, from the beginning or from a place, and an empty one", async () => {
  expect(await read(nothing)).toEqual(Array.from({ length: MESSAGES }, (_, index) => index + 1));
  expect(await read(nothing, MESSAGES - 1)).toEqual([MESSAGES - 1, MESSAGES]);
  await jsm.streams.purge(stream);
  expect(await read(nothing)).toEqual([]);
});

it("ends when what was still to come is erased meanwhile", async () => {
  const sequences = await read(() => jsm.streams.purge(stream));
  expect(sequences.length).toBeGreaterThan(0);
  expect(sequences.length).toBeLessThan(MESSAGES);
});

it("fails when the stream is deleted meanwhile", async () => {
  await expect(read(() => jsm.streams.delete(stream))).rejects.toThrow("stream_gone");
});
