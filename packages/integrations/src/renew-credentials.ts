import { withOrganization } from "@tributary/db";
import type { RenewalOutcome } from "@tributary/vault";
import { and, eq } from "drizzle-orm";
import { changeState, lockConnection, type Reason } from "./lifecycle.ts";
import { errorName, type Runtime } from "./runtime.ts";
import { connection, credential, type StoredState } from "./schema.ts";
import { isResting } from "./state.ts";
import { clientInvalid } from "./user.ts";

/** Credentials at a time, and times in one go: what is left is due a moment later. */
const BATCH = 200;
const BATCHES_MAX = 20;

/**
 * Renews the credentials that expire soon, and tells the owners of those that cannot be renewed any more. Called every
 * minute by any number of processes; each credential is renewed by one of them.
 * @param signal once it has aborted no further batch is begun.
 * @returns how many were renewed.
 */
export async function renewCredentials(runtime: Runtime, signal?: AbortSignal): Promise<number> {
  let renewed = 0;
  for (let batch = 0; batch < BATCHES_MAX; batch++) {
    const outcomes = await runtime.vault.renewDue(BATCH);
    for (const outcome of outcomes) {
      if (outcome.outcome === "renewed") renewed++;
      await tell(runtime, outcome).catch((error: unknown) =>
        runtime.log.error(
          { error: errorName(error), outcome: outcome.outcome },
          "a renewal's outcome was not recorded",
        ),
      );
    }
    if (outcomes.length < BATCH || signal?.aborted === true) break;
  }
  return renewed;
}

/** What an outcome means for the connection; the others change nothing, because nobody has to do anything. */
const CONSEQUENCES: Partial<Record<RenewalOutcome["outcome"], { readonly to: StoredState; readonly reason: Reason }>> =
  {
    reauth_required: {
      to: "expired",
      reason: { code: "reauth_required", message: "The provider no longer accepts the credential." },
    },
    oauth_client_invalid: {
      to: "error",
      reason: { code: "oauth_client_invalid", message: clientInvalid().message },
    },
    credential_integrity_error: {
      to: "error",
      reason: { code: "credential_integrity_error", message: "The stored credential is not the one that was sealed." },
    },
  };

async function tell(runtime: Runtime, { scope, outcome }: RenewalOutcome): Promise<void> {
  const consequence = CONSEQUENCES[outcome];
  if (consequence === undefined) return;
  const { to, reason } = consequence;
  const { organizationId } = scope;
  const announce = await withOrganization(runtime.database, organizationId, async (tx) => {
    const [held] = await tx
      .select({ id: connection.id, organizationId: connection.organizationId })
      .from(credential)
      .innerJoin(
        connection,
        and(eq(connection.id, credential.connectionId), eq(connection.organizationId, credential.organizationId)),
      )
      .where(and(eq(credential.id, scope.credentialId), eq(credential.organizationId, organizationId)));
    const row = held && (await lockConnection(tx, held));
    // What rests stays as it is: paused by somebody, expired already, or ended.
    if (row === undefined || isResting(row.state)) return undefined;
    return changeState(runtime, tx, row, to, { reason, ...(to === "expired" ? { dueAt: null } : {}) });
  });
  announce?.();
  runtime.log.warn({ credential: scope.credentialId, integration: scope.integration, outcome }, "a renewal failed");
}
