import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { ConsumerService, EventService, Outcome, type SubscribeResponse } from "@tributary/contracts";
import { setTimeout as sleep } from "node:timers/promises";
import type { Settlement } from "./outcome.ts";
import { createProof, type Refused, refusedAgain } from "./shown.ts";
import { type Delivery, type Sink, type Source, type SourceOptions, SubscriberError, WINDOW } from "./source.ts";

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
  const proof = createProof(token, log);
  const authorize: Interceptor = (next) => (request) => {
    if (proof.value !== undefined) request.header.set("authorization", `Bearer ${proof.value}`);
    return next(request);
  };
  const transport = createConnectTransport({
    baseUrl: url.href.replace(/\/$/, ""),
    httpVersion: "1.1",
    useBinaryFormat: true,
    interceptors: [authorize],
  });
  const client = createClient(EventService, transport);
  /** Of each connection, what is gone, told and not yet heard of: it is said again on every stream, and may have grown. */
  const passing = new Map<string, { upTo: bigint; readonly open: Set<bigint> }>();

  /** The hub sends again what was never acknowledged, and only to a new stream: so this does not stop at some attempt. */
  async function acknowledge(event: SubscribeResponse, settlement: Settlement, giveUp: AbortSignal): Promise<void> {
    if (settlement.outcome === "released" || settlement.outcome === "pending") return;
    const { id, connectionId, sequence, replayId, redrive } = event;
    const request = { consumer: name, connectionId, sequence, replayId, redrive, ...said(event, settlement) };
    for (let attempt = 1; ; attempt++) {
      giveUp.throwIfAborted();
      const shown = proof.value;
      try {
        await client.ack(request, { timeoutMs: ACK_TIMEOUT_MS, signal: giveUp });
        return;
      } catch (error) {
        const { code } = ConnectError.from(error);
        const expired = code === Code.Unauthenticated && proof.renewable;
        if (!expired && (REFUSALS.has(code) || code === Code.NotFound))
          return log.warn({ id, code: Code[code] }, "ack refused");
        if (!giveUp.aborted)
          log.warn({ id, code: Code[code], attempt }, "the hub has not heard of an event's outcome yet");
        // Its stream may have asked for another one meanwhile.
        if (expired && proof.value === shown) await proof.renew().catch(() => {});
        await sleep(backoff(attempt), undefined, { signal: giveUp });
      }
    }
  }

  async function open(): Promise<void> {
    await proof.renew();
    await ask();
  }

  /**
   * Asks for the consumer, so that whoever starts learns at once of a hub that is not there or does not know the token.
   * What else may be wrong, the stream says.
   */
  async function ask(): Promise<void> {
    try {
      await createClient(ConsumerService, transport).getConsumer({ name }, { timeoutMs: ACK_TIMEOUT_MS });
    } catch (cause) {
      const { code, rawMessage } = ConnectError.from(cause);
      if (code === Code.NotFound || code === Code.PermissionDenied) return;
      const kind = REFUSALS.has(code) ? "refused" : "unreachable";
      throw new SubscriberError(kind, `the hub at ${url.origin} answers ${Code[code]}: ${rawMessage}`, { cause });
    }
  }

  async function run(signal: AbortSignal, sink: Sink): Promise<void> {
    /** While there is one, the hub is asked whether it knows the next before anything else. */
    let refused: Refused | undefined;
    for (let failures = 0; !signal.aborted;) {
      let shown = proof.value;
      try {
        const given = failures === 0 || (await renewed());
        shown = proof.value;
        if (refused !== undefined && given) {
          await ask();
          refused = undefined;
        }
        if (refused === undefined) {
          const other = await stream(signal, (event) => {
            failures = 0;
            take(event, signal, sink);
          });
          if (other) continue;
        }
      } catch (error) {
        if (signal.aborted) return;
        const code = codeOf(error);
        if (code === Code.Unauthenticated && proof.renewable) {
          refused = refusedAgain(shown, refused);
          if (refused === undefined) throw error;
        } else assertPassing(error);
        log.warn({ code: Code[code], failures }, "the stream ended; connecting again");
      }
      failures++;
      await sleep(backoff(failures), undefined, { signal }).catch(() => {});
    }
  }

  const renewed = (): Promise<boolean> =>
    proof.renew().then(
      () => true,
      ({ code }: SubscriberError) => (log.warn({ code }, "there is no token to show; asking again"), false),
    );

  /** @returns whether it ended because there is another token: nothing is lost by that, what is not settled comes again. */
  async function stream(signal: AbortSignal, each: (event: SubscribeResponse) => void): Promise<boolean> {
    const other = new AbortController();
    const forget = proof.watch(() => other.abort());
    try {
      const wish = { consumer: name, types: [...types], window, tellGone: true };
      for await (const event of client.subscribe(wish, { signal: AbortSignal.any([signal, other.signal]) }))
        each(event);
    } catch (error) {
      if (!other.signal.aborted || signal.aborted) throw error;
    } finally {
      forget();
    }
    return other.signal.aborted;
  }

  /** @throws SubscriberError for what waiting does not change. */
  function assertPassing(error: unknown): void {
    if (error instanceof SubscriberError && error.code !== "unreachable") throw error;
    const { code, rawMessage, metadata } = ConnectError.from(causeOf(error));
    // The consumer stands with other types; the hub says which.
    if (metadata.get("tributary-error") === "consumer_differs")
      throw new SubscriberError("consumer_differs", rawMessage.replace("consumer_differs: ", ""));
    if (REFUSALS.has(code))
      throw new SubscriberError("refused", `the hub answers ${Code[code]}: ${rawMessage}`, { cause: error });
  }

  function take(event: SubscribeResponse, signal: AbortSignal, sink: Sink): void {
    if (event.gone === 0n) return sink.take(delivery(event, (...outcome) => acknowledge(event, ...outcome)));
    const { connectionId, sequence } = event;
    const told = passing.get(connectionId) ?? { upTo: 0n, open: new Set() };
    if (told.open.has(sequence)) return;
    passing.set(connectionId, told);
    told.open.add(sequence);
    const before = sequence - event.gone;
    const count = Number(sequence - (told.upTo > before ? told.upTo : before));
    if (count > 0) {
      told.upTo = sequence;
      sink.gone({ connectionId, count, upTo: sequence });
    }
    acknowledge(event, { outcome: "handled" }, signal)
      .catch(() => {})
      .finally(() => {
        told.open.delete(sequence);
        if (told.open.size === 0) passing.delete(connectionId);
      });
  }

  return { open, run, close: () => Promise.resolve() };
}

