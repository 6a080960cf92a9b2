import { Code, ConnectError, createConnectRouter, createContextValues, type Interceptor } from "@connectrpc/connect";
import { universalServerRequestFromFetch, universalServerResponseToFetch } from "@connectrpc/connect/protocol";
import { checkOrigin, type Demand, type Identity } from "@tributary/auth";
import { codeOf, isErrorCode } from "@tributary/contracts";
import type { Log } from "@tributary/integrations";
import { Hono } from "hono";
import { connectionService } from "./connection-service.ts";
import { consumerService } from "./consumer-service.ts";
import { deadLetterService } from "./dead-letter-service.ts";
import { eventService } from "./event-service.ts";
import { RPC_ACCESS } from "./rpc-access.ts";
import { rephrase } from "./rephrase.ts";
import { IDENTITY, refused, tooLarge } from "./rpc-context.ts";
import type { RpcOptions } from "./rpc-options.ts";

/** A request in JSON is read whole. */
const BODY_BYTES_MAX = 1024 * 1024;

/** The Connect services, on the same port as everything else: `/tributary.api.v1.EventService/…`. */
export function createRpc(options: RpcOptions): Hono {
  const app = new Hono();
  const router = createConnectRouter({
    connect: true,
    grpc: false,
    grpcWeb: true,
    readMaxBytes: BODY_BYTES_MAX,
    // A name that is misspelt would otherwise be passed over, and ask for more than was meant.
    jsonOptions: { ignoreUnknownFields: false },
    // Nothing of a request is read before it is known who asks.
    requestGate: ({ values }) => {
      const who = values.get(IDENTITY);
      if (who instanceof ConnectError) throw who;
    },
    interceptors: [answers(options.runtime.log)],
  });
  eventService(router, options);
  deadLetterService(router, options);
  consumerService(router, options);
  connectionService(router, options);
  for (const handler of router.handlers) {
    const access = RPC_ACCESS[handler.requestPath.slice(1)];
    app.all(handler.requestPath, async (c) => {
      const correlationId = options.runtime.uuid();
      const who = await admit(options, c.req.raw, {
        route: handler.requestPath,
        requestId: correlationId,
        ...(access === undefined ? { nobody: true } : access === "member" ? {} : { permissions: [access] }),
      });
      const contextValues = createContextValues().set(IDENTITY, who);
      const request = { ...universalServerRequestFromFetch(c.req.raw, {}), contextValues };
      const response = universalServerResponseToFetch(await rephrase(await handler(request), handler.method.input));
      response.headers.set("x-request-id", correlationId);
      response.headers.set("cache-control", "no-store");
      response.headers.set("x-content-type-options", "nosniff");
      return response;
    });
  }
  // The protocol has 404 for a call that there is not, and tells a machine by the code.
  app.all("/:service{tributary\\.api\\.v1\\.\\w+}/:method", (c) =>
    c.json(
      { code: "unimplemented", message: "not_found: There is no such call: the protos of tributary.api.v1 name them." },
      404,
    ),
  );
  return app;
}

async function admit(
  { guard, origin }: RpcOptions,
  request: Request,
  demand: Demand,
): Promise<Identity | ConnectError> {
  const identity = await guard.admit(request, demand);
  if (identity instanceof Response) {
    const { error = "" } = (await identity.json()) as { error?: string };
    if (error === "payload_too_large") return tooLarge();
    return refused(isErrorCode(error) ? error : "missing_authorization");
  }
  const session = identity.kind === "user" && identity.sessionHash !== undefined;
  if (!session || checkOrigin(request, origin)) return identity;
  guard.report(request, "csrf_rejected: origin", demand, identity);
  return refused("csrf_rejected");
}

/** Turns whatever a service throws into an answer: codes of the closed set, and nothing of anything else. */
const answers =
  (log: Log): Interceptor =>
  (next) =>
  async (request) => {
    const told = (error: unknown): ConnectError => {
      const known = errorOf(error);
      if (known.code === Code.Internal)
        log.error(
          { rpc: request.method.name, error: error instanceof Error ? error.name : typeof error },
          "a call failed",
        );
      return known;
    };
    try {
      const response = await next(request);
      if (!response.stream) return response;
      return { ...response, message: caught(response.message, told) };
    } catch (error) {
      throw told(error);
    }
  };

async function* caught<T>(messages: AsyncIterable<T>, told: (error: unknown) => ConnectError): AsyncGenerator<T> {
  try {
    yield* messages;
  } catch (error) {
    throw told(error);
  }
}

function errorOf(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  const code = codeOf(error);
  if (code === "internal_error") return refused(code, "Something went wrong on our side.");
  return refused(code, error instanceof Error ? error.message.replace(`${code}: `, "") : "");
}
