import { channel } from "node:diagnostics_channel";
import type { Database } from "@tributary/db";
import { type Check, must } from "../check.ts";
import { type Linked, link } from "../consent-road.ts";
import { cursorOf, drive, eventsOf, mustBeSame, read, type SeenEvent } from "../drive.ts";
import type { Stage } from "../stage.ts";
import { interrupted } from "../watch.ts";

const steps = channel("tributary:step");

/** More yields than an emulator's sample needs; a connector that makes no progress ends here. */
const CRASHES_MAX = 2_000;
const LIMIT_MS = 15 * 60_000;

const ADVICE = "yield a checkpoint only when everything before it was yielded, and resume from the cursor alone";

class Crash extends Error {
  constructor() {
    super("the kit ends the run here");
  }
}

/** What a run that nobody interrupts publishes. */
async function referenceOf(stage: Stage): Promise<readonly SeenEvent[]> {
  const linked = await link(stage, "reference");
  await read(stage, linked);
  return eventsOf(stage, linked);
}

/**
 * Ends every run one yield later than the last, beginning anew whenever the cursor has moved: so there is a crash after
 * each yield that follows each checkpoint, and each is followed by a run from that checkpoint.
 */
const afterEveryYield: Check = {
  name: "a crash after any yield loses nothing and repeats nothing",
  run: async (stage) => {
    const reference = await referenceOf(stage);
    const linked = await link(stage, "crashing");
    let cursor = await cursorOf(stage, linked);
    let last = 1;
    for (let crashes = 0; ; crashes++) {
      must(
        crashes < CRASHES_MAX,
        `after ${CRASHES_MAX} crashes the backfill was not over`,
        "yield checkpoints on the way",
      );
      const connector = interrupted(stage.connector, (yields) => {
        if (yields === last) throw new Crash();
      });
      const { outcome } = await drive(stage, linked, { connector });
      if (outcome === "ok") break;
      if (outcome === "rate_limited") {
        stage.control.clock.advance(LIMIT_MS);
        continue;
      }
      must(outcome === "bug", `a run after a crash ended as "${outcome}"`, ADVICE);
      const moved = await cursorOf(stage, linked);
      last = moved === cursor ? last + 1 : 1;
      cursor = moved;
    }
    mustBeSame(await eventsOf(stage, linked), reference, "after a crash at every yield", ADVICE);
  },
};

/** Ends a process at its first commit of events: before it is durable, or after, when nobody hears of it any more. */
function mortal(database: Database, when: "before" | "after"): Database {
  let dead = false;
  let committing = false;
  const arm = (step: unknown): void => {
    committing ||= step === "commit.before";
  };
  steps.subscribe(arm);
  const mustLive = (): void => {
    if (dead) throw new Crash();
  };
  return {
    ...database,
    get query() {
      mustLive();
      return database.query;
    },
    transaction: async (work) => {
      mustLive();
      if (!committing) return database.transaction(work);
      steps.unsubscribe(arm);
      try {
        return await database.transaction(async (tx) => {
          const result = await work(tx);
          if (when === "before") throw new Crash();
          return result;
        });
      } finally {
        dead = true;
      }
    },
  };
}

/** The process dies around a commit; the next one takes over when the lease has run out. */
async function die(stage: Stage, linked: Linked, when: "before" | "after"): Promise<void> {
  const database = mortal(stage.database, when);
  await drive(stage, linked, { database }).catch((error: unknown) => {
    if (!(error instanceof Crash)) throw error;
  });
}

const aroundEveryCommit: Check = {
  name: "a process killed before or after any commit loses nothing and repeats nothing",
  run: async (stage) => {
    const reference = await referenceOf(stage);
    const checkpoints = stage.witness.yielded.filter(({ kind }) => kind === "checkpoint").length;
    const linked = await link(stage, "killed");
    for (let deaths = 0; deaths < checkpoints + 2; deaths++) {
      const cursor = await cursorOf(stage, linked);
      await die(stage, linked, "before");
      must((await cursorOf(stage, linked)) === cursor, "a commit that was rolled back moved the cursor", ADVICE);
      await die(stage, linked, "after");
    }
    await read(stage, linked);
    mustBeSame(await eventsOf(stage, linked), reference, "after a death around every commit", ADVICE);
  },
};

export const crashChecks: readonly Check[] = [afterEveryYield, aroundEveryCommit];
