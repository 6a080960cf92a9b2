import { acrossOrganizations, type Queryable } from "@tributary/db";
import { setTimeout as sleep } from "node:timers/promises";
import { chores } from "./chores.ts";
import { every } from "./every.ts";
import { claimDue, type Lease, releaseAllLeases } from "./lease.ts";
import { errorName, type Runtime } from "./runtime.ts";
import { syncRun } from "./sync-run.ts";
import { createThrottle } from "./throttle.ts";

export interface Scheduler {
  /** Looks for due connections now. A hint: it looks by itself every second. */
  nudge(): void;
  /** Stops claiming, lets runs under way reach their next checkpoint or abort, and gives their leases back. */
  stop(): Promise<void>;
}

export interface SchedulerOptions {
  /** Runs at the same time in this process. Default 8. */
  readonly concurrency?: number;
  /** Milliseconds between looks when nothing nudges. Default 1000. */
  readonly pollMs?: number;
  /** While true nothing is claimed, and runs under way stop at their next commit without blame. Looked at every poll. */
  readonly resting?: () => boolean;
}

const CHORES_MS = 60_000;

/** Claims due connections and runs them, until stopped. Any number of processes may do so over one database. */
export function startScheduler(runtime: Runtime, options: SchedulerOptions = {}): Scheduler {
  const { concurrency = 8, pollMs = 1000, resting = () => false } = options;
  const throttle = createThrottle(() => runtime.now().getTime());
  const shutdown = new AbortController();
  let rest = new AbortController();
  const running = new Set<Promise<void>>();
  const claiming = <T>(work: (tx: Queryable) => Promise<T>): Promise<T> =>
    acrossOrganizations(runtime.database, "scheduler", work);
  let wakeUp = (): void => {};
  let nudged = false;

  const start = (lease: Lease): void => {
    const one = syncRun(runtime, throttle, lease, AbortSignal.any([shutdown.signal, rest.signal]))
      .then(
        () => {},
        // The database is away: nothing could be recorded. The lease runs out, and the connection is due again.
        (error: unknown) =>
          runtime.log.error({ connection: lease.connectionId, error: errorName(error) }, "a run could not be settled"),
      )
      .finally(() => {
        running.delete(one);
        wakeUp();
      });
    running.add(one);
  };

  const loop = async (): Promise<void> => {
    let failures = 0;
    // What a killed hub was running goes on at once instead of when its lease has run out.
    if (runtime.database.engine === "pglite") await claiming(releaseAllLeases);
    while (!shutdown.signal.aborted) {
      nudged = false;
      let claimed = 0;
      try {
        if (resting()) rest.abort(new Error("the intake rests"));
        else if (rest.signal.aborted) rest = new AbortController();
        const free = rest.signal.aborted ? 0 : concurrency - running.size;
        const leases = free > 0 ? await claiming((tx) => claimDue(tx, free)) : [];
        claimed = leases.length;
        for (const lease of leases) start(lease);
        failures = 0;
      } catch (error) {
        failures += 1;
        runtime.log.error({ error: errorName(error), failures }, "due connections could not be claimed");
      }
      if (nudged || (claimed > 0 && running.size < concurrency)) continue;
      await pause(Math.min(pollMs * 2 ** Math.min(failures, 5), 30_000));
    }
  };
  const pause = async (ms: number): Promise<void> => {
    const interrupted = new AbortController();
    wakeUp = () => interrupted.abort();
    await sleep(ms, undefined, { signal: interrupted.signal }).catch(() => {});
  };
  const looping = loop();
  const stopChores = every(() => chores(runtime, shutdown.signal), {
    everyMs: CHORES_MS,
    onError: (error) => runtime.log.error({ error: errorName(error) }, "a chore failed"),
  });

  return {
    nudge: () => {
      nudged = true;
      wakeUp();
    },
    stop: async () => {
      shutdown.abort(new Error("the scheduler is stopping"));
      wakeUp();
      await Promise.all([stopChores(), looping.then(() => Promise.all(running))]);
    },
  };
}
