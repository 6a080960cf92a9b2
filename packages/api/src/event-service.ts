import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ConnectRouter, createConnectRouter, type HandlerContext } from "@connectrpc/connect";
import { universalServerRequestFromFetch, universalServerResponseToFetch } from "@connectrpc/connect/protocol";
import type { ServiceIdentity, ServiceKeys } from "@tributary/auth";
import {
  EventService,
  eventTypes,
  Outcome,
  type SubscribeResponse,
  SubscribeResponseSchema,
} from "@tributary/contracts";
import {
  ConsumerTaken,
  type EventStream,
  SettlementRefused,
  type StreamedEvent,
  WINDOW_MAX,
} from "@tributary/pipeline";
import { Hono } from "hono";

export interface EventServiceOptions {
  readonly stream: EventStream;
  readonly serviceKeys: ServiceKeys;
}

const WINDOW_DEFAULT = 256;

/** The Connect services, on the same port as everything else: `/tributary.api.v1.EventService/…`. */
export function createRpc(options: EventServiceOptions): Hono {
  const app = new Hono();
  const router = createConnectRouter({ connect: true, grpc: false, grpcWeb: true });
  eventService(router, options);
  for (const handler of router.handlers)
    app.all(handler.requestPath, async (c) =>
      universalServerResponseToFetch(await handler(universalServerRequestFromFetch(c.req.raw, {}))),
    );
  return app;
}

function eventService(router: ConnectRouter, { stream, serviceKeys }: EventServiceOptions): void {
  const whoAsks = (context: HandlerContext): ServiceIdentity => {
    const identity = serviceKeys.authenticate(context.requestHeader.get("authorization"));
    if (identity === undefined)
      throw new ConnectError("missing_authorization: send a service key as a bearer token", Code.Unauthenticated);
    return identity;
  };
  router.service(EventService, {
    async *subscribe(request, context) {
      const { organizationId } = whoAsks(context);
      const consumer = consumerName(request.consumer);
      const window = request.window === 0 ? WINDOW_DEFAULT : request.window;
      if (window > WINDOW_MAX)
        throw new ConnectError(`validation_failed: window is at most ${WINDOW_MAX}`, Code.InvalidArgument);
      const unknown = request.types.find((type) => !eventTypes.has(type));
      if (unknown !== undefined)
        throw new ConnectError("validation_failed: types holds a name that is no event type", Code.InvalidArgument);
      try {
        for await (const event of stream.subscribe({
          organizationId,
          consumer,
          types: request.types,
          window,
          signal: context.signal,
        }))
          yield responseOf(event);
      } catch (error) {
        throw error instanceof ConsumerTaken ? new ConnectError(error.message, Code.Aborted) : error;
      }
    },
    async ack(request, context) {
      const { organizationId } = whoAsks(context);
      const dead = request.outcome === Outcome.DEAD_LETTER;
      await stream
        .settle({
          organizationId,
          consumer: consumerName(request.consumer),
          connectionId: request.connectionId,
          sequence: request.sequence,
          outcome: dead ? "dead_letter" : "handled",
          ...(dead ? { reason: request.reason } : {}),
        })
        .catch((error: unknown) => {
          throw error instanceof SettlementRefused ? new ConnectError(error.message, Code.NotFound) : error;
        });
      return {};
    },
  });
}

function consumerName(name: string): string {
  if (!/^[a-z0-9][a-z0-9-]{0,63}$/.test(name))
    throw new ConnectError("validation_failed: consumer must be 1 to 64 of a-z, 0-9 and -", Code.InvalidArgument);
  return name;
}

const responseOf = (event: StreamedEvent): SubscribeResponse =>
  create(SubscribeResponseSchema, {
    id: event.id,
    type: event.type,
    organizationId: event.organizationId,
    connectionId: event.connectionId,
    connector: event.connector,
    objectKey: event.objectKey,
    sequence: event.sequence,
    subject: event.subject,
    time: timestampFromMs(event.timeMs),
    data: event.payload,
    backfill: event.backfill,
    traceparent: event.traceparent,
    attempt: event.attempt,
  });
