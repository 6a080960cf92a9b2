import { jetstream } from "@nats-io/jetstream";
import { connect, headers } from "@nats-io/transport-node";
import { DEAD_LETTER_STREAM, deadLetterSubject, HEADER } from "@tributary/contracts";
import { withOrganization } from "@tributary/db";
import { type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { append } from "./append.ts";
import { eraseMessages } from "./erase-messages.ts";
import { deleteConnectionEvents } from "./ledger.ts";
import { createRelayStage, type RelayStage, upTo } from "./testing/relay-stage.ts";
import { sampleBatch } from "./testing/sample-batch.ts";

let postgres: PrivatePostgres;
let stage: RelayStage;
beforeAll(async () => {
  postgres = await startPrivatePostgres();
});
afterAll(() => postgres.stop());
beforeEach(async () => {
  stage = await createRelayStage(postgres);
});
afterEach(() => stage.stop());

const CANARY = "a person's canary";

/** Events whose payload can be searched for. */
async function writeCanary(connectionId: string, count: number, organizationId = "acme"): Promise<void> {
  const batch = sampleBatch(connectionId, count, { organizationId });
  const events = batch.events.map((event) => ({ ...event, payload: Buffer.from(`${CANARY} of ${connectionId}`) }));
  const first = await withOrganization(stage.database, organizationId, (tx) => append(tx, { ...batch, events }));
  stage.handOff.committed({ ...batch, events }, first);
}

async function leaveDeadLetter(connectionId: string, organizationId = "acme"): Promise<void> {
  const nc = await connect({ servers: stage.nats.url });
  const head = headers();
  head.set(HEADER.connection, connectionId);
  await jetstream(nc).publish(deadLetterSubject("billing", organizationId), `${CANARY} of ${connectionId}`, {
    headers: head,
  });
  await nc.close();
}

/** Every byte of the broker's store. */
function stored(folder: string): string {
  return readdirSync(folder)
    .map((name) => join(folder, name))
    .map((path) => (statSync(path).isDirectory() ? stored(path) : readFileSync(path, "latin1")))
    .join("");
}

const inLetters = () => stage.onBroker(async (jsm) => (await jsm.streams.info(DEAD_LETTER_STREAM)).state.messages);

it("erases connections from events and dead letters, byte for byte, and nobody else's", async () => {
  const [gone, also, stays, theirs] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()];
  stage.relay();
  for (let turn = 0; turn < 4; turn++) {
    for (const id of [gone, stays, also]) await writeCanary(id, 60);
    await writeCanary(theirs, 10, "globex");
  }
  await stage.drained();
  for (const id of [gone, stays]) await leaveDeadLetter(id);
  await leaveDeadLetter(theirs, "globex");
  expect(stored(stage.nats.store)).toContain(`${CANARY} of ${gone}`);

  for (const id of [gone, also])
    await withOrganization(stage.database, "acme", (tx) => deleteConnectionEvents(tx, "acme", id));
  // Its own organisation's word is needed: another's erasure finds nothing.
  const connectionIds = [gone, also];
  expect(await eraseMessages({ servers: stage.nats.url, organizationId: "globex", connectionIds })).toBe(0);
  expect(await eraseMessages({ servers: stage.nats.url, organizationId: "acme", connectionIds })).toBe(481);
  expect(await eraseMessages({ servers: stage.nats.url, organizationId: "acme", connectionIds })).toBe(0);

  const bytes = stored(stage.nats.store);
  for (const id of [gone, also]) expect(bytes).not.toContain(`${CANARY} of ${id}`);
  const all = await stage.streamed();
  expect([...all.keys()].toSorted()).toEqual([stays, theirs].toSorted());
  expect(all.get(stays)).toEqual(upTo(240));
  expect(await inLetters()).toBe(2);
});

it("leaves a stream that the relay finds whole: nothing comes back", async () => {
  const [gone, stays] = [randomUUID(), randomUUID()];
  const relay = stage.relay();
  await writeCanary(gone, 50);
  await stage.drained();
  await writeCanary(stays, 50);
  await stage.drained();
  await relay.stop();
  await withOrganization(stage.database, "acme", (tx) => deleteConnectionEvents(tx, "acme", gone));
  expect(await eraseMessages({ servers: stage.nats.url, organizationId: "acme", connectionIds: [gone] })).toBe(50);
  stage.relay();
  await writeCanary(stays, 5);
  await stage.drained();
  const all = await stage.streamed();
  expect(all.get(gone)).toBeUndefined();
  expect(all.get(stays)).toEqual(upTo(55));
});

it("erases nothing when there is no stream, or nobody is named", async () => {
  const options = { servers: stage.nats.url, organizationId: "acme" };
  expect(await eraseMessages({ ...options, connectionIds: [randomUUID()] })).toBe(0);
  expect(await eraseMessages({ ...options, connectionIds: [] })).toBe(0);
  await stage.onBroker(async (jsm) => expect((await jsm.getAccountInfo()).streams).toBe(0));
});
