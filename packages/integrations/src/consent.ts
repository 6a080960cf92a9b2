import { withOrganization } from "@tributary/db";
import type { Account, Challenge, Connector, FlowState, User } from "@tributary/sdk";
import type { ConsentCallback, ConsentFlow, CredentialScope, Grant, Person } from "@tributary/vault";
import { and, eq, ne, sql } from "drizzle-orm";
import { channel } from "node:diagnostics_channel";
import { IntegrationError, notFound } from "./errors.ts";
import { announceLinked, changeState, lockConnection } from "./lifecycle.ts";
import { createRunLog } from "./run-log.ts";
import { defaultApiVersion } from "./registry.ts";
import { credentialScope, errorName, type Owner, type Runtime } from "./runtime.ts";
import { connection, type ConnectionRow, credential } from "./schema.ts";
import { settleCredential } from "./settle-credential.ts";
import { missingScopes } from "./state.ts";
import { createThrottle } from "./throttle.ts";
import { createUser } from "./user.ts";

const steps = channel("tributary:step");
const DAY_MS = 86_400_000;
/** How far back a first run reads when the manifest does not say. */
const BACKFILL_DAYS = 90;

export interface BeginConsent {
  readonly organizationId: string;
  readonly owner: Owner;
  readonly person: Person;
  readonly integration: string;
  /** To link an account again; absent to link another. */
  readonly connectionId?: string;
  /** What the placeholders in the provider's addresses stand for, such as the company's subdomain there. */
  readonly values?: Readonly<Record<string, string>>;
}

/** Step one of linking: where to send the browser. Nothing is stored but a flow of ten minutes. */
export async function beginConsent(runtime: Runtime, request: BeginConsent): Promise<Challenge> {
  const connector = runtime.registry.get(request.integration);
  const known =
    request.connectionId === undefined ? undefined : await ownConnection(runtime, request, request.connectionId);
  if (known !== undefined && known.integration !== connector.id) throw notFound();
  const connectionId = known?.id ?? runtime.uuid();
  const scope = credentialScope(request.organizationId, connector.id, request.owner, runtime.uuid());
  const user = consentUser(runtime, connector, scope, connectionId, async (parameters) => {
    const { url } = await runtime.vault.beginConsent({
      scope,
      person: request.person,
      spec: connector.auth,
      scopes: connector.scopes.map(({ id }) => id),
      connectionId,
      ...(parameters === undefined ? {} : { parameters }),
      ...(request.values === undefined ? {} : { values: request.values }),
    });
    return { kind: "redirect", url };
  });
  return connector.beginOAuth(user);
}

export interface ConsentOutcome {
  readonly kind: "linked" | "relinked" | "partial" | "already";
  readonly connectionId: string;
  readonly integration: string;
}

/**
 * Step two: the browser came back. Verifies whose flow it is, redeems the code, asks the provider whose account it is,
 * and makes the connection with its first run due now.
 * @throws VaultError for a flow that is not this person's, is over, or that the provider refused · IntegrationError
 * other_account when linking again found another account (nothing is changed then).
 */
export async function finishConsent(runtime: Runtime, callback: ConsentCallback): Promise<ConsentOutcome> {
  const flow = await runtime.vault.takeFlow(callback);
  steps.publish("consent.verified");
  const connector = runtime.registry.get(flow.scope.integration);
  let grant: Grant | undefined;
  const state: FlowState = {
    redeem: async (code) => {
      grant = await runtime.vault.redeem(flow, code);
      steps.publish("consent.redeemed");
      // Before anything is asked with it: a credential that may not do enough is not used at all.
      refuseWithoutRequired(connector, grant.scopes);
      return consentUser(runtime, connector, flow.scope, flow.connectionId);
    },
  };
  let outcome: ConsentOutcome;
  try {
    const account = await connector.finishOAuth(flow.code, state);
    if (grant === undefined)
      throw new Error(`connector "${connector.id}": finishOAuth returned without redeeming the code`);
    refuseWithoutRequired(connector, grant.scopes);
    outcome = await link(runtime, connector, flow, account, grant);
  } catch (error) {
    if (grant !== undefined) await runtime.vault.forget(flow.scope);
    throw error;
  }
  steps.publish("consent.linked");
  // From here on the account is linked, whatever happens: what is left undone is done by the chores.
  await settleCredential(runtime, flow.scope).catch((error: unknown) =>
    runtime.log.warn({ connection: outcome.connectionId, error: errorName(error) }, "a credential is settled later"),
  );
  steps.publish("consent.accepted");
  return outcome;
}

function refuseWithoutRequired(connector: Connector, granted: readonly string[]): void {
  const missing = missingScopes(connector, granted);
  const required = connector.scopes.filter((scope) => scope.required && missing.includes(scope.id));
  if (required.length > 0)
    throw new IntegrationError(
      "scope_insufficient",
      `${connector.manifest.name} cannot be linked without the permissions it needs.`,
    );
}

