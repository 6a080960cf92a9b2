import { databaseUnavailableIn, withOrganization } from "@tributary/db";
import { ConnectorError, type Json, type Signal } from "@tributary/sdk";
import { and, eq } from "drizzle-orm";
import { channel } from "node:diagnostics_channel";
import { setTimeout as sleep } from "node:timers/promises";
import { COMMIT_SIGNALS_MAX, commit, LeaseLost } from "./commit.ts";
import { every } from "./every.ts";
import { extendLease, type Lease } from "./lease.ts";
import { createRunLog } from "./run-log.ts";
import { credentialScope, type Runtime } from "./runtime.ts";
import { connection, credential, run as runTable } from "./schema.ts";
import { abandonLastRun, RunTimeUp, settleRun } from "./settle-run.ts";
import type { Throttle } from "./throttle.ts";
import { inSpan, traceparentOf } from "./trace.ts";
import { createUser } from "./user.ts";

/** Tells tracing and tests where a run is. Costs nothing when nobody listens. */
const steps = channel("tributary:step");

/** A run that takes longer gives its place to others, and goes on behind its last checkpoint when it is its turn again. */
const RUN_MS_MAX = 15 * 60_000;
const HEARTBEAT_MS = 20_000;
const CURSOR_BYTES_MAX = 4096;

export interface RunResult {
  /** "ok", "continues", "lease_lost", "interrupted", "database_unavailable", or the code of the error that ended it. */
  readonly outcome: string;
  readonly events: number;
  readonly unchanged: number;
}

/**
 * One run: loads the cursor, drives the connector's `fetchSignals` to its end, commits at each checkpoint, and settles
 * what comes next by how it ended. Never throws for what a connector or a provider did.
 */
export async function syncRun(
  runtime: Runtime,
  throttle: Throttle,
  lease: Lease,
  shutdown: AbortSignal,
): Promise<RunResult> {
  const runId = runtime.uuid();
  const log = createRunLog(runtime.now);
  const lost = new AbortController();
  const time = new AbortController();
  const timer = setTimeout(() => time.abort(new RunTimeUp()), RUN_MS_MAX);
  const signal = AbortSignal.any([shutdown, lost.signal, time.signal]);
  const beat = async (): Promise<void> => {
    const held = await withOrganization(runtime.database, lease.organizationId, (tx) => extendLease(tx, lease));
    if (!held) lost.abort(new LeaseLost());
  };
  // When the database is away the lease runs out by itself, and the next commit is refused. A beat on a connection that is
  // dead without a word must not keep the next one, which takes another connection.
  const stopHeartbeat = every(() => Promise.race([beat(), sleep(HEARTBEAT_MS / 2, undefined, { ref: false })]), {
    everyMs: HEARTBEAT_MS,
    onError: () => {},
  });
  const total = { events: 0, unchanged: 0, moved: false };
  let error: unknown;
  try {
    const { organizationId, connectionId } = lease;
    await withOrganization(runtime.database, organizationId, async (tx) => {
      await abandonLastRun(tx, connectionId, organizationId);
      await tx.insert(runTable).values({ id: runId, organizationId, connectionId, purpose: "sync" });
    });
    steps.publish("run.started");
    const attributes = { "tributary.run": runId, "tributary.connection": connectionId };
    await inSpan("tributary.run", attributes, (span) =>
      drive(runtime, throttle, lease, { runId, log, signal, total, traceparent: traceparentOf(span) }),
    );
  } catch (thrown) {
    const instructs = thrown instanceof ConnectorError || databaseUnavailableIn(thrown) !== undefined;
    error = signal.aborted && !instructs ? (signal.reason as unknown) : thrown;
  } finally {
    clearTimeout(timer);
    void stopHeartbeat();
  }
  const outcome = await settleRun(runtime, lease, { runId, log, error, interrupted: shutdown.aborted, ...total });
  steps.publish("run.settled");
  return { outcome, events: total.events, unchanged: total.unchanged };
}

interface Drive {
  readonly runId: string;
  readonly log: ReturnType<typeof createRunLog>;
  readonly signal: AbortSignal;
  readonly total: { events: number; unchanged: number; moved: boolean };
  /** Of the run. */
  readonly traceparent: string;
}

async function drive(
  runtime: Runtime,
  throttle: Throttle,
  lease: Lease,
  { runId, log, signal, total, traceparent }: Drive,
): Promise<void> {
  const { row, cursor, backfill } = await load(runtime, lease);
  const connector = runtime.registry.get(lease.integration);
  const user = createUser({
    vault: runtime.vault,
    connector,
    scope: credentialScope(
      lease.organizationId,
      lease.integration,
      { kind: row.ownerKind, id: row.ownerId },
      lease.credentialId,
    ),
    connectionId: lease.connectionId,
    account: { id: row.accountId, label: row.accountLabel },
    apiVersion: row.apiVersion,
    backfillFrom: row.backfillFrom,
    purpose: "sync",
    correlationId: runId,
    signal,
    throttle,
    now: runtime.now,
    log: log.write,
  });
  const begun = JSON.stringify(cursor);
  let pending: Signal[] = [];
  let checkpoints = 0;
  const flush = async (next?: Json): Promise<void> => {
    signal.throwIfAborted();
    steps.publish("commit.before");
    const moved = next === undefined ? {} : { cursor: next };
    const result = await inSpan("tributary.commit", { "tributary.signals": pending.length }, () =>
      commit(runtime, { lease, signals: pending, ...moved, backfill, traceparent }),
    );
    steps.publish("commit.after");
    pending = [];
    total.events += result.events;
    total.unchanged += result.unchanged;
  };
  for await (const yielded of connector.fetchSignals(user, cursor)) {
    signal.throwIfAborted();
    if (yielded.kind === "signal") {
      pending.push(yielded);
      // Memory stays bounded between checkpoints: what is committed early is recognised when it is yielded again.
      if (pending.length >= COMMIT_SIGNALS_MAX) await flush();
    } else {
      assertCursor(connector.id, yielded.cursor);
      await flush(yielded.cursor);
      checkpoints += 1;
      total.moved = JSON.stringify(yielded.cursor) !== begun;
    }
  }
  if (checkpoints === 0) throw new Error(`connector "${connector.id}": the run ended without a checkpoint`);
}

async function load(runtime: Runtime, lease: Lease) {
  const [found] = await withOrganization(runtime.database, lease.organizationId, (tx) =>
    tx
      .select({ row: connection, meta: credential.meta })
      .from(connection)
      .innerJoin(credential, eq(credential.connectionId, connection.id))
      .where(and(eq(connection.id, lease.connectionId), eq(connection.organizationId, lease.organizationId))),
  );
  if (found === undefined) throw new LeaseLost();
  const { cursor, backfilling } = found.meta;
  return { row: found.row, cursor, backfill: cursor === undefined || backfilling === true };
}

function assertCursor(connectorId: string, cursor: Json): void {
  if (Buffer.byteLength(JSON.stringify(cursor)) > CURSOR_BYTES_MAX)
    throw new Error(`connector "${connectorId}": the cursor has more than ${CURSOR_BYTES_MAX} bytes`);
}
