import { type Check, must } from "../check.ts";
import { link } from "../consent-road.ts";
import { drive, eventsOf, read, storyOf } from "../drive.ts";
import type { Stage } from "../stage.ts";
import { interrupted } from "../watch.ts";

const SECOND_MS = 1_000;

/** Types without their package, for a message. */
const short = (types: readonly string[]): string => types.map((type) => type.split(".").at(-1)).join(", ") || "nothing";

function mustTell(seen: readonly string[], expected: readonly string[], what: string): void {
  must(
    seen.join() === expected.join(),
    `${what}: expected ${short(expected)}, published ${short(seen)}`,
    "yield one signal for each change after the cursor, tombstones of deleted objects included, oldest first",
  );
}

const eachOnce: Check = {
  name: "every change after the backfill arrives exactly once, deletions included",
  run: async (stage) => {
    const linked = await link(stage, "a");
    await read(stage, linked);
    const before = (await eventsOf(stage, linked)).length;
    const { person } = stage;
    stage.control.clock.advance(SECOND_MS);
    const id = person.add();
    await read(stage, linked);
    const expected = [person.added.typeName];
    for (const deed of person.deeds) {
      stage.control.clock.advance(SECOND_MS);
      deed.does(id);
      await read(stage, linked);
      expected.push(deed.gives.typeName);
      mustTell(storyOf(await eventsOf(stage, linked), id), expected, `after ${deed.name}`);
    }
    await read(stage, linked);
    const events = await eventsOf(stage, linked);
    mustTell(storyOf(events, id), expected, "after one more run");
    must(
      events.length === before + expected.length,
      `${events.length - before} events were published for ${expected.length} changes`,
      "report what changed after the cursor, and nothing else",
    );
  },
};

/** Changes the provider's data while the backfill is under way, at the run's first yield. */
const duringBackfill: Check = {
  name: "what changes while the backfill reads is not lost",
  run: async (stage) => {
    const { person } = stage;
    const old = person.add();
    const linked = await link(stage, "a");
    let added = "";
    const meanwhile = interrupted(stage.connector, (yields) => {
      if (yields !== 1) return;
      stage.control.clock.advance(SECOND_MS);
      added = person.add();
      deletion(stage)?.does(old);
    });
    await drive(stage, linked, { connector: meanwhile });
    await read(stage, linked);
    const events = await eventsOf(stage, linked);
    mustTell(storyOf(events, added), [person.added.typeName], "an object that was added meanwhile");
    const gone = deletion(stage)?.gives.typeName;
    if (gone === undefined) return;
    const story = storyOf(events, old);
    must(
      story.length === 0 || story.at(-1) === gone,
      `an object that was deleted meanwhile ended with ${short(story)}`,
      "take the cursor before the history is read, so that what happens meanwhile comes after it",
    );
  },
};

const deletion = ({ person }: Stage) => person.deeds.find(({ deletes }) => deletes === true);

export const changeChecks: readonly Check[] = [eachOnce, duringBackfill];
