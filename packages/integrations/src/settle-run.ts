import { databaseUnavailableIn, type Queryable, run as runSql, withOrganization } from "@tributary/db";
import {
  type Connector,
  ConnectorError,
  ContractViolation,
  CursorExpired,
  ReauthRequired,
  Rejected,
  Retryable,
} from "@tributary/sdk";
import { and, eq, sql } from "drizzle-orm";
import { LeaseLost } from "./commit.ts";
import type { Lease } from "./lease.ts";
import { changeState, type Reason } from "./lifecycle.ts";
import type { RunLog } from "./run-log.ts";
import { errorName, type Runtime } from "./runtime.ts";
import { connection, type ConnectionRow, credential, run as runTable, type StoredState } from "./schema.ts";

export interface RunEnd {
  readonly runId: string;
  readonly log: RunLog;
  readonly events: number;
  readonly unchanged: number;
  /** Whether its cursor stands elsewhere than where the run began. */
  readonly moved: boolean;
  /** What ended it; undefined when it came to its end. */
  readonly error: unknown;
  /** True when this process is stopping: the run goes on elsewhere, at once. */
  readonly interrupted: boolean;
}

/** Ends a run that takes longer than one may. */
export class RunTimeUp extends Error {
  override get name(): string {
    return "RunTimeUp";
  }
}

/** What a run's end means for its connection. */
interface Verdict {
  readonly outcome: string;
  readonly state: StoredState | "unchanged";
  readonly reason?: Reason;
  /** Milliseconds until the next run; undefined for never. */
  readonly nextMs: number | undefined;
  readonly failures: number;
  readonly dropCursor?: boolean;
}

const RETRY_MS_MAX = 3_600_000;
const RETRY_MS_FIRST = 2_000;
/** The outcome of a run that our own database cut short: nothing against its connection, which is tried again. */
const DATABASE_UNAVAILABLE = "database_unavailable";
/** What was cut short by us goes on soon, however often that was. */
const UNAVAILABLE_MS_MAX = 300_000;
/** A connector's bug is tried so often before its connection stops. */
const BUG_RUNS_MAX = 4;

/**
 * Records the run, moves the connection's state and schedules what comes next, under the lease. A database that is
 * unavailable is asked once more.
 * @returns the outcome.
 */
export async function settleRun(runtime: Runtime, lease: Lease, end: RunEnd): Promise<string> {
  try {
    return await settle(runtime, lease, end, false);
  } catch (error) {
    // A process that is stopping keeps nobody waiting: the lease runs out by itself.
    if (end.interrupted || databaseUnavailableIn(error) === undefined) throw error;
    return settle(runtime, lease, end, true);
  }
}

async function settle(runtime: Runtime, lease: Lease, end: RunEnd, again: boolean): Promise<string> {
  const connector = runtime.registry.get(lease.integration);
  const unavailable = databaseUnavailableIn(end.error);
  let outcome = "lease_lost";
  let announce = (): void => {};
  await withOrganization(runtime.database, lease.organizationId, async (tx) => {
    const settled = again ? await settledOutcome(tx, lease, end.runId) : undefined;
    if (settled !== undefined) {
      outcome = settled;
      return;
    }
    const row = await lockUnderLease(tx, lease);
    if (row !== undefined) {
      const cutShort = unavailable === undefined ? 0 : await timesCutShort(tx, lease, end.runId);
      const verdict = judge(connector, row, { ...end, cutShort }, runtime.random);
      outcome = verdict.outcome;
      announce = await apply(runtime, tx, lease, row, verdict, end);
    }
    await tx
      .update(runTable)
      .set({ endedAt: sql`now()`, outcome, events: end.events, unchanged: end.unchanged, log: end.log.lines })
      .where(and(eq(runTable.id, end.runId), eq(runTable.organizationId, lease.organizationId)));
  });
  announce();
  const fields = {
    run: end.runId,
    connection: lease.connectionId,
    integration: lease.integration,
    outcome,
    events: end.events,
  };
  if (outcome === DATABASE_UNAVAILABLE)
    runtime.log.warn(
      { ...fields, code: unavailable?.code },
      "the database was unavailable in the middle of a run: what was committed stays, and it goes on soon",
    );
  else if (outcome === "bug") runtime.log.error({ ...fields, error: errorName(end.error) }, "a connector failed");
  else if (end.error === undefined) runtime.log.info(fields, "run ended");
  else runtime.log.warn(fields, "run ended");
  return outcome;
}

