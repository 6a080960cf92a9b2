import { acrossOrganizations, run as runSql } from "@tributary/db";
import { retryRevocations } from "./disconnect.ts";
import { renewCredentials } from "./renew-credentials.ts";
import { errorName, type Runtime } from "./runtime.ts";
import { settleCredentials } from "./settle-credential.ts";

/**
 * What happens now and then: what a killed process left half done, and rows that have had their time. Once the signal has
 * aborted nothing of it is begun; what is left is done by the next turn, here or elsewhere.
 */
export async function chores(runtime: Runtime, signal?: AbortSignal): Promise<void> {
  const each: readonly (() => Promise<unknown>)[] = [
    () =>
      renewCredentials(runtime, signal).catch((error: unknown) =>
        runtime.log.error({ error: errorName(error) }, "credentials that expire soon could not be looked for"),
      ),
    () => settleCredentials(runtime),
    () => runtime.vault.sweep(),
    () => retryRevocations(runtime, signal),
    ...EXPIRED.map((statement) => () => acrossOrganizations(runtime.database, "upkeep", (tx) => runSql(tx, statement))),
  ];
  for (const chore of each) {
    if (signal?.aborted === true) return;
    await chore();
  }
}

/** In bounded bites, so that no chore holds locks for long. */
const EXPIRED = [
  "DELETE FROM integrations.notice WHERE id IN (SELECT id FROM integrations.notice WHERE at < now() - interval '90 days' LIMIT 5000)",
  "DELETE FROM integrations.run WHERE id IN (SELECT id FROM integrations.run WHERE started_at < now() - interval '30 days' LIMIT 5000)",
  "DELETE FROM integrations.delivery WHERE (context_id, delivery_id) IN (SELECT context_id, delivery_id FROM integrations.delivery WHERE received_at < now() - interval '14 days' LIMIT 5000)",
  "DELETE FROM integrations.action WHERE (organization_id, connection_id, idempotency_key) IN (SELECT organization_id, connection_id, idempotency_key FROM integrations.action WHERE created_at < now() - interval '30 days' LIMIT 5000)",
] as const;
