import type { Database, Queryable } from "./database.ts";
import { run } from "./database.ts";

/**
 * A transaction that belongs to one organisation: the setting `app.organization` lasts as long as the transaction, and
 * statements name the organisation besides.
 */
export function withOrganization<T>(
  database: Database,
  organizationId: string,
  work: (tx: Queryable) => Promise<T>,
): Promise<T> {
  return database.transaction(async (tx) => {
    await run(tx, "SELECT set_config('app.organization', $1, true)", [organizationId]);
    return work(tx);
  });
}
