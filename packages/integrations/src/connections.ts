import { countConnectionEvents, eventStrips, lastConnectionEvents, type LedgerEvent } from "@tributary/pipeline";
import { type Queryable, withOrganization } from "@tributary/db";
import type { ActionResult } from "@tributary/sdk";
import { and, desc, eq, sql } from "drizzle-orm";
import { act, type ActRequest } from "./act.ts";
import { disconnect } from "./disconnect.ts";
import { IntegrationError, notFound } from "./errors.ts";
import { wake } from "./lease.ts";
import { changeState, lockConnection } from "./lifecycle.ts";
import type { Owner, Runtime } from "./runtime.ts";
import { connection, type ConnectionRow, credential, receipt, type ReceiptRow } from "./schema.ts";
import { shownState, type State } from "./state.ts";

/** Whose connections: every call is made for one owner in one organisation. */
export interface Caller {
  readonly organizationId: string;
  readonly owner: Owner;
  /** Shown as "Paused by …". */
  readonly name: string;
}

/** A connection as its owner sees it. */
export interface ConnectionView {
  readonly row: ConnectionRow;
  readonly state: State;
  readonly grantedScopes: readonly string[];
  /** Events in each of the last 48 half hours, oldest first. */
  readonly strip: readonly number[];
  readonly receiptId: string | undefined;
}

const CONNECTIONS_MAX = 200;

export interface Connections {
  list(caller: Caller): Promise<readonly ConnectionView[]>;
  get(caller: Caller, id: string): Promise<ConnectionView>;
  pause(caller: Caller, id: string): Promise<ConnectionView>;
  resume(caller: Caller, id: string): Promise<ConnectionView>;
  /** Makes a run due now. */
  sync(caller: Caller, id: string): Promise<ConnectionView>;
  act(caller: Caller, id: string, request: ActRequest): Promise<ActionResult>;
  disconnect(caller: Caller, id: string, options: { readonly deleteEvents: boolean }): Promise<ReceiptRow>;
  receipt(caller: Caller, id: string): Promise<ReceiptRow>;
  /** The newest first. @param limit 1 to 200. */
  events(caller: Caller, id: string, limit: number): Promise<readonly LedgerEvent[]>;
  countEvents(caller: Caller, id: string): Promise<number>;
}

