import { type Queryable, run } from "@tributary/db";
import { markErased } from "./ledger.ts";

/**
 * Erases what the pipeline's tables hold of some connections: their events, the copies that dead letters keep, and how
 * far consumers had read. Positions stay: they say nothing of anybody but how far was erased, and no
 * sequence is ever used twice.
 *
 * Messages that were published already are in the stream: `eraseMessages`, after this has been committed.
 * @param tx a transaction of the organisation, role writer, that has locked the connections against their writers.
 * @returns how many events.
 */
export async function eraseEvents(
  tx: Queryable,
  organizationId: string,
  connectionIds: readonly string[],
): Promise<number> {
  if (connectionIds.length === 0) return 0;
  const params = [organizationId, connectionIds];
  const [row] = await run<{ events: bigint }>(tx, DELETE_EVENTS, params);
  for (const statement of [DELETE_DEAD_LETTERS, DELETE_CONSUMER_POSITIONS]) await run(tx, statement, params);
  await markErased(tx, organizationId, connectionIds);
  return Number(row?.events ?? 0);
}

const DELETE_EVENTS = `
WITH gone AS (
  DELETE FROM pipeline.event WHERE organization_id = $1 AND connection_id = ANY ($2::uuid[]) RETURNING 1
)
SELECT count(*) AS events FROM gone`;

const DELETE_DEAD_LETTERS =
  "DELETE FROM pipeline.dead_letter WHERE organization_id = $1 AND connection_id = ANY ($2::uuid[])";

const DELETE_CONSUMER_POSITIONS =
  "DELETE FROM pipeline.consumer_position WHERE organization_id = $1 AND connection_id = ANY ($2::uuid[])";
