import { AckPolicy, type JetStreamManager, jetstream, jetstreamManager, type StoredMsg } from "@nats-io/jetstream";
import { connect, headers, type NatsConnection } from "@nats-io/transport-node";
import {
  DEAD_LETTER_STREAM,
  EVENT_STREAM,
  eventHeaders,
  HEADER,
  REPLAY_STREAM,
  replaySubjectFilter,
} from "@tributary/contracts";
import { type Database, migrate, openPostgres, run, withOrganization } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { append } from "./append.ts";
import { createConsumers } from "./consumers.ts";
import { startDeadLetterIntake } from "./dead-letter-intake.ts";
import { createDeadLetters } from "./dead-letters.ts";
import { createHandOff, type HandOff } from "./hand-off.ts";
import { openSideRoad } from "./jetstream-side.ts";
import { lastConnectionEvents } from "./ledger.ts";
import { migrations } from "./migrations.ts";
import { ensurePartitions } from "./partitions.ts";
import { type Relay, startRelay } from "./relay.ts";
import { startReplayRunner } from "./replay-runner.ts";
import { createReplays, type ReplayView } from "./replays.ts";
import { type SideRoad, SideRoadAway } from "./side-road.ts";
import { createEventStream } from "./stream.ts";
import { type PrivateNats, startPrivateNats } from "./testing/private-nats.ts";
import { sampleBatch } from "./testing/sample-batch.ts";

let postgres: PrivatePostgres;
let nats: PrivateNats;
let database: Database;
let handOff: HandOff;
let relay: Relay;
let road: SideRoad;
let nc: NatsConnection;
let jsm: JetStreamManager;
beforeAll(async () => {
  [postgres, nats] = await Promise.all([startPrivatePostgres(), startPrivateNats({ maxPayloadBytes: 65_536 })]);
  database = openPostgres({ url: await postgres.createDatabase() });
  await migrate(database, [migrations]);
  await ensurePartitions(database, new Date());
  handOff = await createHandOff({ database, process: randomUUID() });
  relay = startRelay({ database, handOff, servers: nats.url });
  road = openSideRoad({ servers: nats.url });
  nc = await connect({ servers: `127.0.0.1:${nats.port}`, maxReconnectAttempts: -1, reconnectTimeWait: 50 });
  jsm = await jetstreamManager(nc, { checkAPI: false });
  await until("the relay leads", () => relay.status().state === "leading");
});
afterAll(async () => {
  await road.close();
  await nc.close();
  await relay.stop();
  await handOff.stop();
  await database.close();
  await Promise.all([nats.stop(), postgres.stop()]);
});

async function until(what: string, condition: () => boolean | Promise<boolean>, seconds = 60): Promise<void> {
  const end = performance.now() + seconds * 1_000;
  for (; performance.now() < end; await sleep(20)) if (await condition()) return;
  throw new Error(`not within ${seconds} s: ${what}`);
}

/** What the client of the test asks while it connects again gets no answer. */
const clientBack = (): Promise<void> =>
  until("the client is back", () =>
    jsm.streams.info(EVENT_STREAM).then(
      () => true,
      () => false,
    ),
  );

/** Written and published. */
async function write(organizationId: string, connectionId: string, count: number) {
  const ids: string[] = [];
  for (let left = count; left > 0; left -= 500) {
    const batch = sampleBatch(connectionId, Math.min(left, 500), { organizationId });
    const first = await withOrganization(database, organizationId, (tx) => append(tx, batch));
    handOff.committed(batch, first);
    ids.push(...batch.events.map(({ id }) => id));
  }
  await until("published", async () => {
    const rows = await asOwner(database, (tx) =>
      run<{ rest: bigint }>(tx, "SELECT head - published AS rest FROM pipeline.position WHERE connection_id = $1", [
        connectionId,
      ]),
    );
    return rows[0]?.rest === 0n;
  });
  return ids;
}

async function messages(subject: string): Promise<StoredMsg[]> {
  const found: StoredMsg[] = [];
  const { state } = await jsm.streams.info(REPLAY_STREAM);
  for (let seq = state.first_seq; seq <= state.last_seq; seq++) {
    const message = await jsm.streams.getMessage(REPLAY_STREAM, { seq }).catch(() => null);
    if (message?.subject.startsWith(subject) === true) found.push(message);
  }
  return found;
}

const replays = () => createReplays({ database, nats: road, uuid: randomUUID });
const wish = (organizationId: string) => ({
  organizationId,
  types: [],
  connectionIds: [],
  createdBy: "t",
  eventsPerSecond: 100_000,
});

