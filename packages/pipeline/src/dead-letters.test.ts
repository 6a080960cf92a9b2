import { setTimeout as sleep } from "node:timers/promises";
import { randomUUID } from "node:crypto";
import { type Database, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { describe, expect, it } from "vitest";
import { keepLetter } from "./dead-letter-intake.ts";
import { createDeadLetters, trimDeadLetters } from "./dead-letters.ts";
import { eraseEvents } from "./erase-events.ts";
import { deleteConnectionEvents } from "./ledger.ts";
import type { BrokerLetter, SideEvent, SideRoad } from "./side-road.ts";
import type { StreamedEvent } from "./stream.ts";
import type { StreamStage } from "./testing/stream-stage.ts";
import { useStreamStage } from "./testing/use-stream-stage.ts";

let database: Database;
let stage: StreamStage;
let organizationId = "";
useStreamStage((on) => ({ database, stage, organizationId } = on));

const letters = () => createDeadLetters(database);
const consumers = () => stage.consumers;

const write: StreamStage["write"] = (...what) => stage.write(...what);
const read: StreamStage["read"] = (options) => stage.read(options);

const marks = (events: readonly StreamedEvent[]) =>
  events.map(({ sequence, replayId, redrive }) => [Number(sequence), replayId, redrive]);

/** As a subscriber on NATS leaves one. */
const letterOf = (connectionId: string, n: number): BrokerLetter => ({
  consumer: "books",
  event: {
    organizationId,
    connectionId,
    connector: "todoist",
    sequence: BigInt(n + 1),
    id: `event-${n}`,
    type: "a.v1.Wanted",
    subject: "evt.v1.a.todoist.task.changed",
    objectKey: `task/${n}`,
    timeMs: 0,
    backfill: false,
    traceparent: "",
    payload: new Uint8Array(1),
  },
  replayId: "",
  redrives: 0,
  reason: "why\0",
  attempts: 3,
  diedAtMs: Date.now(),
});

describe("a dead letter", () => {
  it("stays one when it has died again before its first death is forgotten", async () => {
    const died = { ...letterOf(randomUUID(), 1), redrives: 0 };
    await keepLetter(database, died);
    // Another process takes in what the subscriber says of it, while this one still waits for the broker's answer.
    const publish = async () => keepLetter(database, { ...died, redrives: 1 }).then(() => new Set<never>());
    const overNats = createDeadLetters(database, { publish } as unknown as SideRoad);
    await overNats.redrive(organizationId, { consumer: died.consumer });
    expect((await overNats.list({ organizationId, limit: 10 })).letters).toMatchObject([
      { redrives: 1, state: "dead" },
    ]);
  });

  it("is shown with its event, delivered again to its consumer alone, marked, and is none when it was handled", async () => {
    const a = randomUUID();
    await write(a, 3);
    let dying = true;
    const reader = read({ fate: ({ sequence }) => (sequence === 2n && dying ? "dead_letter" : "handled") });
    const other = read({ consumer: "audit" });
    await reader.until(3);
    await other.until(3);
    await reader.settled();
    const {
      letters: [letter],
    } = await letters().list({ organizationId, limit: 10 });
    expect(letter).toMatchObject({ consumer: "billing", road: "http", sequence: 2n, reason: "why", state: "dead" });
    expect((await letters().get(organizationId, letter?.letterId ?? ""))?.payload.length).toBeGreaterThan(0);
    await letters().redrive(organizationId, { consumer: "billing" });
    await reader.until(4);
    await reader.settled();
    await sleep(1_200);
    // Given up again: the same letter, once more dead.
    expect((await letters().list({ organizationId, limit: 10 })).letters).toMatchObject([
      { state: "dead", redrives: 1 },
    ]);
    dying = false;
    await letters().redrive(organizationId, { id: letter?.letterId ?? "" });
    await reader.until(5);
    await reader.settled();
    expect((await letters().list({ organizationId, limit: 10 })).letters).toEqual([]);
    await reader.close();
    await other.close();
    expect(marks(reader.got.slice(3))).toEqual([
      [2, "", 1],
      [2, "", 2],
    ]);
    expect(reader.got[3]?.id).toBe(reader.got[1]?.id);
    expect(other.got).toHaveLength(3);
    expect(await stage.position()).toEqual([{ settled: 3n }]);
  });

  it("is kept whatever its consumer says of it", async () => {
    await write(randomUUID(), 1);
    const reader = read({ fate: () => "none" });
    const [event] = await reader.until(1);
    if (event === undefined) throw new Error("no event came");
    const settled = { ...event, consumer: "billing", outcome: "dead_letter", reason: "a\0b" } as const;
    await stage.stream.settle(settled);
    await reader.close();
    const { letters: found } = await letters().list({ organizationId, limit: 10 });
    expect(found).toMatchObject([{ reason: "a\u{FFFD}b" }]);
  });

  it("that the broker can never take stays one, and keeps none behind it", async () => {
    const refused = "event-0";
    const published: string[] = [];
    const nats = {
      publish: async (events: readonly SideEvent[]) => {
        const never = events.filter(({ event }) => event.id === refused).map(({ event }) => event);
        published.push(...events.map(({ event }) => event.id).filter((id) => id !== refused));
        return new Set(never);
      },
    } as unknown as SideRoad;
    const connectionId = randomUUID();
    for (let n = 0; n < 250; n++) await keepLetter(database, letterOf(connectionId, n));
    const { count, more } = await createDeadLetters(database, nats).redrive(organizationId, { consumer: "books" });
    expect({ count, more }).toEqual({ count: 249, more: false });
    expect(new Set(published).size).toBe(249);
    const { letters: left } = await letters().list({ organizationId, limit: 10 });
    expect(left).toMatchObject([{ id: refused, reason: "why\u{FFFD}" }]);
  });

  it("keeps its event when the ledger has dropped it, goes with the connection's erasure, and after 90 days", async () => {
    const a = randomUUID();
    await write(a, 2);
    const reader = read({ fate: () => "dead_letter" });
    await reader.until(2);
    await reader.settled();
    await reader.close();
    await asOwner(database, (tx) =>
      run(tx, "DELETE FROM pipeline.event WHERE connection_id = $1 AND sequence = 1", [a]),
    );
    const page = await letters().list({ organizationId, limit: 1 });
    expect(page.next).toBeDefined();
    const all = [
      ...page.letters,
      ...(await letters().list({ organizationId, limit: 5, after: page.next ?? "" })).letters,
    ];
    expect(new Set(all.map(({ sequence }) => sequence))).toEqual(new Set([1n, 2n]));
    for (const { letterId } of all)
      expect((await letters().get(organizationId, letterId))?.payload.length).toBeGreaterThan(0);
    await asOwner(database, (tx) =>
      run(
        tx,
        "UPDATE pipeline.dead_letter SET died_at = now() - interval '91 days' WHERE sequence = 1 AND connection_id = $1",
        [a],
      ),
    );
    expect(await trimDeadLetters(database)).toBe(1);
    expect(await letters().drop(organizationId, { consumer: "billing", type: "a.v1.Nothing" })).toEqual({
      count: 0,
      more: false,
    });
    expect(await letters().drop(organizationId, { consumer: "billing" })).toEqual({ count: 1, more: false });
  });

  it("says how often its consumer tried, also the last time", async () => {
    await write(randomUUID(), 1);
    const reader = read({ fate: () => "none" });
    await reader.until(1);
    const die = (event: StreamedEvent | undefined, attempts: number) =>
      stage.stream.settle({ ...(event as StreamedEvent), consumer: "billing", outcome: "dead_letter", attempts });
    const tries = async () => (await letters().list({ organizationId, limit: 1 })).letters[0]?.attempts;
    await die(reader.got[0], 2 ** 32 - 1);
    expect(await tries()).toBe(2 ** 31 - 1);
    await letters().redrive(organizationId, { consumer: "billing" });
    await reader.until(2);
    await die(reader.got[1], 3);
    expect(await tries()).toBe(3);
    await reader.close();
  });

  it("of an event that went with its day keeps what its consumer says of it, and is delivered to nobody again", async () => {
    const [a, b] = [randomUUID(), randomUUID()];
    await write(a, 1);
    await write(b, 2);
    const reader = read({ fate: () => "none" });
    await reader.until(3);
    await stage.expire(a, 1);
    await stage.expire(b, 1);
    const dead = reader.got.filter(({ sequence }) => sequence === 1n);
    for (const event of dead) await reader.settle(event, "dead_letter");
    await reader.close();
    const { letters: found } = await letters().list({ organizationId, limit: 10 });
    expect(new Set(found.map(({ connectionId }) => connectionId))).toEqual(new Set([a, b]));
    for (const letter of found) {
      const { id, subject } = dead.find(({ connectionId }) => connectionId === letter.connectionId) as StreamedEvent;
      const said = { id, type: "a.v1.Wanted", subject, connector: "todoist", reason: "why", attempts: 7 };
      expect(letter).toMatchObject({ ...said, eventGone: true, state: "dead" });
    }
    expect(await letters().redrive(organizationId, { consumer: "billing" })).toEqual({ count: 0, more: false });
    expect(await letters().drop(organizationId, { consumer: "billing" })).toEqual({ count: 2, more: false });
  });

  it("of an event that was erased is none: nothing is kept, and its consumer goes on", async () => {
    const [ended, idle, forgotten] = [randomUUID(), randomUUID(), randomUUID()];
    for (const connectionId of [ended, idle, forgotten]) await write(connectionId, 1);
    const reader = read({ fate: () => "none" });
    await reader.until(3);
    await asOwner(database, async (tx) => {
      for (const id of [ended, idle]) await deleteConnectionEvents(tx, organizationId, id);
      await eraseEvents(tx, organizationId, [forgotten]);
    });
    // What says that the connection has ended.
    await write(ended, 1);
    await stage.expire(idle, 1);
    await reader.until(4);
    for (const event of reader.got.slice(0, 3)) await reader.settle(event, "dead_letter");
    await reader.close();
    expect((await letters().list({ organizationId, limit: 10 })).letters).toEqual([]);
    expect(await stage.position()).toEqual([{ settled: 1n }, { settled: 1n }, { settled: 1n }]);
  });

  it("of a consumer that holds keeps the rest of its connection waiting, and no other, until it is handled or dropped", async () => {
    await consumers().create({ ...stage.wish("billing"), afterDeadLetter: "hold" });
    const [a, b] = [randomUUID(), randomUUID()];
    await write(a, 5);
    await write(b, 3);
    const reader = read({
      fate: ({ connectionId, sequence, redrive }) =>
        connectionId === a && redrive === 0 && (sequence === 2n || sequence === 4n) ? "dead_letter" : "handled",
    });
    await reader.until(5);
    await reader.settled();
    await sleep(1_300);
    const ofA = () =>
      reader.got.filter(({ connectionId }) => connectionId === a).map(({ sequence }) => Number(sequence));
    expect(ofA()).toEqual([1, 2]);
    expect(reader.got).toHaveLength(5);
    expect((await consumers().get(organizationId, "billing"))?.behind).toMatchObject([{ connectionId: a, held: true }]);
    await letters().redrive(organizationId, { consumer: "billing" });
    await reader.until(8);
    await reader.settled();
    await sleep(1_300);
    expect(ofA()).toEqual([1, 2, 2, 3, 4]);
    await letters().drop(organizationId, { consumer: "billing" });
    await reader.until(9);
    expect(ofA()).toEqual([1, 2, 2, 3, 4, 5]);
    await reader.close();
  });
});
