import { type Database, run } from "@tributary/db";

/** A standby takes over at the latest so long after the leader's last renewal. */
const LEASE_SECONDS = 4;
export const LEADER_RENEW_MS = 1_000;

const LEAD = `
INSERT INTO pipeline.relay_leader AS l (stream, holder, token, until)
VALUES ($1, $2, 1, now() + make_interval(secs => ${LEASE_SECONDS}))
ON CONFLICT (stream) DO UPDATE SET holder = excluded.holder, until = excluded.until,
  token = CASE WHEN l.holder = excluded.holder AND l.until >= now() THEN l.token ELSE l.token + 1 END
WHERE l.until < now() OR l.holder = excluded.holder
RETURNING token`;

const RESIGN = "UPDATE pipeline.relay_leader SET until = now() - interval '1 second' WHERE stream = $1 AND holder = $2";

/** Takes or renews the lease of a stream. @returns the fencing token, or undefined while another process leads. */
export async function lead({ query }: Database, stream: string, holder: string): Promise<bigint | undefined> {
  const [row] = await run<{ token: bigint }>(query, LEAD, [stream, holder]);
  return row?.token;
}

export async function resign({ query }: Database, stream: string, holder: string): Promise<void> {
  await run(query, RESIGN, [stream, holder]);
}