async function done(organizationId: string, { id }: ReplayView): Promise<ReplayView | undefined> {
  await until("the replay ends", async () => (await replays().get(organizationId, id))?.state !== "running");
  return replays().get(organizationId, id);
}

describe("a replay over NATS", () => {
  it("is published again on subjects of its own, with the same ids, whatever the broker remembers of them", async () => {
    const [a, b] = [randomUUID(), randomUUID()];
    const ids = new Set([...(await write("acme", a, 700)), ...(await write("acme", b, 5))]);
    await write("globex", randomUUID(), 3);
    const before = (await jsm.streams.info(EVENT_STREAM)).state.last_seq;
    const stop = startReplayRunner({ database, nats: road, holder: randomUUID() });
    for (const replay of [await replays().start(wish("acme")), await replays().start(wish("acme"))]) {
      expect(await done("acme", replay)).toMatchObject({ state: "done", total: 705, done: 705 });
      const found = await messages(`rpl.v1.${replay.id}.acme.todoist.task.`);
      expect(new Set(found.map((message) => message.header.get(HEADER.id)))).toEqual(ids);
      expect(found).toHaveLength(705);
      expect(found.every((message) => message.header.get(HEADER.replay) === replay.id)).toBe(true);
      const ofA = found.filter((message) => message.header.get(HEADER.connection) === a);
      expect(ofA.map((message) => Number(message.header.get(HEADER.sequence)))).toEqual(
        Array.from({ length: 700 }, (_, index) => index + 1),
      );
    }
    await stop();
    expect(await messages(replaySubjectFilter("globex").replace("*", "x"))).toEqual([]);
    expect((await jsm.streams.info(EVENT_STREAM)).state.last_seq).toBe(before);
  });

  it("goes on behind what the stream holds when the hub died before it wrote down where it stood", async () => {
    const a = randomUUID();
    await write("crash", a, 50);
    const replay = await replays().start({ ...wish("crash"), eventsPerSecond: 100 });
    const [events] = [
      await withOrganization(database, "crash", (tx) => lastConnectionEvents(tx, "crash", a, 100), "reader"),
    ];
    // What a hub published that was killed then, longer ago than the broker remembers message ids.
    const js = jetstream(nc);
    for (const event of events.toReversed().slice(0, 20)) {
      const head = headers();
      for (const [name, value] of eventHeaders({
        ...event,
        time: new Date(event.timeMs).toISOString(),
        replayId: replay.id,
      }))
        head.set(name, value);
      await js.publish(event.subject.replace("evt.v1.", `rpl.v1.${replay.id}.`), event.payload, { headers: head });
    }
    const stop = startReplayRunner({ database, nats: road, holder: randomUUID() });
    expect(await done("crash", replay)).toMatchObject({ state: "done", total: 50, done: 50 });
    await stop();
    const found = await messages(`rpl.v1.${replay.id}.`);
    expect(found.map((message) => Number(message.header.get(HEADER.sequence)))).toEqual(
      Array.from({ length: 50 }, (_, index) => index + 1),
    );
  });

  it("waits for a broker that is away, and for no event that is too large for it", async () => {
    const a = randomUUID();
    await write("away", a, 10);
    await asOwner(database, (tx) =>
      run(tx, "UPDATE pipeline.event SET payload = $2 WHERE connection_id = $1 AND sequence = 3", [
        a,
        new Uint8Array(70_000),
      ]),
    );
    const replay = await replays().start(wish("away"));
    await nats.kill();
    const stop = startReplayRunner({ database, nats: road, holder: randomUUID() });
    await sleep(1_500);
    expect(await replays().get("away", replay.id)).toMatchObject({ state: "running" });
    await nats.restart();
    await clientBack();
    expect(await done("away", replay)).toMatchObject({ state: "done" });
    await stop();
    expect(await messages(`rpl.v1.${replay.id}.`)).toHaveLength(9);
  });

  it("fails when the consumer that it was for is removed, and is published no further", async () => {
    await write("leaving", randomUUID(), 200);
    const consumers = createConsumers({ database, nats: road, outstanding: () => 0 });
    await road.createConsumer("leaving", "leaver");
    const replay = await replays().start({ ...wish("leaving"), consumer: "leaver", eventsPerSecond: 2 });
    const all = await replays().start(wish("leaving"));
    const stop = startReplayRunner({ database, nats: road, holder: randomUUID() });
    await until("some are published", async () => (await messages(`rpl.v1.${replay.id}.`)).length > 0);
    expect(await consumers.remove("leaving", "leaver", "nats")).toBe(true);
    const failed = await done("leaving", replay);
    expect(failed).toMatchObject({ state: "failed", reason: "consumer_removed", targets: [{ ended: false }] });
    expect(await done("leaving", all)).toMatchObject({ state: "done", done: 200 });
    await sleep(1_000);
    expect((await messages(`rpl.v1.${replay.id}.`)).length).toBeLessThan(150);
    await stop();
  });

  it("is for one consumer when it was asked for so, and over both roads when a name stands on both", async () => {
    await write("both", randomUUID(), 4);
    await road.createConsumer("both", "both-audit");
    const stream = await createEventStream({ database, handOff });
    const consumers = createConsumers({ database, nats: road, outstanding: () => 0 });
    const http = {
      types: [],
      afterDeadLetter: "continue",
      start: "oldest",
      road: "http",
      organizationId: "both",
    } as const;
    await consumers.create({ ...http, name: "both-audit" });
    await consumers.create({ ...http, name: "web-only" });
    const stop = startReplayRunner({ database, nats: road, holder: randomUUID() });
    const one = await replays().start({ ...wish("both"), consumer: "both-audit" });
    expect(one.targets.map(({ road: way, consumer }) => [way, consumer])).toEqual([
      ["http", "both-audit"],
      ["nats", "both-audit"],
    ]);
    const other = await replays().start({ ...wish("both"), consumer: "web-only" });
    expect(other.targets.map(({ road: way }) => way)).toEqual(["http"]);
    await until("published", async () => (await messages(`rpl.v1.${one.id}.`)).length === 4);
    const found = await messages(`rpl.v1.${one.id}.`);
    expect(new Set(found.map((message) => message.header.get(HEADER.onlyFor)))).toEqual(new Set(["both-audit"]));
    expect(await messages(`rpl.v1.${other.id}.`)).toEqual([]);
    await expect(replays().start({ ...wish("both"), consumer: "nobody" })).rejects.toMatchObject({
      code: "unknown_consumer",
    });
    await stop();
    await stream.stop();
  });
});

