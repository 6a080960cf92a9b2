import { acrossOrganizations, type Database, run } from "@tributary/db";

/**
 * A standby sees at the latest so long after the leader's last renewal that it is dead; with its own look every half
 * renewal and the reconciling that follows, it publishes within five seconds.
 */
const LEASE_SECONDS = 3;
export const LEADER_RENEW_MS = 750;

const LEAD = `
INSERT INTO pipeline.relay_leader AS l (stream, holder, token, until)
VALUES ($1, $2, 1, now() + make_interval(secs => ${LEASE_SECONDS}))
ON CONFLICT (stream) DO UPDATE SET holder = excluded.holder, until = excluded.until,
  token = CASE WHEN l.holder = excluded.holder AND l.until >= now() THEN l.token ELSE l.token + 1 END
WHERE l.until < now() OR l.holder = excluded.holder
RETURNING token`;

const RESIGN = "UPDATE pipeline.relay_leader SET until = now() - interval '1 second' WHERE stream = $1 AND holder = $2";

/** Takes or renews the lease of a stream. @returns the fencing token, or undefined while another process leads. */
export async function lead(database: Database, stream: string, holder: string): Promise<bigint | undefined> {
  const [row] = await acrossOrganizations(database, "relay", (tx) =>
    run<{ token: bigint }>(tx, LEAD, [stream, holder]),
  );
  return row?.token;
}

export async function resign(database: Database, stream: string, holder: string): Promise<void> {
  await acrossOrganizations(database, "relay", (tx) => run(tx, RESIGN, [stream, holder]));
}
