import { acrossOrganizations, type Database, run, withOrganization } from "@tributary/db";
import { type AfterDeadLetter, ConsumerDiffers, HAS_ROOM, mustHaveRoom, typeDifferences } from "./consumers.ts";
import { OLDEST_DAY } from "./partitions.ts";
import type { ConsumerKey } from "./positions.ts";

/** A stream serves its consumer as long as it renews. */
const LEASE_SECONDS = 6;
export const RENEW_EVERY_MS = 2_000;

/** A subscriber that has neither subscribed nor settled for so long yields to a newcomer: its machine may be gone. */
const SILENT_SECONDS = 60;

const ACQUIRE = `
INSERT INTO pipeline.consumer AS c (organization_id, name, types, created_at, last_seen_at, holder, until)
SELECT $1, $2, $3, now(), now(), $4::uuid, now() + make_interval(secs => ${LEASE_SECONDS}) WHERE ${HAS_ROOM}
ON CONFLICT (organization_id, name) DO UPDATE
SET last_seen_at = now(), holder = excluded.holder, until = excluded.until
WHERE (c.holder IS NULL OR c.until < now() OR c.last_seen_at < now() - make_interval(secs => ${SILENT_SECONDS}))
  AND c.types @> excluded.types AND c.types <@ excluded.types
RETURNING after_dead_letter AS "afterDeadLetter", (created_at AT TIME ZONE 'UTC')::date < ${OLDEST_DAY} AS outlived`;

const TYPES = "SELECT types FROM pipeline.consumer WHERE organization_id = $1 AND name = $2";

const RENEW = `
UPDATE pipeline.consumer SET until = now() + make_interval(secs => ${LEASE_SECONDS}),
  last_seen_at = CASE WHEN $4 THEN now() ELSE last_seen_at END
WHERE organization_id = $1 AND name = $2 AND holder = $3 RETURNING name`;

const RELEASE = "UPDATE pipeline.consumer SET holder = NULL WHERE organization_id = $1 AND name = $2 AND holder = $3";

/** How a consumer is set up. */
export interface Acquired {
  readonly afterDeadLetter: AfterDeadLetter;
  /** It was made before the oldest day that is retained. */
  readonly outlived: boolean;
}

/**
 * Makes the consumer when it is new; one that stands is never changed.
 * @returns how it is set up, or undefined while another stream serves it. @throws ConsumerDiffers; ConsumerLimit.
 */
export async function acquireConsumer(
  database: Database,
  { organizationId, consumer }: ConsumerKey,
  types: readonly string[],
  holder: string,
): Promise<Acquired | undefined> {
  return withOrganization(database, organizationId, async (tx) => {
    const wanted = [...new Set(types)].toSorted();
    const params = [organizationId, consumer, wanted, holder];
    const [acquired] = await run<Acquired>(tx, ACQUIRE, params);
    if (acquired !== undefined) return acquired;
    const [stands] = await run<{ types: string[] }>(tx, TYPES, [organizationId, consumer]);
    const differences = typeDifferences(stands?.types ?? wanted, wanted);
    if (differences.length > 0) throw new ConsumerDiffers(differences);
    await mustHaveRoom(tx, organizationId, consumer);
    return undefined;
  });
}

/** @param alive whether the subscriber showed a sign of life since the last call. @returns false when it was lost. */
export async function renewConsumer(
  database: Database,
  { organizationId, consumer }: ConsumerKey,
  holder: string,
  alive: boolean,
): Promise<boolean> {
  const params = [organizationId, consumer, holder, alive];
  return (await withOrganization(database, organizationId, (tx) => run(tx, RENEW, params))).length > 0;
}

export async function releaseConsumer(
  database: Database,
  { organizationId, consumer }: ConsumerKey,
  holder: string,
): Promise<void> {
  await withOrganization(database, organizationId, (tx) => run(tx, RELEASE, [organizationId, consumer, holder]));
}

/** After a crash of the only process there is, nobody waits for leases to run out. PGlite only. */
export async function releaseAllConsumers(database: Database): Promise<void> {
  await acrossOrganizations(database, "relay", (tx) => run(tx, "UPDATE pipeline.consumer SET holder = NULL"));
}