describe("dead letters from NATS", () => {
  async function die(
    organizationId: string,
    connectionId: string,
    sequence: number,
    options: { as?: string; redrive?: number; reason?: string } = {},
  ) {
    const [event] = (
      await withOrganization(
        database,
        organizationId,
        (tx) => lastConnectionEvents(tx, organizationId, connectionId, 200),
        "reader",
      )
    ).filter((one) => one.sequence === BigInt(sequence));
    if (event === undefined) throw new Error("no such event");
    const head = headers();
    const marks = options.redrive === undefined ? {} : { redrive: options.redrive };
    for (const [name, value] of eventHeaders({ ...event, ...marks, time: new Date(event.timeMs).toISOString() }))
      head.set(name, value);
    head.set(HEADER.deadLetterReason, options.reason ?? encodeURIComponent("żaden klient"));
    head.set(HEADER.deadLetterAttempts, "7");
    await jetstream(nc).publish(`dlq.v1.billing.${options.as ?? organizationId}`, event.payload, { headers: head });
    return event;
  }
  const letters = () => createDeadLetters(database, road);
  const listed = async (organizationId: string) => (await letters().list({ organizationId, limit: 50 })).letters;

  it("stand in one list, leave the stream, go out again to their consumer alone, and come back when they die again", async () => {
    const a = randomUUID();
    await write("letters", a, 3);
    const stop = startDeadLetterIntake(database, road);
    const event = await die("letters", a, 2);
    await until("listed", async () => (await listed("letters")).length === 1);
    const [letter] = await listed("letters");
    expect(letter).toMatchObject({
      road: "nats",
      consumer: "billing",
      id: event.id,
      reason: "żaden klient",
      attempts: 7,
      state: "dead",
    });
    expect((await letters().get("letters", letter?.letterId ?? ""))?.subject).toBe(event.subject);
    await until("gone from the stream", async () => (await jsm.streams.info(DEAD_LETTER_STREAM)).state.messages === 0);
    expect(await listed("globex")).toEqual([]);

    expect(await letters().redrive("letters", { consumer: "billing" })).toEqual({ count: 1, more: false });
    expect(await listed("letters")).toEqual([]);
    const [again] = await messages(`rpl.v1.${letter?.letterId}.letters.`);
    expect([HEADER.id, HEADER.redrive, HEADER.onlyFor, HEADER.replay].map((name) => again?.header.get(name))).toEqual([
      event.id,
      "1",
      "billing",
      "",
    ]);

    await die("letters", a, 2, { redrive: 1 });
    await until("listed again", async () => (await listed("letters")).length === 1);
    expect(await listed("letters")).toMatchObject([{ redrives: 1, sequence: 2n }]);
    await stop();
  });

  it("are taken from nobody who speaks for another organisation, and what is no letter stops nothing", async () => {
    const a = randomUUID();
    await write("honest", a, 2);
    const stop = startDeadLetterIntake(database, road);
    await jetstream(nc).publish("dlq.v1.billing.honest", "garbage");
    await die("honest", a, 1, { as: "forger" });
    await die("honest", a, 2, { reason: "100 % of it, as another language wrote it" });
    await until("listed", async () => (await listed("honest")).length === 1);
    expect(await listed("honest")).toMatchObject([
      { sequence: 2n, reason: "100 % of it, as another language wrote it" },
    ]);
    expect(await listed("forger")).toEqual([]);
    await stop();
  });

  it("stay letters while the broker does not take them", async () => {
    const a = randomUUID();
    await write("stay", a, 1);
    const stop = startDeadLetterIntake(database, road);
    await die("stay", a, 1);
    await until("listed", async () => (await listed("stay")).length === 1);
    await nats.kill();
    await expect(letters().redrive("stay", { consumer: "billing" })).rejects.toThrow(SideRoadAway);
    await nats.restart();
    await clientBack();
    expect(await listed("stay")).toHaveLength(1);
    await until("the broker takes it", () =>
      letters()
        .redrive("stay", { consumer: "billing" })
        .then(
          ({ count }) => count === 1,
          () => false,
        ),
    );
    await stop();
  });
});

