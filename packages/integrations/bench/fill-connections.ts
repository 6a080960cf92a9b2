import { asOwner } from "@tributary/db/testing";
import { type Database, run } from "@tributary/db";

/** Connections with a credential each, of 100 organisations in turn; the first ones are due, the others in an hour. */
export async function fillConnections(database: Database, connections: number, due: number): Promise<void> {
  await asOwner(database, (tx) => run(tx, FILL, [connections, due]));
  await asOwner(database, (tx) => tx.execute("ANALYZE integrations.connection, integrations.credential"));
}

const FILL = `
WITH made AS (
  INSERT INTO integrations.connection (id, organization_id, integration, owner_kind, owner_id, account_id, account_label,
    api_version, state, backfill_from, due_at)
  SELECT gen_random_uuid(), 'org-' || n % 100, 'todoist', 'user', 'u' || n, 'a' || n, 'x', 'v1', 'connected', now(),
    now() + CASE WHEN n <= $2::int THEN interval '-1 s' ELSE interval '1 h' END
  FROM generate_series(1, $1::int) AS n
  RETURNING id, organization_id
)
INSERT INTO integrations.credential (id, connection_id, organization_id, integration, secret_ids, granted_scopes, meta)
SELECT gen_random_uuid(), id, organization_id, 'todoist', '{}', '{}', '{"v": "1"}' FROM made`;
