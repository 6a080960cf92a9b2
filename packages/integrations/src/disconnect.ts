import { Rejected } from "@tributary/sdk";
import { acrossOrganizations, withOrganization } from "@tributary/db";
import { and, eq, lte, sql } from "drizzle-orm";
import { channel } from "node:diagnostics_channel";
import { deleteConnectionEvents, countConnectionEvents } from "@tributary/pipeline";
import { IntegrationError } from "./errors.ts";
import { announceDisconnected, lockConnection } from "./lifecycle.ts";
import { createRunLog } from "./run-log.ts";
import { credentialScope, type Runtime } from "./runtime.ts";
import { connection, type ConnectionRow, credential, objectState, receipt, type ReceiptRow } from "./schema.ts";
import { settleCredentials } from "./settle-credential.ts";
import { abandonLastRun } from "./settle-run.ts";
import { createThrottle } from "./throttle.ts";
import { createUser } from "./user.ts";

const steps = channel("tributary:step");
const RETRY_FOR_MS = 24 * 3_600_000;
const RETRY_EVERY_MS = 10 * 60_000;

/**
 * Ends a connection: from the first transaction on nothing is read any more, whatever the provider answers. Then
 * consent is withdrawn at the provider and the secrets are deleted; when the provider does not confirm, that is tried
 * again for 24 hours, with the one secret that it needs, and then the secret goes as well. Asking twice gives the same receipt.
 */
export async function disconnect(
  runtime: Runtime,
  row: ConnectionRow,
  options: { readonly deleteEvents: boolean },
): Promise<ReceiptRow> {
  const existing = await receiptOf(runtime, row);
  if (existing !== undefined) return existing;
  // What an earlier linking left undone would be forgotten with the credential's row.
  await settleCredentials(runtime, row.id).catch(() => {});
  const made = await end(runtime, row, options.deleteEvents);
  steps.publish("disconnect.ended");
  await withdraw(runtime, made);
  steps.publish("disconnect.withdrawn");
  return (await receiptOf(runtime, row)) ?? made;
}

const receiptOf = async (
  runtime: Runtime,
  row: Pick<ConnectionRow, "id" | "organizationId">,
): Promise<ReceiptRow | undefined> => {
  const [found] = await withOrganization(runtime.database, row.organizationId, (tx) =>
    tx
      .select()
      .from(receipt)
      .where(and(eq(receipt.connectionId, row.id), eq(receipt.organizationId, row.organizationId))),
  );
  return found;
};

async function end(runtime: Runtime, row: ConnectionRow, deleteEvents: boolean): Promise<ReceiptRow> {
  const { organizationId, id: connectionId } = row;
  const { made, announce } = await withOrganization(runtime.database, organizationId, async (tx) => {
    // The connection first, as every writer does: two orders of locking would wait for each other.
    const locked = await lockConnection(tx, row);
    const [had] = await tx
      .delete(credential)
      .where(and(eq(credential.connectionId, connectionId), eq(credential.organizationId, organizationId)))
      .returning();
    if (had === undefined) throw new IntegrationError("conflict", "The connection is being ended already.");
    const version = (locked?.stateVersion ?? row.stateVersion) + 1;
    await tx
      .update(connection)
      .set({
        state: "disconnected",
        stateVersion: version,
        stateSince: sql`now()`,
        reasonCode: null,
        reasonMessage: null,
        dueAt: null,
        leaseUntil: null,
        leaseToken: sql`lease_token + 1`,
      })
      .where(and(eq(connection.id, connectionId), eq(connection.organizationId, organizationId)));
    await abandonLastRun(tx, connectionId, organizationId);
    await tx.delete(objectState).where(eq(objectState.connectionId, connectionId));
    const eventsDeleted = deleteEvents ? await deleteConnectionEvents(tx, organizationId, connectionId) : 0;
    const eventsKept = await countConnectionEvents(tx, organizationId, connectionId);
    const [inserted] = await tx
      .insert(receipt)
      .values({
        id: runtime.uuid(),
        organizationId,
        connectionId,
        integration: row.integration,
        ownerKind: row.ownerKind,
        ownerId: row.ownerId,
        accountLabel: row.accountLabel,
        credentialId: had.id,
        revocation: "pending",
        nextAttemptAt: runtime.now(),
        eventsKept,
        eventsDeleted,
      })
      .returning();
    if (inserted === undefined) throw new Error("the receipt was not inserted");
    return {
      made: inserted,
      announce: await announceDisconnected(runtime, tx, { ...row, stateVersion: version }, inserted.id),
    };
  });
  announce();
  return made;
}

/** Withdraws consent and deletes the secrets; schedules another try when the provider did not confirm. */
async function withdraw(runtime: Runtime, pending: ReceiptRow): Promise<void> {
  const { organizationId, integration, credentialId } = pending;
  const connector = runtime.registry.get(integration);
  const scope = credentialScope(
    organizationId,
    integration,
    { kind: pending.ownerKind, id: pending.ownerId },
    credentialId,
  );
  const user = createUser({
    vault: runtime.vault,
    connector,
    scope,
    connectionId: pending.connectionId,
    account: undefined,
    apiVersion: "",
    backfillFrom: pending.at,
    purpose: "revoke",
    correlationId: pending.id,
    signal: AbortSignal.timeout(60_000),
    throttle: createThrottle(() => runtime.now().getTime()),
    now: runtime.now,
    log: createRunLog(runtime.now).write,
  });
  const confirmed = await connector.revoke(user).then(
    () => true,
    // Refused for good, or the credential is dead already: there is nothing left to withdraw by asking again.
    (error: unknown) => error instanceof Rejected || (error instanceof Error && error.name === "ReauthRequired"),
  );
  const tooLate = runtime.now().getTime() - pending.at.getTime() >= RETRY_FOR_MS;
  if (!confirmed && !tooLate) {
    const nextAttemptAt = new Date(runtime.now().getTime() + RETRY_EVERY_MS);
    await change(runtime, pending, { nextAttemptAt });
    runtime.log.warn(
      { receipt: pending.id, integration },
      "the provider did not confirm a revocation; it is tried again",
    );
    return;
  }
  const secretsDeleted = await runtime.vault.forget(scope);
  const revocation = !confirmed ? "given_up" : connector.auth.revocation === undefined ? "unsupported" : "confirmed";
  await change(runtime, pending, { revocation, secretsDeleted, nextAttemptAt: null });
}

const change = (
  runtime: Runtime,
  { id, organizationId }: ReceiptRow,
  to: Partial<Pick<ReceiptRow, "revocation" | "secretsDeleted" | "nextAttemptAt">>,
) =>
  withOrganization(runtime.database, organizationId, (tx) =>
    tx
      .update(receipt)
      .set(to)
      .where(and(eq(receipt.id, id), eq(receipt.organizationId, organizationId))),
  );

/**
 * Tries again what a provider has not confirmed; also finishes what a killed process left between its two steps.
 * @param signal once it has aborted no further one is begun.
 */
export async function retryRevocations(runtime: Runtime, signal?: AbortSignal): Promise<void> {
  const due = await acrossOrganizations(runtime.database, "upkeep", (tx) =>
    tx.select().from(receipt).where(lte(receipt.nextAttemptAt, runtime.now())).limit(20),
  );
  for (const pending of due) {
    if (signal?.aborted === true) return;
    await withdraw(runtime, pending);
  }
}