/** What the hub answered, or what stood between. */
const causeOf = (error: unknown): unknown => (error instanceof SubscriberError ? error.cause : error);
const codeOf = (error: unknown): Code => ConnectError.from(causeOf(error)).code;

/** What became of an event, as the hub keeps it: of a dead letter also what it may no longer know of the event itself. */
function said({ id, type, subject }: SubscribeResponse, settlement: Settlement) {
  if (settlement.outcome !== "dead_letter") return { outcome: Outcome.HANDLED };
  const { reason, attempts } = settlement;
  return { outcome: Outcome.DEAD_LETTER, reason, attempts, eventId: id, type, subject };
}

function delivery(event: SubscribeResponse, settle: Delivery["settle"]): Delivery {
  const { id, type, organizationId, connectionId, connector, objectKey, sequence, backfill, traceparent } = event;
  const time = (event.time === undefined ? new Date(0) : timestampDate(event.time)).toISOString();
  const again = {
    ...(event.replayId === "" ? {} : { replayId: event.replayId }),
    ...(event.redrive === 0 ? {} : { redrive: event.redrive }),
  };
  const known = { id, type, organizationId, connectionId, connector, objectKey, sequence, time, backfill, traceparent };
  return {
    attributes: { ...known, ...again },
    data: event.data,
    attempt: Math.max(1, event.attempt),
    settle,
  };
}
