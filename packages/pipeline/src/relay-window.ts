import { type Span, SpanKind, trace } from "@opentelemetry/api";
import { EVENT_STREAM } from "@tributary/contracts";
import type { Outcome } from "./broker-answers.ts";
import type { Broker, StreamState } from "./jetstream.ts";
import type { LedgerEvent } from "./ledger.ts";

/** Why a relay waits whose windows begin, again and again, where another's message stands already. */
export const ANOTHER_PUBLISHER = "another_publisher";

/** Stands for the SDK's tracer once somebody has installed one, and does nothing before. */
const tracer = trace.getTracer("tributary.pipeline");

/** One for a window: each of its events carries the context of the run that committed it. Names as OpenTelemetry has them. */
export const publishSpan = (events: number): Span =>
  tracer.startSpan("tributary.publish", {
    kind: SpanKind.PRODUCER,
    attributes: {
      "messaging.system": "nats",
      "messaging.destination.name": EVENT_STREAM,
      "messaging.batch.message_count": events,
    },
  });

/** The stream knows the id of a message that it no longer has: it was purged within the last two minutes. */
export const isGone = (outcome: Outcome, { firstSequence }: StreamState): boolean =>
  outcome.kind === "duplicate" && outcome.streamSequence < firstSequence;

export const isAsKnown = (
  known: { readonly state: StreamState; readonly lastSequence: number },
  is: StreamState,
): boolean =>
  is.created === known.state.created &&
  is.lastSequence === known.lastSequence &&
  is.firstSequence === known.state.firstSequence;

export interface Sorted {
  readonly sent: readonly LedgerEvent[];
  /** The first event of each connection that can never be published, and why. */
  readonly refused: ReadonlyMap<LedgerEvent, string>;
}

/** Leaves out what can never be published, and what follows it in its connection. */
export function sortOut(broker: Broker, events: readonly LedgerEvent[]): Sorted {
  const stopped = new Set<string>();
  const refused = new Map<LedgerEvent, string>();
  const sent = events.filter((event) => {
    if (stopped.has(event.connectionId)) return false;
    const reason = broker.refusal(event);
    if (reason === undefined) return true;
    stopped.add(event.connectionId);
    refused.set(event, reason);
    return false;
  });
  return { sent, refused };
}

/** A code when the relay should wait before it looks at the stream again. */
export function whyStopped(outcomes: readonly Outcome[]): string | undefined {
  const unavailable = outcomes.find((one) => one.kind === "unavailable");
  if (unavailable !== undefined) return unavailable.reason;
  return outcomes[0]?.kind === "out_of_turn" ? ANOTHER_PUBLISHER : undefined;
}
