import { acrossOrganizations, type Queryable, withOrganization } from "@tributary/db";
import type { CredentialScope } from "@tributary/vault";
import { and, eq, gt, ne, or, sql } from "drizzle-orm";
import { credentialScope, type Runtime } from "./runtime.ts";
import { connection, credential } from "./schema.ts";

/**
 * The second half of linking, after the connection has its credential: the vault keeps the new secrets for good, and
 * deletes those of the credentials that this one replaced. Safe to repeat; a process killed before it is done is
 * followed by {@link settleCredentials}.
 */
export async function settleCredential(runtime: Runtime, scope: CredentialScope): Promise<void> {
  const { organizationId, credentialId } = scope;
  await runtime.vault.accept(scope);
  const own = and(eq(credential.id, credentialId), eq(credential.organizationId, organizationId));
  const [row] = await withOrganization(runtime.database, organizationId, (tx) =>
    tx.select({ replaces: credential.replaces }).from(credential).where(own),
  );
  if (row === undefined || row.replaces.length === 0) return;
  for (const replaced of row.replaces) await runtime.vault.forget({ ...scope, credentialId: replaced });
  await withOrganization(runtime.database, organizationId, (tx) =>
    tx.update(credential).set({ replaces: [] }).where(own),
  );
}

/**
 * Settles what a killed process left: credentials of the last hour, for the vault sweeps what is not accepted by then,
 * and those that still have something to delete.
 * @param connectionId this one's alone.
 */
export async function settleCredentials(runtime: Runtime, connectionId?: string): Promise<void> {
  const since = new Date(runtime.now().getTime() - 3_600_000);
  const find = (tx: Queryable) =>
    tx
      .select({ id: credential.id, row: connection })
      .from(credential)
      .innerJoin(
        connection,
        and(eq(connection.id, credential.connectionId), eq(connection.organizationId, credential.organizationId)),
      )
      .where(
        connectionId === undefined
          ? or(gt(credential.createdAt, since), ne(credential.replaces, sql`'{}'`))
          : eq(credential.connectionId, connectionId),
      )
      .limit(1000);
  const unsettled = await acrossOrganizations(runtime.database, "upkeep", find);
  for (const { id, row } of unsettled) {
    const owner = { kind: row.ownerKind, id: row.ownerId };
    await settleCredential(runtime, credentialScope(row.organizationId, row.integration, owner, id));
  }
}
