import type { Database } from "@tributary/db";
import { errorName, every, type Log } from "@tributary/integrations";
import { consumersBehind, dropExpiredPartitions, ensurePartitions, ledgerBacklog } from "@tributary/pipeline";

const EVERY_MS = 3_600_000;
const DAY_MS = 86_400_000;

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
    await tellLosses(options);
    const dropped = await dropExpiredPartitions(database, now(), { retentionDays, keepUnpublished: relayed });
    if (dropped.length > 0) log.info({ count: dropped.length }, "days of events were dropped");
    await tellKept(options);
    await sweep();
  };
  await once();
  return every(once, {
    everyMs: EVERY_MS,
    onError: (error) => log.error({ error: errorName(error) }, "upkeep failed; it is tried again in an hour"),
  });
}

/** A consumer over HTTP that was away for the whole retention misses what is dropped now: somebody should know. */
async function tellLosses({ database, log, retentionDays }: UpkeepOptions): Promise<void> {
  const behind = await consumersBehind(database, retentionDays);
  for (const { organizationId: organization, consumer, connections } of behind)
    log.warn(
      { organization, consumer, connections },
      "a consumer has not read events that have had their time: it will not get them",
    );
}

/** What waits for the broker outlives the retention; the disk is bounded by what may wait. */
async function tellKept({ database, log, retentionDays, relayed }: UpkeepOptions): Promise<void> {
  if (!relayed) return;
  const { connections, events, bytes, oldestAgeMs = 0 } = await ledgerBacklog(database);
  if (oldestAgeMs <= (retentionDays + 1) * DAY_MS) return;
  log.warn({ connections, events, bytes }, "events wait for the broker for longer than they are kept: none is dropped");
}
