import type { Database } from "@tributary/db";
import { errorName, type Log } from "@tributary/integrations";
import { dropExpiredPartitions, ensurePartitions } from "@tributary/pipeline";

const EVERY_MS = 3_600_000;

export interface UpkeepOptions {
  readonly database: Database;
  readonly log: Log;
  readonly now: () => Date;
  /** Days that events are kept. */
  readonly retentionDays: number;
  /** True where a relay publishes: then nothing is dropped that it has not published. */
  readonly relayed: boolean;
  /** What else has its time: expired sessions. */
  readonly sweep: () => Promise<unknown>;
}

/**
 * Keeps the house: the ledger's partitions are made ahead and dropped when their events have had their time, and expired
 * sessions go. Now, and every hour. Several hubs may: each step is safe to repeat.
 * @returns a function that stops it.
 */
export async function startUpkeep(options: UpkeepOptions): Promise<() => Promise<void>> {
  const { database, log, now, retentionDays, relayed, sweep } = options;
  const once = async (): Promise<void> => {
    await ensurePartitions(database, now());
    const dropped = await dropExpiredPartitions(database, now(), { retentionDays, keepUnpublished: relayed });
    if (dropped.length > 0) log.info({ count: dropped.length }, "days of events were dropped");
    await sweep();
  };
  await once();
  let under: Promise<void> = Promise.resolve();
  const timer = setInterval(() => {
    under = once().catch((error: unknown) =>
      log.error({ error: errorName(error) }, "upkeep failed; it is tried again in an hour"),
    );
  }, EVERY_MS);
  return async () => {
    clearInterval(timer);
    await under;
  };
}
