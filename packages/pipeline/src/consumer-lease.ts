import { acrossOrganizations, type Database, run, withOrganization } from "@tributary/db";
import type { ConsumerKey } from "./positions.ts";

/** A stream serves its consumer as long as it renews. */
const LEASE_SECONDS = 6;
export const RENEW_EVERY_MS = 2_000;

/** A subscriber that has neither subscribed nor settled for so long yields to a newcomer: its machine may be gone. */
const SILENT_SECONDS = 60;

const ACQUIRE = `
INSERT INTO pipeline.consumer AS c (organization_id, name, types, created_at, last_seen_at, holder, until)
VALUES ($1, $2, $3, now(), now(), $4, now() + make_interval(secs => ${LEASE_SECONDS}))
ON CONFLICT (organization_id, name) DO UPDATE
SET types = excluded.types, last_seen_at = now(), holder = excluded.holder, until = excluded.until
WHERE c.holder IS NULL OR c.until < now() OR c.last_seen_at < now() - make_interval(secs => ${SILENT_SECONDS})
RETURNING name`;

const RENEW = `
UPDATE pipeline.consumer SET until = now() + make_interval(secs => ${LEASE_SECONDS}),
  last_seen_at = CASE WHEN $4 THEN now() ELSE last_seen_at END
WHERE organization_id = $1 AND name = $2 AND holder = $3 RETURNING name`;

const RELEASE = "UPDATE pipeline.consumer SET holder = NULL WHERE organization_id = $1 AND name = $2 AND holder = $3";

/** Makes the consumer when it is new. @returns false while another stream serves it. */
export async function acquireConsumer(
  database: Database,
  { organizationId, consumer }: ConsumerKey,
  types: readonly string[],
  holder: string,
): Promise<boolean> {
  const params = [organizationId, consumer, types, holder];
  return (await withOrganization(database, organizationId, (tx) => run(tx, ACQUIRE, params))).length > 0;
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
