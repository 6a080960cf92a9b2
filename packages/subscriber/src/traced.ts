import { context, propagation, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import type { EventAttributes } from "@tributary/contracts";

const tracer = trace.getTracer("@tributary/subscriber");

/**
 * Handles an event in the trace of the run that read it at the provider: what the handler sends belongs to that trace
 * as well. Without an SDK of OpenTelemetry this is the call alone. Attributes follow OpenTelemetry's conventions for
 * messaging; nothing of the payload is among them.
 */
export function traced(event: EventAttributes, consumer: string, handle: () => Promise<void>): Promise<void> {
  const parent = propagation.extract(context.active(), { traceparent: event.traceparent });
  const attributes = {
    "messaging.system": "tributary",
    "messaging.operation.type": "process",
    "messaging.destination.name": event.type,
    "messaging.consumer.group.name": consumer,
    "messaging.message.id": event.id,
  };
  return tracer.startActiveSpan(
    `process ${event.type}`,
    { kind: SpanKind.CONSUMER, attributes },
    parent,
    async (span) => {
      try {
        await handle();
      } catch (error) {
        span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.name : "error" });
        throw error;
      } finally {
        span.end();
      }
    },
  );
}
