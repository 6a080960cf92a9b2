import type { LedgerEvent } from "@tributary/pipeline";
import { eventTypes } from "@tributary/contracts";
import { Hono } from "hono";
import { ApiError } from "./errors.ts";
import { payloadJson } from "./event-payload.ts";
import { type ApiEnv, type ApiOptions, caller } from "./options.ts";
import { createStreamPlaces } from "./stream-places.ts";
import { untilExpiry } from "./until-expiry.ts";

const HEARTBEAT_MS = 15_000;
const FILTERS_MAX = 100;
const PARAMETERS = new Set(["type", "connection"]);
const HEADERS = { "content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no" };
const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/;
const encoder = new TextEncoder();

/**
 * `GET /api/events/stream`: events as they are committed, as server-sent events (WHATWG HTML §9.2), for `curl -N` and
 * for pages. `?type=` and `?connection=` may stand several times. Whoever may manage the organisation sees all of its
 * events; a person who may not, those of their own connections; a service that may not is refused.
 */
export function eventStreamRoutes({ connections, runtime, tail }: ApiOptions): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  const places = createStreamPlaces();
  routes.get("/events/stream", async (c) => {
    const identity = c.get("identity");
    if (Object.keys(c.req.queries()).some((name) => !PARAMETERS.has(name)))
      throw new ApiError("validation_failed", "The parameters are type and connection.");
    const types = c.req.queries("type") ?? [];
    const asked = c.req.queries("connection") ?? [];
    if (types.length > FILTERS_MAX || asked.length > FILTERS_MAX || types.some((type) => !eventTypes.has(type)))
      throw new ApiError("validation_failed", "type must be an event type; at most 100 of each filter.");
    if (!asked.every((id) => UUID.test(id))) throw new ApiError("validation_failed", "connection must be a UUID.");
    // Connections are people's: without the permission its stream would be silent for ever.
    const everybodys = identity.permissions.includes("integrations.manage");
    if (!everybodys && identity.kind !== "user")
      throw new ApiError("insufficient_permissions", "A service needs integrations.manage to see events.");
    const own = everybodys ? undefined : (await connections.list(caller(c))).map(({ row }) => row.id);
    const ids = asked.length === 0 ? own : asked.filter((id) => own?.includes(id) ?? true);
    const after = c.req.header("last-event-id");
    const leave = places.take(identity.organizationId);
    // Nobody reads the body of an answer to HEAD, nor says that it is not wanted.
    if (c.req.raw.method === "HEAD") {
      leave();
      return new Response(null, { headers: HEADERS });
    }
    const { signal, done } = untilExpiry(identity, c.req.raw.signal, runtime.now);
    const ended = new AbortController();
    const events = tail.tail({
      organizationId: identity.organizationId,
      types,
      signal: AbortSignal.any([signal, ended.signal]),
      ...(ids === undefined ? {} : { connectionIds: ids }),
      ...(after === undefined ? {} : { after }),
    });
    const body = serverSent(events, () => {
      ended.abort();
      done();
      leave();
    });
    return new Response(body, { headers: HEADERS });
  });
  return routes;
}

/**
 * Pulled: an event is read from the ledger when the socket takes another, so a slow reader costs one event of memory.
 * A comment every 15 seconds tells both ends that the other is there, as long as the reader keeps up.
 */
function serverSent(
  events: AsyncGenerator<{ readonly event: LedgerEvent; readonly resume: string }>,
  done: () => void,
): ReadableStream<Uint8Array> {
  let next: Promise<IteratorResult<{ event: LedgerEvent; resume: string }>> | undefined;
  let began = false;
  let timer: NodeJS.Timeout | undefined;
  const stop = async (): Promise<void> => {
    clearTimeout(timer);
    done();
    await events.return(undefined).catch(() => {});
  };
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        if (!began) {
          began = true;
          // Told at once, so that a reader knows that it is connected; and how long to wait before it comes again.
          controller.enqueue(encoder.encode("retry: 2000\n: connected\n\n"));
          return;
        }
        next ??= events.next();
        const silence = new Promise<"silence">((resolve) => {
          timer = setTimeout(() => resolve("silence"), HEARTBEAT_MS);
        });
        try {
          const step = await Promise.race([next, silence]);
          if (step === "silence") return controller.enqueue(encoder.encode(":\n\n"));
          next = undefined;
          if (step.done === true) {
            await stop();
            return controller.close();
          }
          controller.enqueue(encoder.encode(frame(step.value.event, step.value.resume)));
        } catch (error) {
          await stop();
          controller.error(error);
        } finally {
          clearTimeout(timer);
        }
      },
      cancel: stop,
    },
    { highWaterMark: 1 },
  );
}

function frame(event: LedgerEvent, resume: string): string {
  const data = payloadJson(event.type, event.payload, true);
  const json = {
    id: event.id,
    type: event.type,
    organizationId: event.organizationId,
    connectionId: event.connectionId,
    connector: event.connector,
    sequence: event.sequence.toString(),
    objectKey: event.objectKey,
    subject: event.subject,
    time: new Date(event.timeMs).toISOString(),
    backfill: event.backfill,
    traceparent: event.traceparent,
    // A type that this hub does not know travels as it is on the wire.
    ...(data === undefined ? { dataBase64: Buffer.from(event.payload).toString("base64") } : { data }),
  };
  return `id: ${resume}\nevent: ${event.type}\ndata: ${JSON.stringify(json)}\n\n`;
}