/**
 * Ends the run before this one when nobody else will: its worker died, and left it open. To be called under a newer lease,
 * or when there will be no other run. A worker that is alive after all and only late writes its own end over this one.
 */
const ABANDON = `
UPDATE integrations.run SET ended_at = now(), outcome = 'abandoned' WHERE organization_id = $2 AND ended_at IS NULL AND id = (
  SELECT id FROM integrations.run WHERE connection_id = $1 ORDER BY started_at DESC LIMIT 1)`;

export async function abandonLastRun(tx: Queryable, connectionId: string, organizationId: string): Promise<void> {
  await runSql(tx, ABANDON, [connectionId, organizationId]);
}

/** When the answer to the first COMMIT was all that got lost, the run is settled. */
async function settledOutcome(tx: Queryable, lease: Lease, runId: string): Promise<string | undefined> {
  const [row] = await runSql<{ outcome: string }>(
    tx,
    "SELECT outcome FROM integrations.run WHERE id = $1 AND organization_id = $2 AND ended_at IS NOT NULL AND outcome <> 'abandoned'",
    [runId, lease.organizationId],
  );
  return row?.outcome;
}

const LAST_OUTCOMES = `
SELECT outcome FROM integrations.run WHERE connection_id = $1 AND organization_id = $2 AND id <> $3
ORDER BY started_at DESC LIMIT 8`;

/** How many runs of the connection, one after the other, the database cut short right before this one; 8 at most. */
async function timesCutShort(tx: Queryable, lease: Lease, runId: string): Promise<number> {
  const params = [lease.connectionId, lease.organizationId, runId];
  const last = await runSql<{ outcome: string | null }>(tx, LAST_OUTCOMES, params);
  const other = last.findIndex(({ outcome }) => outcome !== DATABASE_UNAVAILABLE);
  return other === -1 ? last.length : other;
}

/**
 * Pure: by the class of the error, what the runtime does next.
 * @param end.cutShort how often the database cut the connection's runs short right before this one.
 */
export function judge(
  connector: Connector,
  row: ConnectionRow,
  end: Pick<RunEnd, "error" | "interrupted"> & { readonly moved?: boolean; readonly cutShort?: number },
  random: () => number,
): Verdict {
  const { error } = end;
  const failures = row.failures + 1;
  const pollMs = connector.manifest.pollIntervalMs;
  if (error === undefined) {
    // Spread by a tenth, so that connections made together do not stay together.
    const nextMs = pollMs === undefined ? undefined : pollMs * (0.95 + random() * 0.1);
    return { outcome: "ok", state: "connected", nextMs, failures: 0 };
  }
  // Nobody's fault: this process is stopping; or it stood still for longer than its lease, and nobody else has come.
  const lost = error instanceof LeaseLost;
  if (lost || end.interrupted)
    return { outcome: lost ? "lease_lost" : "interrupted", state: "unchanged", nextMs: 0, failures: row.failures };
  // There is much to read, and it gets on. One that comes no further in all that time would never end.
  if (error instanceof RunTimeUp && end.moved === true)
    return { outcome: "continues", state: row.state === "error" ? "syncing" : "unchanged", nextMs: 0, failures: 0 };
  // Ours, whatever a connector made of it on the way.
  if (databaseUnavailableIn(error) !== undefined) {
    const nextMs = Math.min(backoffMs((end.cutShort ?? 0) + 1, random), UNAVAILABLE_MS_MAX);
    return { outcome: DATABASE_UNAVAILABLE, state: "unchanged", nextMs, failures: row.failures };
  }
  if (error instanceof CursorExpired)
    return {
      outcome: error.code,
      state: "syncing",
      nextMs: failures > 1 ? backoffMs(failures, random) : 0,
      failures,
      dropCursor: true,
    };
  if (error instanceof Retryable)
    return {
      outcome: error.code,
      state: "error",
      reason: reasonOf(error),
      nextMs: Math.max(backoffMs(failures, random), error.retryAfterMs ?? 0),
      failures,
    };
  if (error instanceof ReauthRequired)
    return { outcome: error.code, state: "expired", reason: reasonOf(error), nextMs: undefined, failures };
  if (error instanceof ContractViolation || error instanceof Rejected)
    return { outcome: "contract_violation", state: "error", reason: reasonOf(error), nextMs: undefined, failures };
  const reason = { code: "bug", message: "The connector failed in a way it was not written for." };
  const nextMs = failures < BUG_RUNS_MAX ? backoffMs(failures, random) : undefined;
  return { outcome: "bug", state: "error", reason, nextMs, failures };
}

