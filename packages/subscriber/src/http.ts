import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { ConsumerService, EventService, Outcome, type SubscribeResponse } from "@tributary/contracts";
import { setTimeout as sleep } from "node:timers/promises";
import type { Settlement } from "./outcome.ts";
import { type Delivery, type Source, type SourceOptions, SubscriberError, WINDOW } from "./source.ts";

/** A hub's answers to what no repetition changes. */
const REFUSALS = new Set([
  Code.Unauthenticated,
  Code.PermissionDenied,
  Code.InvalidArgument,
  Code.Unimplemented,
  Code.FailedPrecondition,
]);
const ACK_TIMEOUT_MS = 10_000;

/** Events from a hub, over a Connect stream. */
export function createHttpSource({ url, name, token, types, window = WINDOW, log, backoff }: SourceOptions): Source {
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

  /** The hub sends again what was never acknowledged, and only to a new stream: so this does not stop at some attempt. */
  async function acknowledge(event: SubscribeResponse, settlement: Settlement, giveUp: AbortSignal): Promise<void> {
    if (settlement.outcome === "released" || settlement.outcome === "pending") return;
    const { id, connectionId, sequence, replayId, redrive } = event;
    const dead = settlement.outcome === "dead_letter";
    const outcome = dead ? Outcome.DEAD_LETTER : Outcome.HANDLED;
    const reason = dead ? settlement.reason : "";
    const request = { consumer: name, connectionId, sequence, outcome, reason, replayId, redrive };
    for (let attempt = 1; ; attempt++) {
      giveUp.throwIfAborted();
      try {
        await client.ack(request, { timeoutMs: ACK_TIMEOUT_MS, signal: giveUp });
        return;
      } catch (error) {
        const { code } = ConnectError.from(error);
        if (REFUSALS.has(code) || code === Code.NotFound) return log.warn({ id, code: Code[code] }, "ack refused");
        if (!giveUp.aborted)
          log.warn({ id, code: Code[code], attempt }, "the hub has not heard of an event's outcome yet");
        await sleep(backoff(attempt), undefined, { signal: giveUp });
      }
    }
  }

  /**
   * Asks for the consumer, so that whoever starts learns at once of a hub that is not there or does not know the token.
   * What else may be wrong, the stream says.
   */
  async function open(): Promise<void> {
    try {
      await createClient(ConsumerService, transport).getConsumer({ name }, { timeoutMs: ACK_TIMEOUT_MS });
    } catch (cause) {
      const { code, rawMessage } = ConnectError.from(cause);
      if (code === Code.NotFound || code === Code.PermissionDenied) return;
      const kind = REFUSALS.has(code) ? "refused" : "unreachable";
      throw new SubscriberError(kind, `the hub at ${url.origin} answers ${Code[code]}: ${rawMessage}`, { cause });
    }
  }

  async function run(signal: AbortSignal, take: (delivery: Delivery) => void): Promise<void> {
    for (let failures = 0; !signal.aborted;) {
      try {
        for await (const event of client.subscribe({ consumer: name, types: [...types], window }, { signal })) {
          failures = 0;
          take(delivery(event, (settlement, giveUp) => acknowledge(event, settlement, giveUp)));
        }
      } catch (error) {
        if (signal.aborted) return;
        const { code, rawMessage } = ConnectError.from(error);
        // The consumer stands with other types; the hub says which.
        if (code === Code.FailedPrecondition)
          throw new SubscriberError("consumer_differs", rawMessage.replace("consumer_differs: ", ""));
        if (REFUSALS.has(code))
          throw new SubscriberError("refused", `the hub answers ${Code[code]}: ${rawMessage}`, { cause: error });
        log.warn({ code: Code[code], failures }, "the stream ended; connecting again");
      }
      failures++;
      await sleep(backoff(failures), undefined, { signal }).catch(() => {});
    }
  }

  return { open, run, close: () => Promise.resolve() };
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
