import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { EventService, Outcome, type SubscribeResponse } from "@tributary/contracts";
import { setTimeout as sleep } from "node:timers/promises";
import type { Settlement } from "./outcome.ts";
import { type Delivery, type Source, type SourceOptions, SubscriberError } from "./source.ts";

/** A hub's answers to what no repetition changes. */
const REFUSALS = new Set([
  Code.Unauthenticated,
  Code.PermissionDenied,
  Code.InvalidArgument,
  Code.Unimplemented,
  Code.FailedPrecondition,
]);
const ACK_ATTEMPTS = 6;
const ACK_TIMEOUT_MS = 10_000;

/** Events from a hub, over a Connect stream. */
export function createHttpSource({ url, name, token, types, window, log, backoff }: SourceOptions): Source {
  const authorize: Interceptor = (next) => (request) => {
    if (token !== undefined) request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  const transport = createConnectTransport({
    baseUrl: url.href.replace(/\/$/, ""),
    httpVersion: "1.1",
    useBinaryFormat: true,
    interceptors: [authorize],
  });
  const client = createClient(EventService, transport);

  /** An acknowledgement that cannot be brought home is not lost: the event comes again, and is acknowledged again. */
  async function acknowledge(event: SubscribeResponse, settlement: Settlement): Promise<void> {
    if (settlement.outcome === "released") return;
    const { connectionId, sequence, replayId, redrive } = event;
    const dead = settlement.outcome === "dead_letter";
    const outcome = dead ? Outcome.DEAD_LETTER : Outcome.HANDLED;
    const reason = dead ? settlement.reason : "";
    for (let attempt = 1; attempt <= ACK_ATTEMPTS; attempt++) {
      try {
        const request = { consumer: name, connectionId, sequence, outcome, reason, replayId, redrive };
        await client.ack(request, { timeoutMs: ACK_TIMEOUT_MS });
        return;
      } catch (error) {
        const { code } = ConnectError.from(error);
        if (REFUSALS.has(code) || code === Code.NotFound) return log.warn({ code: Code[code] }, "ack refused");
        await sleep(backoff(attempt));
      }
    }
  }

  async function run(signal: AbortSignal, take: (delivery: Delivery) => void): Promise<void> {
    for (let failures = 0; !signal.aborted;) {
      try {
        for await (const event of client.subscribe({ consumer: name, types: [...types], window }, { signal })) {
          failures = 0;
          take(delivery(event, (settlement) => acknowledge(event, settlement)));
        }
      } catch (error) {
        if (signal.aborted) return;
        const { code, rawMessage } = ConnectError.from(error);
        // The consumer stands with other types; the hub says which.
        if (code === Code.FailedPrecondition)
          throw new SubscriberError("consumer_differs", rawMessage.replace("consumer_differs: ", ""));
        if (REFUSALS.has(code)) throw new SubscriberError("refused", `the hub answers ${Code[code]}`, { cause: error });
        log.warn({ code: Code[code], failures }, "the stream ended; connecting again");
      }
      failures++;
      await sleep(backoff(failures), undefined, { signal }).catch(() => {});
    }
  }

  return { open: () => Promise.resolve(), run, close: () => Promise.resolve() };
}

function delivery(event: SubscribeResponse, settle: Delivery["settle"]): Delivery {
  const { id, type, organizationId, connectionId, connector, objectKey, sequence, backfill, traceparent } = event;
  const time = (event.time === undefined ? new Date(0) : timestampDate(event.time)).toISOString();
  const again = {
    ...(event.replayId === "" ? {} : { replayId: event.replayId }),
    ...(event.redrive === 0 ? {} : { redrive: event.redrive }),
  };
  const said = { id, type, organizationId, connectionId, connector, objectKey, sequence, time, backfill, traceparent };
  return {
    attributes: { ...said, ...again },
    data: event.data,
    attempt: Math.max(1, event.attempt),
    settle,
  };
}
