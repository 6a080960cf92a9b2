import { type Check, must } from "../check.ts";
import { link } from "../consent-road.ts";
import { dropCursor, eventsOf, read } from "../drive.ts";

const backfill: Check = {
  name: "a backfill reads what is there and ends with a checkpoint",
  run: async (stage) => {
    const id = stage.person.add();
    const linked = await link(stage, "a");
    const result = await read(stage, linked);
    must(
      stage.witness.yielded.at(-1)?.kind === "checkpoint",
      "signals followed the last checkpoint, and were dropped",
      "yield a checkpoint as the last thing of every run",
    );
    const events = await eventsOf(stage, linked);
    must(
      events.length > 0 && events.length === result.events,
      `${events.length} events were published of ${result.events}`,
      "emit only event types that `manifest.events` lists",
    );
    must(
      events.some(({ objectKey }) => objectKey.endsWith(`/${id}`)),
      "an object that was there before is missing",
      "read everything since `user.backfillFrom` when there is no cursor",
    );
  },
};

const repeated: Check = {
  name: "what is read again is not published again",
  run: async (stage) => {
    const linked = await link(stage, "a");
    await read(stage, linked);
    const first = await eventsOf(stage, linked);
    const second = await read(stage, linked);
    must(
      second.events === 0,
      `a second run without any change published ${second.events} events`,
      "pass the cursor on, and leave out of the payload what differs between two readings of one state",
    );
    stage.control.clock.advance(60_000);
    await dropCursor(stage, linked);
    const third = await read(stage, linked);
    must(
      third.events === 0 && third.unchanged >= first.length,
      `reading everything again published ${third.events} events and recognised ${third.unchanged} of ${first.length}`,
      "give signals the provider's own ids, and revisions that do not change by being read: the same input, the same ids",
    );
  },
};

export const backfillChecks: readonly Check[] = [backfill, repeated];
