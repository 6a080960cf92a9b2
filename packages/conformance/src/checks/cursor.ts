import { type Check, must } from "../check.ts";
import { link } from "../consent-road.ts";
import { cursorOf, drive, eventsOf, read, stateOf, storyOf } from "../drive.ts";

const expired: Check = {
  name: "an expired cursor is dropped, and nothing is published twice",
  exempt: (_connector, { person }) =>
    person.expireCursor === undefined ? "the adapter says that the provider's cursors never expire" : undefined,
  run: async (stage) => {
    const linked = await link(stage, "a");
    const known = stage.person.add();
    await read(stage, linked);
    const before = await eventsOf(stage, linked);
    stage.control.clock.advance(1_000);
    const id = stage.person.add();
    stage.person.expireCursor?.();
    const { outcome } = await drive(stage, linked);
    must(
      outcome === "cursor_expired",
      `a run with a cursor that the provider forgot ended as "${outcome}"`,
      "throw CursorExpired when the provider refuses the cursor, whatever status it does so with",
    );
    must((await cursorOf(stage, linked)) === "null", "the cursor was kept", "throw CursorExpired, not another error");
    await read(stage, linked);
    must(
      (await stateOf(stage, linked)) === "connected",
      "the connection did not heal",
      "a run without a cursor is a backfill",
    );
    const events = await eventsOf(stage, linked);
    must(
      storyOf(events, id).join() === stage.person.added.typeName,
      "what changed before the cursor expired did not arrive exactly once",
      "read everything since `user.backfillFrom` when there is no cursor",
    );
    must(
      events.length === before.length + 1 && storyOf(events, known).length === 1,
      `the backfill after it published ${events.length - before.length - 1} events again`,
      "make signals of history equal to those of changes: same ids, same revisions, same payload",
    );
  },
};

export const cursorChecks: readonly Check[] = [expired];