const reasonOf = (error: ConnectorError): Reason => ({ code: error.code, message: error.message.slice(0, 300) });

/** Exponential, half of it jitter, at most an hour. */
export const backoffMs = (failures: number, random: () => number): number =>
  Math.min(RETRY_MS_FIRST * 2 ** Math.min(failures - 1, 20), RETRY_MS_MAX) * (0.5 + random() * 0.5);

async function lockUnderLease(tx: Queryable, lease: Lease): Promise<ConnectionRow | undefined> {
  const [row] = await tx
    .select()
    .from(connection)
    .where(
      and(
        eq(connection.id, lease.connectionId),
        eq(connection.organizationId, lease.organizationId),
        eq(connection.leaseToken, lease.token),
      ),
    )
    .for("update");
  return row;
}

/** Gives the lease back. A wish that came during the run (somebody pressed Sync Now, a webhook) makes the next one due at once. */
const SCHEDULE = `
UPDATE integrations.connection SET failures = $4, lease_until = NULL, wake = false,
  due_at = CASE WHEN wake THEN now() WHEN $5::float8 IS NULL THEN NULL ELSE now() + make_interval(secs => $5) END,
  verified_at = CASE WHEN $6 THEN now() ELSE verified_at END,
  last_event_at = CASE WHEN $7::bigint > 0 THEN now() ELSE last_event_at END, events_read = events_read + $7::bigint
WHERE id = $1 AND organization_id = $2 AND lease_token = $3`;

const BACKFILLED = `
UPDATE integrations.credential SET meta = meta - 'backfilling', version = version + 1
WHERE id = $1 AND organization_id = $2 AND meta ? 'backfilling'`;

async function apply(
  runtime: Runtime,
  tx: Queryable,
  lease: Lease,
  row: ConnectionRow,
  verdict: Verdict,
  end: RunEnd,
): Promise<() => void> {
  const key = [lease.connectionId, lease.organizationId, lease.token];
  const nextSeconds = verdict.nextMs === undefined ? null : verdict.nextMs / 1000;
  await runSql(tx, SCHEDULE, [...key, verdict.failures, nextSeconds, end.error === undefined, end.events]);
  if (end.error === undefined) await runSql(tx, BACKFILLED, [lease.credentialId, lease.organizationId]);
  if (verdict.dropCursor === true)
    await tx
      .update(credential)
      .set({ meta: { v: "1" }, version: sql`version + 1` })
      .where(and(eq(credential.id, lease.credentialId), eq(credential.organizationId, lease.organizationId)));
  if (verdict.state === "unchanged" || row.state === "paused" || row.state === "disconnected") return () => {};
  return changeState(runtime, tx, row, verdict.state, verdict.reason === undefined ? {} : { reason: verdict.reason });
}
