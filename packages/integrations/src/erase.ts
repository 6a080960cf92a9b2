import { acrossOrganizations, type Database, type Queryable, withOrganization } from "@tributary/db";
import { eraseEvents } from "@tributary/pipeline";
import { Rejected } from "@tributary/sdk";
import { and, eq, inArray, isNotNull, lte, or, type SQL, sql } from "drizzle-orm";
import { channel } from "node:diagnostics_channel";
import { IntegrationError } from "./errors.ts";
import { createRunLog } from "./run-log.ts";
import { errorName, type Log, type Owner, type Runtime } from "./runtime.ts";
import { action, connection, credential, notice, objectState, receipt, run, setting } from "./schema.ts";
import { createThrottle } from "./throttle.ts";
import { createUser } from "./user.ts";

const steps = channel("tributary:step");
const REVOKE_MS = 60_000;
const REVOKED_AT_ONCE = 4;

/** A person within one organisation; without one, the whole organisation. */
export interface EraseTarget {
  readonly organizationId: string;
  readonly userId?: string | undefined;
}

/** Deletes messages of connections from the broker's stream. @returns how many. */
export type EraseMessages = (options: {
  readonly servers: string;
  readonly organizationId: string;
  readonly connectionIds: readonly string[];
  readonly log: Log;
}) => Promise<number>;

export interface EraseOptions {
  /** Whether providers are asked to withdraw consent. Default: yes. */
  readonly revoke?: boolean;
  /**
   * Forgets who they are: what another package keeps of them. Called again by every replay.
   * @param until what was made later stays. @returns how many people were forgotten.
   */
  readonly people?: (target: EraseTarget, until: Date | undefined) => Promise<number>;
  /** Where published messages are, and who deletes them. Absent: there is no broker. */
  readonly messages?: { readonly servers: string; readonly erase: EraseMessages };
}

/** The certificate: what was erased. It names nobody. */
export interface EraseReport {
  /** Of the entry in the vault's erasure ledger. */
  readonly id: string;
  readonly erasedAt: Date;
  readonly connections: number;
  /** Consents that a provider confirmed as withdrawn, and those that it did not: these end there when they expire. */
  readonly revoked: number;
  readonly notRevoked: number;
  /** Key pairs: nothing that was sealed to them opens any more, here or in a copy. */
  readonly keys: number;
  readonly credentials: number;
  readonly events: number;
  /** Undefined without a broker. */
  readonly messages: number | undefined;
  /** People who belong to no other organisation, and are forgotten altogether. */
  readonly people: number;
}

/**
 * Erases a person or an organisation. The connections stop first, so that nothing new comes; consent is withdrawn while
 * there is still something to withdraw it with, at best effort; then the vault destroys the keys, which cannot be undone
 * and is written down; then everything else goes. Erasing again does what was left, and so does {@link replayErasures} at
 * the next start.
 * @throws IntegrationError temporarily_unavailable when the broker did not answer: everything but its messages is gone.
 */
export async function erase(runtime: Runtime, target: EraseTarget, options: EraseOptions = {}): Promise<EraseReport> {
  await stopConnections(runtime, target);
  steps.publish("erase.stopped");
  const consents = options.revoke === false ? [] : await consentsOf(runtime, target);
  const revoked = await revokeAll(runtime, target, consents);
  steps.publish("erase.revoked");
  const { id, erasedAt, keys, credentials } = await runtime.vault.erase(target);
  steps.publish("erase.shredded");
  // Before the rest, which waits for a broker that may be away.
  const people = (await options.people?.(target, undefined)) ?? 0;
  const deleted = await deleteOwned(runtime, target, undefined, options);
  return { id, erasedAt, revoked, notRevoked: consents.length - revoked, keys, credentials, people, ...deleted };
}

/**
 * Erases again what an older copy of the database brought back, and what an erasure that was cut short left. At start,
 * before anything is served; what was made after an erasure stays.
 * @returns how many connections were deleted.
 */
export async function replayErasures(
  runtime: Runtime,
  options: Pick<EraseOptions, "messages" | "people"> = {},
): Promise<number> {
  let count = 0;
  for (const erasure of await runtime.vault.erasures()) {
    await options.people?.(erasure, erasure.erasedAt);
    const deleting = deleteOwned(runtime, erasure, erasure.erasedAt, options);
    count += await deleting.then(
      ({ connections }) => connections,
      (error: unknown) => {
        // Nothing of it is served any more, and its rows say what is left: a broker that is away stops no start.
        if (!(error instanceof IntegrationError)) throw error;
        runtime.log.error({ erasure: erasure.id }, "an erasure still waits for the broker");
        return 0;
      },
    );
  }
  return count;
}

/** The organisations in which a person has, or had, linked something. */
export async function organizationsOf(database: Database, userId: string): Promise<readonly string[]> {
  const rows = await acrossOrganizations(database, "upkeep", (tx) =>
    tx
      .selectDistinct({ id: connection.organizationId })
      .from(connection)
      .where(and(eq(connection.ownerKind, "user"), eq(connection.ownerId, userId)))
      .orderBy(connection.organizationId),
  );
  return rows.map(({ id }) => id);
}

/** Rows of a person, or of everybody in the organisation. */
const owned = (table: typeof connection | typeof receipt, { organizationId, userId }: EraseTarget): SQL | undefined =>
  and(
    eq(table.organizationId, organizationId),
    userId === undefined ? undefined : and(eq(table.ownerKind, "user"), eq(table.ownerId, userId)),
  );

/** Without an event that says so: it would be one more thing to erase. */
const stopConnections = ({ database }: Runtime, target: EraseTarget): Promise<unknown> =>
  withOrganization(database, target.organizationId, (tx) =>
    tx
      .update(connection)
      .set({ state: "disconnected", dueAt: null, leaseUntil: null, leaseToken: sql`lease_token + 1` })
      .where(owned(connection, target)),
  );

