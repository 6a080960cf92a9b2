import { type ActionResult, ClientInvalid, ConnectorError, type Json, ReauthRequired, Rejected } from "@tributary/sdk";
import { withOrganization } from "@tributary/db";
import { and, eq, sql } from "drizzle-orm";
import { createHash } from "node:crypto";
import { IntegrationError } from "./errors.ts";
import { wake } from "./lease.ts";
import { createRunLog } from "./run-log.ts";
import { credentialScope, type Runtime } from "./runtime.ts";
import { action as actionTable, type ActionOutcome, type ConnectionRow, credential } from "./schema.ts";
import { createThrottle } from "./throttle.ts";
import { createUser } from "./user.ts";

export interface ActRequest {
  readonly type: string;
  readonly input: Json;
  /** UUID chosen by the caller; the same for every attempt at one action. */
  readonly idempotencyKey: string;
}

const ACT_MS_MAX = 60_000;

/**
 * Writes back to the provider, and makes a run due so that the change comes back as an event. Asking twice with one key
 * acts once: a finished action answers with its first outcome, one that died half-way is sent again with the same key.
 * @throws IntegrationError unknown_action · validation_failed · scope_insufficient · conflict (the key belongs to another
 * action) · action_rejected · reauth_required · provider_unavailable (nobody knows whether it was done: ask again with the same key).
 */
export async function act(runtime: Runtime, row: ConnectionRow, request: ActRequest): Promise<ActionResult> {
  const connector = runtime.registry.get(row.integration);
  const spec = Object.hasOwn(connector.manifest.actions ?? {}, request.type)
    ? connector.manifest.actions?.[request.type]
    : undefined;
  if (spec === undefined || connector.act === undefined)
    throw new IntegrationError("unknown_action", `${connector.manifest.name} has no action of that name.`);
  const input = parseInput(spec.input, request.input);
  const [held] = await withOrganization(runtime.database, row.organizationId, (tx) =>
    tx
      .select()
      .from(credential)
      .where(and(eq(credential.connectionId, row.id), eq(credential.organizationId, row.organizationId))),
  );
  if (held === undefined || row.state === "expired")
    throw new IntegrationError("reauth_required", "The account must be linked again.");
  if (row.state === "paused") throw new IntegrationError("conflict", "The connection is paused.");
  if ((spec.scopes ?? []).some((scope) => !held.grantedScopes.includes(scope)))
    throw new IntegrationError("scope_insufficient", "The permission for this was not given.");

  const finished = await reserve(runtime, row, request, input);
  if (finished !== undefined) return answer(finished);
  const user = createUser({
    vault: runtime.vault,
    connector,
    scope: credentialScope(row.organizationId, row.integration, { kind: row.ownerKind, id: row.ownerId }, held.id),
    connectionId: row.id,
    account: { id: row.accountId, label: row.accountLabel },
    apiVersion: row.apiVersion,
    backfillFrom: row.backfillFrom,
    purpose: "action",
    correlationId: request.idempotencyKey,
    signal: AbortSignal.timeout(ACT_MS_MAX),
    throttle: createThrottle(() => runtime.now().getTime()),
    now: runtime.now,
    log: createRunLog(runtime.now).write,
  });
  let outcome: ActionOutcome;
  try {
    outcome = await connector.act(user, { ...request, input });
  } catch (error) {
    if (error instanceof Rejected) outcome = { rejected: error.message };
    else if (error instanceof ReauthRequired)
      throw new IntegrationError("reauth_required", "The account must be linked again.");
    else if (error instanceof ClientInvalid) throw new IntegrationError("oauth_client_invalid", error.message);
    else if (error instanceof ConnectorError) throw new IntegrationError("provider_unavailable", error.message);
    else throw error;
  }
  await withOrganization(runtime.database, row.organizationId, async (tx) => {
    await tx.update(actionTable).set({ outcome }).where(sameAction(row, request));
    await wake(tx, row.organizationId, [row.id]);
  });
  return answer(outcome);
}

function parseInput(schema: { parse(value: unknown): Json }, value: Json): Json {
  try {
    return schema.parse(value);
  } catch (error) {
    const found = (error as { issues?: readonly { path: readonly PropertyKey[]; code?: string }[] }).issues ?? [];
    const issues = found.map(({ path, code }) => ({
      path: `/${path.map(String).join("/")}`,
      reason: code ?? "invalid",
    }));
    throw new IntegrationError(
      "validation_failed",
      "The input does not have the shape that the action asks for.",
      issues,
    );
  }
}

const sameAction = (row: ConnectionRow, { idempotencyKey }: ActRequest) =>
  and(
    eq(actionTable.organizationId, row.organizationId),
    eq(actionTable.connectionId, row.id),
    eq(actionTable.idempotencyKey, idempotencyKey),
  );

/** Writes the key down before anything is sent. @returns the outcome when the action was finished before. */
async function reserve(
  runtime: Runtime,
  row: ConnectionRow,
  request: ActRequest,
  input: Json,
): Promise<ActionOutcome | undefined> {
  const inputHash = createHash("sha256")
    .update(`${request.type}\n${JSON.stringify(input)}`)
    .digest();
  const [kept] = await withOrganization(runtime.database, row.organizationId, (tx) =>
    tx
      .insert(actionTable)
      .values({
        organizationId: row.organizationId,
        connectionId: row.id,
        idempotencyKey: request.idempotencyKey,
        type: request.type,
        inputHash,
      })
      .onConflictDoUpdate({
        target: [actionTable.organizationId, actionTable.connectionId, actionTable.idempotencyKey],
        set: { type: sql`${actionTable.type}` },
      })
      .returning(),
  );
  if (kept === undefined) throw new Error("the action was not inserted");
  if (!inputHash.equals(kept.inputHash))
    throw new IntegrationError("conflict", "The idempotency key belongs to another action.");
  return kept.outcome ?? undefined;
}

function answer(outcome: ActionOutcome): ActionResult {
  if ("rejected" in outcome) throw new IntegrationError("action_rejected", outcome.rejected);
  return outcome;
}
