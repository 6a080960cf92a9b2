import { run as runSql } from "@tributary/db";
import { and, eq, gt } from "drizzle-orm";
import { retryRevocations } from "./disconnect.ts";
import { credentialScope, type Runtime } from "./runtime.ts";
import { connection, credential } from "./schema.ts";

/** What happens now and then: what a killed process left half done, and rows that have had their time. */
export async function chores(runtime: Runtime): Promise<void> {
  await acceptRecent(runtime);
  await runtime.vault.sweep();
  await retryRevocations(runtime);
  for (const statement of EXPIRED) await runSql(runtime.database.query, statement);
}

/**
 * Linking stores secrets, then the connection, then accepts the secrets. Killed before the last step, the secrets of a
 * living connection would be swept as abandoned: accepting again what was linked within the hour prevents it.
 */
async function acceptRecent(runtime: Runtime): Promise<void> {
  const since = new Date(runtime.now().getTime() - 3_600_000);
  const recent = await runtime.database.query
    .select({ id: credential.id, row: connection })
    .from(credential)
    .innerJoin(
      connection,
      and(eq(connection.id, credential.connectionId), eq(connection.organizationId, credential.organizationId)),
    )
    .where(gt(credential.createdAt, since))
    .limit(1000);
  for (const { id, row } of recent)
    await runtime.vault.accept(
      credentialScope(row.organizationId, row.integration, { kind: row.ownerKind, id: row.ownerId }, id),
    );
}

/** In bounded bites, so that no chore holds locks for long. */
const EXPIRED = [
  "DELETE FROM integrations.run WHERE id IN (SELECT id FROM integrations.run WHERE started_at < now() - interval '30 days' LIMIT 5000)",
  "DELETE FROM integrations.delivery WHERE (context_id, delivery_id) IN (SELECT context_id, delivery_id FROM integrations.delivery WHERE received_at < now() - interval '14 days' LIMIT 5000)",
  "DELETE FROM integrations.action WHERE (organization_id, connection_id, idempotency_key) IN (SELECT organization_id, connection_id, idempotency_key FROM integrations.action WHERE created_at < now() - interval '30 days' LIMIT 5000)",
] as const;
