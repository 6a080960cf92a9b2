import { CANARY } from "../canary.ts";
import { type Check, must } from "../check.ts";
import { link } from "../consent-road.ts";
import { drive, read } from "../drive.ts";

/** The last check: what it finds may come from any before it. */
const nowhere: Check = {
  name: "no secret shows up in a table, an event, a log line or an error",
  run: async (stage) => {
    const linked = await link(stage, "a");
    await read(stage, linked);
    const body = { error: "made_up", message: `${CANARY}body` };
    for (const fault of [
      { status: 500, body },
      { reset: true },
      { status: 400, body },
      { status: 401, body, times: 3 },
    ]) {
      stage.control.faults.add({ match: {}, ...fault });
      await drive(stage, linked);
      stage.control.faults.clear();
    }
    await stage.lookForLeaks();
    must(
      stage.leaks.size === 0,
      `planted secrets showed up in: ${[...stage.leaks].join(", ")}`,
      "keep codes and bodies out of accounts, signals, cursors, logs and errors; a connector needs no token",
    );
  },
};

export const secretChecks: readonly Check[] = [nowhere];
