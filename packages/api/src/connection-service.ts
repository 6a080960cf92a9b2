import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ConnectRouter } from "@connectrpc/connect";
import { type Connection, ConnectionSchema, ConnectionService, ConnectionState } from "@tributary/contracts";
import { beginConsent, type ConnectionView } from "@tributary/integrations";
import { receiptJson } from "./views.ts";
import { callerOf, identityOf, invalid, refused } from "./rpc-context.ts";
import type { RpcOptions } from "./rpc-options.ts";

const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/;
const ACTION_MAX = 64;

/** The caller's own connections, over the same services as the HTTP API. */
export function connectionService(router: ConnectRouter, { connections, runtime }: RpcOptions): void {
  const show = (view: ConnectionView): Connection =>
    connectionMessage(view, runtime.registry.get(view.row.integration).manifest.name);
  router.service(ConnectionService, {
    listConnections: async (_, context) => ({
      connections: (await connections.list(callerOf(context))).map(show),
    }),
    async beginConnection(request, context) {
      const identity = identityOf(context);
      if (identity.kind !== "user" || identity.sessionHash === undefined)
        throw refused("conflict", "An account is linked by a person in a browser that is signed in.");
      const { connectionId } = request;
      const challenge = await beginConsent(runtime, {
        ...callerOf(context),
        person: { userId: identity.userId, sessionHash: identity.sessionHash },
        integration: request.integration,
        ...(connectionId === "" ? {} : { connectionId }),
      });
      if (challenge.kind !== "redirect") throw refused("not_found", "This integration is not linked by redirect.");
      return { redirectUrl: challenge.url };
    },
    syncConnection: async ({ id }, context) => ({ connection: show(await connections.sync(callerOf(context), id)) }),
    pauseConnection: async ({ id }, context) => ({ connection: show(await connections.pause(callerOf(context), id)) }),
    resumeConnection: async ({ id }, context) => ({
      connection: show(await connections.resume(callerOf(context), id)),
    }),
    async act(request, context) {
      const { connectionId, type, input = {}, idempotencyKey } = request;
      if (!UUID.test(idempotencyKey)) throw invalid("idempotency_key must be a UUID");
      if (type.length > ACTION_MAX) throw invalid(`type is at most ${ACTION_MAX} characters`);
      const result = await connections.act(callerOf(context), connectionId, { type, input, idempotencyKey });
      return { id: result.id ?? "" };
    },
    async disconnectConnection({ id, deleteEvents }, context) {
      const receipt = receiptJson(await connections.disconnect(callerOf(context), id, { deleteEvents }));
      return {
        receiptId: receipt.id,
        revocation: receipt.revocation,
        eventsKept: BigInt(receipt.eventsKept),
        eventsDeleted: BigInt(receipt.eventsDeleted),
      };
    },
  });
}

const STATES = {
  connected: ConnectionState.CONNECTED,
  syncing: ConnectionState.SYNCING,
  error: ConnectionState.ERROR,
  expired: ConnectionState.EXPIRED,
  limited: ConnectionState.LIMITED,
  stale: ConnectionState.STALE,
  paused: ConnectionState.PAUSED,
  disconnected: ConnectionState.DISCONNECTED,
} as const satisfies Record<ConnectionView["state"], ConnectionState>;

function connectionMessage({ row, state, grantedScopes }: ConnectionView, name: string): Connection {
  return create(ConnectionSchema, {
    id: row.id,
    integration: row.integration,
    name,
    state: STATES[state],
    stateSince: timestampFromDate(row.stateSince),
    reason: row.reasonCode ?? "",
    accountId: row.accountId,
    accountLabel: row.accountLabel,
    grantedScopes: [...grantedScopes],
    ...(row.lastEventAt === null ? {} : { lastEventAt: timestampFromDate(row.lastEventAt) }),
    ...(row.verifiedAt === null ? {} : { verifiedAt: timestampFromDate(row.verifiedAt) }),
    ...(row.dueAt === null ? {} : { nextRunAt: timestampFromDate(row.dueAt) }),
  });
}