async function link(
  runtime: Runtime,
  connector: Connector,
  flow: ConsentFlow,
  account: Account,
  grant: Grant,
): Promise<ConsentOutcome> {
  const { organizationId } = flow.scope;
  const partial = missingScopes(connector, grant.scopes).length > 0;
  const [old] = await withOrganization(runtime.database, organizationId, (tx) =>
    tx
      .select()
      .from(connection)
      .where(and(eq(connection.organizationId, organizationId), eq(connection.id, flow.connectionId))),
  );
  if (old !== undefined && (old.accountId !== account.id || old.state === "disconnected"))
    throw new IntegrationError(
      "other_account",
      `That is another ${connector.manifest.name} account. Nothing was changed.`,
    );
  const same = old ?? (await sameAccount(runtime, flow, connector, account));
  if (same !== undefined) {
    await relink(runtime, flow, same, grant);
    return {
      kind: partial ? "partial" : old === undefined ? "already" : "relinked",
      connectionId: same.id,
      integration: connector.id,
    };
  }
  await create(runtime, connector, flow, account, grant);
  return { kind: partial ? "partial" : "linked", connectionId: flow.connectionId, integration: connector.id };
}

const sameAccount = async (runtime: Runtime, flow: ConsentFlow, connector: Connector, account: Account) => {
  const { organizationId, owner } = flow.scope;
  const [row] = await withOrganization(runtime.database, organizationId, (tx) =>
    tx
      .select()
      .from(connection)
      .where(
        and(
          eq(connection.organizationId, organizationId),
          eq(connection.ownerKind, owner.kind),
          eq(connection.ownerId, owner.id),
          eq(connection.integration, connector.id),
          eq(connection.accountId, account.id),
          ne(connection.state, "disconnected"),
        ),
      ),
  );
  return row;
};

async function create(
  runtime: Runtime,
  connector: Connector,
  flow: ConsentFlow,
  account: Account,
  grant: Grant,
): Promise<void> {
  const { organizationId, owner, credentialId } = flow.scope;
  const now = runtime.now();
  const announce = await withOrganization(runtime.database, organizationId, async (tx) => {
    const [row] = await tx
      .insert(connection)
      .values({
        id: flow.connectionId,
        organizationId,
        integration: connector.id,
        ownerKind: owner.kind,
        ownerId: owner.id,
        accountId: account.id,
        accountLabel: account.label,
        apiVersion: defaultApiVersion(connector),
        state: "syncing",
        backfillFrom: new Date(now.getTime() - (connector.manifest.backfillDays ?? BACKFILL_DAYS) * DAY_MS),
        dueAt: now,
      })
      .returning();
    if (row === undefined) throw new Error("the connection was not inserted");
    await tx.insert(credential).values({
      id: credentialId,
      connectionId: flow.connectionId,
      organizationId,
      integration: connector.id,
      secretIds: grant.secretIds,
      grantedScopes: [...grant.scopes],
      meta: { v: "1" },
    });
    return announceLinked(runtime, tx, row, grant.scopes);
  });
  announce();
}

/** The connection gets the new credential and keeps its cursor: nothing is read twice. */
async function relink(runtime: Runtime, flow: ConsentFlow, row: ConnectionRow, grant: Grant): Promise<void> {
  const { organizationId, credentialId } = flow.scope;
  const announce = await withOrganization(runtime.database, organizationId, async (tx) => {
    const now = await lockConnection(tx, row);
    if (now === undefined || now.state === "disconnected")
      throw new IntegrationError("conflict", "The connection was ended meanwhile.");
    const [had] = await tx
      .select()
      .from(credential)
      .where(and(eq(credential.connectionId, row.id), eq(credential.organizationId, organizationId)))
      .for("update");
    await tx
      .delete(credential)
      .where(and(eq(credential.connectionId, row.id), eq(credential.organizationId, organizationId)));
    await tx.insert(credential).values({
      id: credentialId,
      connectionId: row.id,
      organizationId,
      integration: row.integration,
      secretIds: grant.secretIds,
      grantedScopes: [...grant.scopes],
      meta: had?.meta ?? { v: "1" },
      replaces: had === undefined ? [] : [had.id, ...had.replaces],
    });
    // A run under way holds the old credential: its lease ends here.
    await tx
      .update(connection)
      .set({ leaseToken: sql`lease_token + 1`, leaseUntil: null, failures: 0 })
      .where(and(eq(connection.id, row.id), eq(connection.organizationId, organizationId)));
    const next = now.state === "paused" ? "paused" : "connected";
    return changeState(runtime, tx, now, next, {
      dueAt: next === "paused" ? null : runtime.now(),
      ...(now.pausedBy === null ? {} : { pausedBy: now.pausedBy }),
    });
  });
  announce();
}

async function ownConnection(runtime: Runtime, request: BeginConsent, connectionId: string): Promise<ConnectionRow> {
  const [row] = await withOrganization(runtime.database, request.organizationId, (tx) =>
    tx
      .select()
      .from(connection)
      .where(
        and(
          eq(connection.id, connectionId),
          eq(connection.organizationId, request.organizationId),
          eq(connection.ownerKind, request.owner.kind),
          eq(connection.ownerId, request.owner.id),
          ne(connection.state, "disconnected"),
        ),
      ),
  );
  if (row === undefined) throw notFound();
  return row;
}

/** The user during consent: no account yet, a minute at most. */
function consentUser(
  runtime: Runtime,
  connector: Connector,
  scope: CredentialScope,
  connectionId: string,
  begin?: User["begin"],
): User {
  const now = runtime.now();
  return createUser({
    vault: runtime.vault,
    connector,
    scope,
    connectionId,
    account: undefined,
    apiVersion: defaultApiVersion(connector),
    backfillFrom: now,
    purpose: "identify",
    correlationId: runtime.uuid(),
    signal: AbortSignal.timeout(60_000),
    throttle: createThrottle(() => runtime.now().getTime()),
    now: runtime.now,
    log: createRunLog(runtime.now).write,
    ...(begin === undefined ? {} : { begin }),
  });
}
