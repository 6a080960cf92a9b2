import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type Database, migrate, openPglite } from "@tributary/db";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createEventTail } from "./event-tail.ts";
import { migrations } from "./migrations.ts";
import { openStreamStage, type StreamStage } from "./testing/stream-stage.ts";

let database: Database;
let stage: StreamStage;
beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [migrations]);
  stage = await openStreamStage(database, "acme");
});
afterAll(async () => {
  await stage.stop();
  await database.close();
});

it.each(["junk", "0", "zzzzzzzzzzz", "null", "undefined~x"])(
  "begins now for somebody who resumes by what is no place of ours: %s",
  async (after) => {
    const connectionId = randomUUID();
    await stage.write(connectionId, 2);
    // What was committed within the tick of the clock at which somebody begins may come: PGlite's is a millisecond.
    await sleep(5);
    const { tail } = createEventTail({ database, handOff: stage.handOff, clock: () => Date.now() });
    const abort = new AbortController();
    const events = tail({ organizationId: "acme", types: [], after, signal: abort.signal });
    const first = events.next();
    await sleep(1_200);
    await stage.write(connectionId, 1);
    expect((await first).value?.event).toMatchObject({ connectionId, sequence: 3n });
    abort.abort();
    await events.return(undefined);
  },
);