describe("consumers on NATS", () => {
  it("are listed with what they have not had, to their organisation and to the operator of them all", async () => {
    const consumers = createConsumers({ database, nats: road, outstanding: () => 0, operator: "operator" });
    const asked = {
      types: [],
      afterDeadLetter: "continue",
      start: "oldest",
      road: "nats",
      organizationId: "lag",
      name: "lag-books",
    } as const;
    await write("lag", randomUUID(), 6);
    expect(await consumers.create(asked)).toMatchObject({
      created: true,
      consumer: { lag: 6, filterSubject: "evt.v1.lag.>" },
    });
    expect(await consumers.create(asked)).toMatchObject({ created: false });
    await expect(consumers.create({ ...asked, types: ["a.B"] })).rejects.toMatchObject({
      code: "consumer_unsupported",
    });
    await jsm.consumers.add(EVENT_STREAM, { durable_name: "_everything", ack_policy: AckPolicy.Explicit });
    await jsm.consumers.add(EVENT_STREAM, { durable_name: "others", ack_policy: AckPolicy.Explicit });
    const names = async (organizationId: string) => (await consumers.list(organizationId)).map(({ name }) => name);
    expect(await names("lag")).toEqual(["lag-books"]);
    expect(await names("globex")).toEqual([]);
    expect(await names("operator")).toEqual(["_everything"]);
    expect(await consumers.remove("globex", "lag-books", "nats")).toBe(false);
    expect(await consumers.remove("lag", "lag-books", "nats")).toBe(true);
    expect(await names("lag")).toEqual([]);
  });

  it("of one name are apart when they are two organisations'", async () => {
    const consumers = createConsumers({ database, nats: road, outstanding: () => 0, operator: "operator" });
    const asked = { types: [], afterDeadLetter: "continue", start: "oldest", road: "nats", name: "books" } as const;
    await write("same-a", randomUUID(), 2);
    await write("same-b", randomUUID(), 3);
    for (const organizationId of ["same-a", "same-b"])
      expect(await consumers.create({ ...asked, organizationId })).toMatchObject({ created: true });
    await jsm.consumers.add(EVENT_STREAM, { durable_name: "_books", ack_policy: AckPolicy.Explicit });
    const lag = async (organizationId: string, name = "books") =>
      (await consumers.get(organizationId, name))?.consumer.lag;
    expect([await lag("same-a"), await lag("same-b"), await lag("globex")]).toEqual([2, 3, undefined]);
    expect([await lag("same-a", "_books"), await consumers.remove("same-a", "_books", "nats")]).toEqual([
      undefined,
      false,
    ]);
    expect(await lag("operator", "_books")).toBeGreaterThanOrEqual(5);
    expect(await consumers.remove("same-a", "books", "nats")).toBe(true);
    expect([await lag("same-a"), await lag("same-b")]).toEqual([undefined, 3]);
    expect(await consumers.remove("operator", "_books", "nats")).toBe(true);
  });
});
