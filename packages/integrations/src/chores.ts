import { acrossOrganizations, run as runSql } from "@tributary/db";
import { retryRevocations } from "./disconnect.ts";
import { renewCredentials } from "./renew-credentials.ts";
import { errorName, type Runtime } from "./runtime.ts";
import { settleCredentials } from "./settle-credential.ts";

/** What happens now and then: what a killed process left half done, and rows that have had their time. */
export async function chores(runtime: Runtime): Promise<void> {
  await renewCredentials(runtime).catch((error: unknown) =>
    runtime.log.error({ error: errorName(error) }, "credentials that expire soon could not be looked for"),
  );
  await settleCredentials(runtime);
  await runtime.vault.sweep();
  await retryRevocations(runtime);
  for (const statement of EXPIRED) await acrossOrganizations(runtime.database, "upkeep", (tx) => runSql(tx, statement));
}

/** In bounded bites, so that no chore holds locks for long. */
const EXPIRED = [
  "DELETE FROM integrations.notice WHERE id IN (SELECT id FROM integrations.notice WHERE at < now() - interval '90 days' LIMIT 5000)",
  "DELETE FROM integrations.run WHERE id IN (SELECT id FROM integrations.run WHERE started_at < now() - interval '30 days' LIMIT 5000)",
  "DELETE FROM integrations.delivery WHERE (context_id, delivery_id) IN (SELECT context_id, delivery_id FROM integrations.delivery WHERE received_at < now() - interval '14 days' LIMIT 5000)",
  "DELETE FROM integrations.action WHERE (organization_id, connection_id, idempotency_key) IN (SELECT organization_id, connection_id, idempotency_key FROM integrations.action WHERE created_at < now() - interval '30 days' LIMIT 5000)",
] as const;
