import { type Check, must } from "../check.ts";
import { link } from "../consent-road.ts";
import { drive, read } from "../drive.ts";
import { watchOutbound } from "../outbound.ts";
import type { Stage } from "../stage.ts";
import { interrupted } from "../watch.ts";

const hosts: Check = {
  name: "no request leaves for a host that the manifest does not list",
  run: async (stage) => {
    const { manifest } = stage.connector;
    const outbound = watchOutbound([stage.origin]);
    try {
      const linked = await link(stage, "a");
      await read(stage, linked);
      stage.person.add();
      await read(stage, linked);
    } finally {
      outbound.stop();
    }
    const foreign = stage.witness.asked.filter((url) => !manifest.hosts.includes(URL.parse(url)?.host ?? ""));
    must(
      foreign.length === 0,
      `the connector asked for ${foreign.length} URLs on hosts that the manifest does not list`,
      "list the exact host in `manifest.hosts`, or do without it",
    );
    must(
      outbound.foreign.size === 0,
      `a request went past the user to ${[...outbound.foreign].join(", ")}`,
      "send every request with `user.fetch` or `user.json`",
    );
  },
};

const ABORT_MS_MAX = 1_000;
const ATTEMPTS_MAX = 5;
const SLOW_MS = 5_000;

/** @returns milliseconds from the signal to the end of the run. */
async function abortedRun(stage: Stage, name: string, where: "request" | "yield"): Promise<number> {
  const linked = await link(stage, name);
  const shutdown = new AbortController();
  let at = 0;
  const abort = (): void => {
    at = performance.now();
    shutdown.abort(new Error("the kit stops the run"));
  };
  if (where === "request") {
    stage.control.faults.add({ match: {}, delayMs: SLOW_MS });
    setTimeout(abort, 100);
    await drive(stage, linked, { shutdown: shutdown.signal });
  } else {
    const connector = interrupted(stage.connector, (yields) => {
      if (yields === 1) abort();
    });
    await drive(stage, linked, { connector, shutdown: shutdown.signal });
  }
  stage.control.faults.clear();
  return performance.now() - at;
}

const aborts: Check = {
  name: "a run ends within a second of the signal",
  run: async (stage) => {
    for (const where of ["request", "yield"] as const) {
      let ms = Number.POSITIVE_INFINITY;
      // The machine may have been busy: the connector is slow when it is so each time.
      for (let attempt = 1; ms > ABORT_MS_MAX && attempt <= ATTEMPTS_MAX; attempt++)
        ms = Math.min(ms, await abortedRun(stage, `${where}${attempt}`, where));
      must(
        ms <= ABORT_MS_MAX,
        `the run went on for ${Math.round(ms)} ms after the signal (in a ${where})`,
        "pass `user.signal` to whatever waits, and do not retry inside the connector",
      );
    }
  },
};

export const reachChecks: readonly Check[] = [hosts, aborts];
