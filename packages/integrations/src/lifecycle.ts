import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import {
  ConnectionDisconnectedSchema,
  ConnectionLinkedSchema,
  ConnectionState,
  ConnectionStateChangedSchema,
  encode,
  eventId,
  eventSubject,
} from "@tributary/contracts";
import type { Queryable } from "@tributary/db";
import type { EventBatch } from "@tributary/pipeline";
import { and, eq, sql } from "drizzle-orm";
import type { Runtime } from "./runtime.ts";
import { connection, type ConnectionRow, type StoredState } from "./schema.ts";
import { traceparentOf } from "./trace.ts";

const PROTO_STATE: Readonly<Record<StoredState, ConnectionState>> = {
  connected: ConnectionState.CONNECTED,
  syncing: ConnectionState.SYNCING,
  error: ConnectionState.ERROR,
  expired: ConnectionState.EXPIRED,
  paused: ConnectionState.PAUSED,
  disconnected: ConnectionState.DISCONNECTED,
};

export interface Reason {
  readonly code: string;
  /** A sentence for people. */
  readonly message: string;
}

/** Publishes after the transaction that appended it: call it when that has committed. */
export type Announce = () => void;

/** The connection's row as it is now, locked until the transaction ends; undefined when it is gone. */
export async function lockConnection(
  tx: Queryable,
  { id, organizationId }: Pick<ConnectionRow, "id" | "organizationId">,
): Promise<ConnectionRow | undefined> {
  const [row] = await tx
    .select()
    .from(connection)
    .where(and(eq(connection.id, id), eq(connection.organizationId, organizationId)))
    .for("update");
  return row;
}

/**
 * Moves a connection to another state and appends the event that says so, in the caller's transaction. Does nothing
 * when it is there already for the same reason.
 * @param row locked by this transaction: two changes at once would give two events one version, and so one id.
 */
export async function changeState(
  runtime: Runtime,
  tx: Queryable,
  row: ConnectionRow,
  to: StoredState,
  changes: { readonly reason?: Reason; readonly pausedBy?: string; readonly dueAt?: Date | null } = {},
): Promise<Announce> {
  const reasonCode = changes.reason?.code ?? null;
  const same = row.state === to && row.reasonCode === reasonCode;
  const version = row.stateVersion + (same ? 0 : 1);
  await tx
    .update(connection)
    .set({
      state: to,
      stateVersion: version,
      reasonCode,
      reasonMessage: changes.reason?.message ?? null,
      pausedBy: changes.pausedBy ?? null,
      ...(same ? {} : { stateSince: sql`now()` }),
      ...(changes.dueAt === undefined ? {} : { dueAt: changes.dueAt }),
    })
    .where(and(eq(connection.id, row.id), eq(connection.organizationId, row.organizationId)));
  if (same) return () => {};
  return appendLifecycleEvent(runtime, tx, row, version, ConnectionStateChangedSchema, {
    connection: reference(row),
    previous: PROTO_STATE[row.state],
    current: PROTO_STATE[to],
    reason: reasonCode ?? "",
  });
}

export const announceLinked = (
  runtime: Runtime,
  tx: Queryable,
  row: ConnectionRow,
  grantedScopes: readonly string[],
): Promise<Announce> =>
  appendLifecycleEvent(runtime, tx, row, row.stateVersion, ConnectionLinkedSchema, {
    connection: reference(row),
    grantedScopes: [...grantedScopes],
  });

export const announceDisconnected = (
  runtime: Runtime,
  tx: Queryable,
  row: ConnectionRow,
  receiptId: string,
): Promise<Announce> =>
  appendLifecycleEvent(runtime, tx, row, row.stateVersion, ConnectionDisconnectedSchema, {
    connection: reference(row),
    receiptId,
  });

const reference = (row: ConnectionRow) => ({ id: row.id, connector: row.integration, ownerId: row.ownerId });

async function appendLifecycleEvent<T extends DescMessage>(
  runtime: Runtime,
  tx: Queryable,
  row: ConnectionRow,
  version: number,
  schema: T,
  data: MessageInitShape<T>,
): Promise<Announce> {
  const objectKey = `connection/${row.id}`;
  const batch: EventBatch = {
    organizationId: row.organizationId,
    connectionId: row.id,
    connector: row.integration,
    backfill: false,
    traceparent: traceparentOf(),
    events: [
      {
        id: eventId(row.id, schema.typeName, objectKey, String(version)),
        type: schema.typeName,
        subject: eventSubject(schema, row.organizationId, row.integration),
        objectKey,
        timeMs: runtime.now().getTime(),
        payload: encode(schema, create(schema, data)),
      },
    ],
  };
  const firstSequence = await runtime.append(tx, batch);
  return () => runtime.committed(batch, firstSequence);
}