interface Consent {
  readonly connectionId: string;
  readonly credentialId: string;
  readonly integration: string;
  readonly owner: Owner;
}

/** Those of connections, and those whose withdrawal a provider has not confirmed yet. */
const consentsOf = ({ database }: Runtime, target: EraseTarget): Promise<readonly Consent[]> =>
  withOrganization(database, target.organizationId, async (tx) => {
    const linked = await tx
      .select({
        connectionId: connection.id,
        credentialId: credential.id,
        integration: connection.integration,
        kind: connection.ownerKind,
        id: connection.ownerId,
      })
      .from(connection)
      .innerJoin(credential, eq(credential.connectionId, connection.id))
      .where(owned(connection, target));
    const pending = await tx
      .select({
        connectionId: receipt.connectionId,
        credentialId: receipt.credentialId,
        integration: receipt.integration,
        kind: receipt.ownerKind,
        id: receipt.ownerId,
      })
      .from(receipt)
      .where(and(owned(receipt, target), isNotNull(receipt.nextAttemptAt)));
    return [...linked, ...pending].map(({ kind, id, ...rest }) => ({ ...rest, owner: { kind, id } }));
  });

/** A few at a time. @returns how many providers confirmed. */
async function revokeAll(runtime: Runtime, target: EraseTarget, consents: readonly Consent[]): Promise<number> {
  const left = [...consents];
  let confirmed = 0;
  const work = async (): Promise<void> => {
    for (let next = left.pop(); next !== undefined; next = left.pop())
      if (await revokeOne(runtime, target.organizationId, next)) confirmed++;
  };
  await Promise.all(Array.from({ length: REVOKED_AT_ONCE }, work));
  return confirmed;
}

async function revokeOne(runtime: Runtime, organizationId: string, consent: Consent): Promise<boolean> {
  const { integration, connectionId, credentialId, owner } = consent;
  try {
    const connector = runtime.registry.get(integration);
    const user = createUser({
      vault: runtime.vault,
      connector,
      scope: { organizationId, integration, owner, credentialId },
      connectionId,
      account: undefined,
      apiVersion: "",
      backfillFrom: runtime.now(),
      purpose: "revoke",
      correlationId: connectionId,
      signal: AbortSignal.timeout(REVOKE_MS),
      throttle: createThrottle(() => runtime.now().getTime()),
      now: runtime.now,
      log: createRunLog(runtime.now).write,
    });
    await connector.revoke(user);
    return connector.auth.revocation !== undefined;
  } catch (error) {
    // Refused for good, or dead already: there is nothing to withdraw.
    if (error instanceof Rejected || (error instanceof Error && error.name === "ReauthRequired")) return true;
    runtime.log.warn({ integration, error: errorName(error) }, "a consent could not be withdrawn before it was erased");
    return false;
  }
}

/**
 * Everything of the connections; with a limit only of those that were made until then. Their own rows go last: while the
 * broker is away they say whose messages are still to be erased.
 */
async function deleteOwned(
  { database, log }: Runtime,
  target: EraseTarget,
  madeUntil: Date | undefined,
  { messages }: Pick<EraseOptions, "messages">,
): Promise<Pick<EraseReport, "connections" | "events" | "messages">> {
  const { organizationId } = target;
  const { connectionIds, events } = await withOrganization(database, organizationId, (tx) =>
    deleteContent(tx, target, madeUntil),
  );
  steps.publish("erase.deleted");
  const erased =
    messages === undefined || connectionIds.length === 0
      ? undefined
      : await messages.erase({ servers: messages.servers, organizationId, connectionIds, log }).catch(() => {
          throw new IntegrationError(
            "temporarily_unavailable",
            "The broker did not answer, and published messages are left: erase again when it is back.",
          );
        });
  steps.publish("erase.unpublished");
  await withOrganization(database, organizationId, (tx) =>
    tx
      .delete(connection)
      .where(and(eq(connection.organizationId, organizationId), inArray(connection.id, connectionIds))),
  );
  return { connections: connectionIds.length, events, messages: messages === undefined ? undefined : (erased ?? 0) };
}

async function deleteContent(
  tx: Queryable,
  target: EraseTarget,
  madeUntil: Date | undefined,
): Promise<{ readonly connectionIds: readonly string[]; readonly events: number }> {
  const { organizationId } = target;
  // Locked first, as every writer does: a run that is committing comes to its end, and the next finds nothing.
  const rows = await tx
    .select({ id: connection.id })
    .from(connection)
    .where(and(owned(connection, target), madeUntil === undefined ? undefined : lte(connection.createdAt, madeUntil)))
    .orderBy(connection.id)
    .for("update");
  const connectionIds = rows.map(({ id }) => id);
  const receiptsUntil = madeUntil === undefined ? undefined : lte(receipt.at, madeUntil);
  await tx
    .delete(receipt)
    .where(or(and(owned(receipt, target), receiptsUntil), inArray(receipt.connectionId, connectionIds)));
  for (const table of [objectState, run, action, credential])
    await tx
      .delete(table)
      .where(and(eq(table.organizationId, organizationId), inArray(table.connectionId, connectionIds)));
  if (target.userId === undefined)
    for (const [table, at] of [
      [setting, setting.updatedAt],
      [notice, notice.at],
    ] as const)
      await tx
        .delete(table)
        .where(and(eq(table.organizationId, organizationId), madeUntil === undefined ? undefined : lte(at, madeUntil)));
  return { connectionIds, events: await eraseEvents(tx, organizationId, connectionIds) };
}
