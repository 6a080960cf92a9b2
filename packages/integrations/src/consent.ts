import { withOrganization } from "@tributary/db";
import type { Account, Challenge, Connector, FlowState, User } from "@tributary/sdk";
import type { ConsentCallback, ConsentFlow, CredentialScope, Grant, Person } from "@tributary/vault";
import { and, eq, ne, sql } from "drizzle-orm";
import { channel } from "node:diagnostics_channel";
import { addressNames, enteredValues } from "./address-values.ts";
import { assertOwn, clientRefusal, listClients } from "./clients.ts";
import { IntegrationError, notFound } from "./errors.ts";
import { announceLinked, changeState, lockConnection } from "./lifecycle.ts";
import { createRunLog } from "./run-log.ts";
import { defaultApiVersion } from "./registry.ts";
import { credentialScope, errorName, type Owner, type Runtime } from "./runtime.ts";
import { connection, type ConnectionRow, credential } from "./schema.ts";
import { settleCredential } from "./settle-credential.ts";
import { missingScopes } from "./state.ts";
import { createThrottle } from "./throttle.ts";
import { createUser, type UserContext } from "./user.ts";

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
  /** What the placeholders in the provider's addresses stand for, such as the company's subdomain there; as entered. */
  readonly values?: Readonly<Record<string, unknown>>;
  /** An OAuth client of the organisation's own. Default: the only one that it has, else the deployment's. */
  readonly clientContextId?: string;
}

/**
 * Step one of linking: where to send the browser. Nothing is stored but a flow of ten minutes.
 * @throws IntegrationError not_found (no such integration, no such connection or client of theirs) ·
 * oauth_config_incomplete · url_not_allowed · validation_failed (each with the path) · oauth_client_invalid.
 */
export async function beginConsent(runtime: Runtime, request: BeginConsent): Promise<Challenge> {
  const connector = runtime.registry.get(request.integration);
  const known =
    request.connectionId === undefined ? undefined : await ownConnection(runtime, request, request.connectionId);
  if (known !== undefined && known.integration !== connector.id) throw notFound();
  const { clientContextId: contextId } = request;
  if (contextId !== undefined) assertOwn(await listClients(runtime, request.organizationId, connector.id), contextId);
  const values = enteredValues(addressNames(connector.auth, connector.manifest.hosts), request.values);
  const connectionId = known?.id ?? runtime.uuid();
  const scope = credentialScope(request.organizationId, connector.id, request.owner, runtime.uuid());
  const begin: User["begin"] = async (parameters) => {
    const consent = {
      scope,
      person: request.person,
      spec: connector.auth,
      scopes: connector.scopes.map(({ id }) => id),
      connectionId,
      values,
      ...(parameters === undefined ? {} : { parameters }),
      ...(contextId === undefined ? {} : { contextId }),
    };
    const { url } = await runtime.vault.beginConsent(consent).catch((error: unknown) => {
      throw clientRefusal(error, connector);
    });
    return { kind: "redirect", url };
  };
  return connector.beginOAuth(consentUser(runtime, connector, scope, connectionId, { begin }));
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
    if (grant !== undefined) {
      if (lacksRequired(connector, grant.scopes)) await withdraw(runtime, connector, flow);
      await runtime.vault.forget(flow.scope);
    }
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

/** The person waits at the browser, so the provider gets no longer. */
const WITHDRAW_MS = 10_000;

/**
 * Withdraws a consent that is of no use: what nobody keeps the secrets of could not be withdrawn by us later. Tried once.
 * Not where its owner has linked an account of the integration: many providers know one consent for a person and an
 * application, and would end the working link as well.
 */
async function withdraw(runtime: Runtime, connector: Connector, flow: ConsentFlow): Promise<void> {
  const signal = AbortSignal.timeout(WITHDRAW_MS);
  const late = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
  const attempt = async (): Promise<void> => {
    if (await hasLinked(runtime, flow)) return;
    await connector.revoke(
      consentUser(runtime, connector, flow.scope, flow.connectionId, { purpose: "revoke", signal }),
    );
  };
  await Promise.race([attempt(), late]).catch((error: unknown) =>
    runtime.log.warn(
      { integration: connector.id, error: errorName(error) },
      "the provider did not confirm that a refused consent was withdrawn",
    ),
  );
}

const hasLinked = async (runtime: Runtime, { scope }: ConsentFlow): Promise<boolean> => {
  const { organizationId, owner, integration } = scope;
  const rows = await withOrganization(runtime.database, organizationId, (tx) =>
    tx
      .select({ id: connection.id })
      .from(connection)
      .where(
        and(
          eq(connection.organizationId, organizationId),
          eq(connection.ownerKind, owner.kind),
          eq(connection.ownerId, owner.id),
          eq(connection.integration, integration),
          ne(connection.state, "disconnected"),
        ),
      )
      .limit(1),
  );
  return rows.length > 0;
};

function lacksRequired(connector: Connector, granted: readonly string[]): boolean {
  const missing = missingScopes(connector, granted);
  return connector.scopes.some((scope) => scope.required && missing.includes(scope.id));
}

function refuseWithoutRequired(connector: Connector, granted: readonly string[]): void {
  if (lacksRequired(connector, granted))
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
  for (let attempt = 0; attempt < LINK_ATTEMPTS; attempt++) {
    const same = old ?? (await sameAccount(runtime, flow, connector, account));
    if (same !== undefined) {
      await relink(runtime, flow, same, grant);
      return {
        kind: partial ? "partial" : old === undefined ? "already" : "relinked",
        connectionId: same.id,
        integration: connector.id,
      };
    }
    if (await create(runtime, connector, flow, account, grant))
      return { kind: partial ? "partial" : "linked", connectionId: flow.connectionId, integration: connector.id };
  }
  throw new IntegrationError("conflict", "The account is being linked and ended again and again.");
}

/** Somebody who links the same account at the same time is found the second time. */
const LINK_ATTEMPTS = 3;

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

/** @returns false, with nothing written, when the account was linked meanwhile: a second browser tab will do. */
async function create(
  runtime: Runtime,
  connector: Connector,
  flow: ConsentFlow,
  account: Account,
  grant: Grant,
): Promise<boolean> {
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
      .onConflictDoNothing()
      .returning();
    if (row === undefined) return undefined;
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
  announce?.();
  return announce !== undefined;
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

/** The user during consent: no account yet, a minute at most unless something else is said. */
function consentUser(
  runtime: Runtime,
  connector: Connector,
  scope: CredentialScope,
  connectionId: string,
  change: Partial<Pick<UserContext, "begin" | "purpose" | "signal">> = {},
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
    ...change,
  });
}
