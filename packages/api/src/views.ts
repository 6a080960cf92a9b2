import { fromBinary, toJson } from "@bufbuild/protobuf";
import { eventRegistry, eventTypes } from "@tributary/contracts";
import type { ConnectionView, ReceiptRow, Registry } from "@tributary/integrations";
import type { LedgerEvent } from "@tributary/pipeline";

type Connector = Registry["connectors"][number];

/** A connection, as JSON. Times are ISO 8601. */
export function connectionJson(view: ConnectionView, connector: Connector, events: number | null) {
  const { row, state } = view;
  const iso = (date: Date | null): string | null => date?.toISOString() ?? null;
  return {
    id: row.id,
    integration: row.integration,
    name: connector.manifest.name,
    state,
    stateSince: row.stateSince.toISOString(),
    reason: row.reasonCode === null ? null : { code: row.reasonCode, message: row.reasonMessage ?? "" },
    account: { id: row.accountId, label: row.accountLabel },
    scopes: { asked: connector.scopes.map(({ id }) => id), granted: view.grantedScopes },
    lastEventAt: iso(row.lastEventAt),
    verifiedAt: iso(row.verifiedAt),
    nextRunAt: iso(row.dueAt),
    pausedBy: row.pausedBy,
    progress: state === "syncing" ? { read: row.eventsRead, total: null } : null,
    strip: view.strip,
    events: events ?? row.eventsRead,
    receiptId: view.receiptId ?? null,
  };
}

/** An integration of the catalogue, as JSON. */
export function integrationJson(connector: Connector, sandbox: boolean) {
  const { manifest } = connector;
  return {
    id: connector.id,
    name: manifest.name,
    description: manifest.description,
    category: manifest.category,
    owner: manifest.owner,
    scopes: connector.scopes,
    apiVersions: manifest.apiVersions,
    pollIntervalMs: manifest.pollIntervalMs ?? null,
    events: manifest.events.map(({ typeName }) => typeName),
    actions: Object.entries(manifest.actions ?? {}).map(([type, { label }]) => ({ type, label })),
    revocationUrl: manifest.revocationUrl,
    docsUrl: manifest.docsUrl,
    sandbox,
  };
}

/** Events are kept for so long after they were committed. */
export const EVENT_RETENTION_DAYS = 30;

export function receiptJson(row: ReceiptRow) {
  return {
    id: row.id,
    connectionId: row.connectionId,
    integration: row.integration,
    account: row.accountLabel,
    at: row.at.toISOString(),
    revocation: row.revocation === "given_up" ? "unsupported" : row.revocation,
    secretsDeleted: row.secretsDeleted,
    eventsKept: row.eventsKept,
    eventsDeleted: row.eventsDeleted,
    keptUntil:
      row.eventsKept === 0 ? null : new Date(row.at.getTime() + EVENT_RETENTION_DAYS * 86_400_000).toISOString(),
  };
}

/** An event with its payload as ProtoJSON, for its owner. */
export function eventJson(event: LedgerEvent) {
  const schema = eventTypes.get(event.type);
  return {
    id: event.id,
    type: event.type,
    time: new Date(event.timeMs).toISOString(),
    sequence: Number(event.sequence),
    objectKey: event.objectKey,
    backfill: event.backfill,
    data: schema === undefined ? null : toJson(schema, fromBinary(schema, event.payload), { registry: eventRegistry }),
  };
}