/** What an owner can do with connections. Unknown and foreign ids are the same to every method: not_found. */
export function createConnections(runtime: Runtime, nudge: () => void): Connections {
  const view = (caller: Caller, id: string): Promise<ConnectionView> =>
    find(runtime, caller, id).then(async (row) => {
      const [one] = await views(runtime, caller, [row]);
      if (one === undefined) throw notFound();
      return one;
    });
  return {
    list: async (caller) => views(runtime, caller, await rowsOf(runtime, caller)),
    get: view,
    pause: async (caller, id) => {
      const row = await living(runtime, caller, id);
      if (row.state !== "paused") await pause(runtime, row, caller.name);
      return view(caller, id);
    },
    resume: async (caller, id) => {
      const row = await living(runtime, caller, id);
      if (row.state === "paused") await resume(runtime, row);
      nudge();
      return view(caller, id);
    },
    sync: async (caller, id) => {
      const row = await living(runtime, caller, id);
      const woken = await scoped(runtime, caller, (tx) => wake(tx, caller.organizationId, [row.id]));
      if (woken === 0)
        throw new IntegrationError("conflict", "The connection is paused, or must be linked again first.");
      nudge();
      return view(caller, id);
    },
    act: async (caller, id, request) => {
      const result = await act(runtime, await living(runtime, caller, id), request);
      nudge();
      return result;
    },
    disconnect: async (caller, id, options) => disconnect(runtime, await find(runtime, caller, id), options),
    receipt: (caller, id) => findReceipt(runtime, caller, id),
    events: async (caller, id, limit) => {
      const row = await find(runtime, caller, id);
      const most = Math.min(Math.max(limit, 1), 200);
      return scoped(runtime, caller, (tx) => lastConnectionEvents(tx, caller.organizationId, row.id, most));
    },
    countEvents: async (caller, id) => {
      const row = await find(runtime, caller, id);
      return scoped(runtime, caller, (tx) => countConnectionEvents(tx, caller.organizationId, row.id));
    },
  };
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

const scoped = <T>(runtime: Runtime, caller: Caller, work: (tx: Queryable) => Promise<T>): Promise<T> =>
  withOrganization(runtime.database, caller.organizationId, work);

const owned = ({ organizationId, owner }: Caller) =>
  and(
    eq(connection.organizationId, organizationId),
    eq(connection.ownerKind, owner.kind),
    eq(connection.ownerId, owner.id),
  );

const rowsOf = (runtime: Runtime, caller: Caller): Promise<ConnectionRow[]> =>
  scoped(runtime, caller, (tx) =>
    tx.select().from(connection).where(owned(caller)).orderBy(desc(connection.createdAt)).limit(CONNECTIONS_MAX),
  );

async function find(runtime: Runtime, caller: Caller, id: string): Promise<ConnectionRow> {
  if (!UUID.test(id)) throw notFound();
  const [row] = await scoped(runtime, caller, (tx) =>
    tx
      .select()
      .from(connection)
      .where(and(owned(caller), eq(connection.id, id))),
  );
  if (row === undefined) throw notFound();
  return row;
}

async function living(runtime: Runtime, caller: Caller, id: string): Promise<ConnectionRow> {
  const row = await find(runtime, caller, id);
  if (row.state === "disconnected") throw new IntegrationError("conflict", "The connection has ended.");
  return row;
}

async function findReceipt(runtime: Runtime, caller: Caller, id: string): Promise<ReceiptRow> {
  if (!UUID.test(id)) throw notFound();
  const [row] = await scoped(runtime, caller, (tx) =>
    tx
      .select()
      .from(receipt)
      .where(
        and(
          eq(receipt.id, id),
          eq(receipt.organizationId, caller.organizationId),
          eq(receipt.ownerKind, caller.owner.kind),
          eq(receipt.ownerId, caller.owner.id),
        ),
      ),
  );
  if (row === undefined) throw notFound();
  return row;
}

async function views(runtime: Runtime, caller: Caller, rows: readonly ConnectionRow[]): Promise<ConnectionView[]> {
  const { strips, granted, receipts } = await scoped(runtime, caller, (tx) => around(runtime, tx, caller, rows));
  return rows.map((row) => {
    const grantedScopes = granted.find(({ connectionId }) => connectionId === row.id)?.scopes ?? [];
    const connector = runtime.registry.get(row.integration);
    return {
      row,
      state: shownState(row, grantedScopes, connector, runtime.now()),
      grantedScopes,
      strip: strips.get(row.id) ?? Array<number>(48).fill(0),
      receiptId: receipts.find(({ connectionId }) => connectionId === row.id)?.id,
    };
  });
}

/** What a view shows besides the rows themselves. */
async function around(runtime: Runtime, tx: Queryable, caller: Caller, rows: readonly ConnectionRow[]) {
  const strips = await eventStrips(
    tx,
    caller.organizationId,
    rows.map(({ id }) => id),
    runtime.now(),
  );
  const granted = await tx
    .select({ connectionId: credential.connectionId, scopes: credential.grantedScopes })
    .from(credential)
    .innerJoin(connection, eq(connection.id, credential.connectionId))
    .where(owned(caller));
  const receipts = await tx
    .select({ id: receipt.id, connectionId: receipt.connectionId })
    .from(receipt)
    .where(
      and(
        eq(receipt.organizationId, caller.organizationId),
        eq(receipt.ownerKind, caller.owner.kind),
        eq(receipt.ownerId, caller.owner.id),
      ),
    );
  return { strips, granted, receipts };
}

/** Ends the lease of a run under way: it commits nothing more. */
async function pause(runtime: Runtime, row: ConnectionRow, by: string): Promise<void> {
  const announce = await withOrganization(runtime.database, row.organizationId, async (tx) => {
    const now = await lockConnection(tx, row);
    if (now === undefined || now.state === "paused" || now.state === "disconnected") return () => {};
    await tx
      .update(connection)
      .set({ leaseToken: sql`lease_token + 1`, leaseUntil: null })
      .where(and(eq(connection.id, row.id), eq(connection.organizationId, row.organizationId)));
    return changeState(runtime, tx, now, "paused", { pausedBy: by, dueAt: null });
  });
  announce();
}

async function resume(runtime: Runtime, row: ConnectionRow): Promise<void> {
  const announce = await withOrganization(runtime.database, row.organizationId, async (tx) => {
    const now = await lockConnection(tx, row);
    if (now?.state !== "paused") return () => {};
    return changeState(runtime, tx, now, "connected", { dueAt: runtime.now() });
  });
  announce();
}
