import { context, propagation, ProxyTracerProvider, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import type { Delivery } from "./source.ts";

const tracer = trace.getTracer("@tributary/subscriber");

/** Whom the API asks for a tracer as long as nobody has registered an SDK. */
const NOBODY = new ProxyTracerProvider().getDelegate();

/** An SDK may be registered at any time. */
function isHeard(): boolean {
  const provider = trace.getTracerProvider();
  const silent = provider instanceof ProxyTracerProvider && provider.getDelegate() === NOBODY;
  return !silent || propagation.fields().length > 0;
}

/**
 * Handles an event in the trace of the run that read it at the provider: what the handler sends belongs to that trace
 * as well. Without an SDK of OpenTelemetry this is the call alone. Attributes follow OpenTelemetry's conventions for
 * messaging; nothing of the payload is among them.
 */
export function traced(
  event: Delivery["attributes"],
  consumer: string,
  handle: () => Promise<unknown>,
): Promise<unknown> {
  if (!isHeard()) return handle();
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
        return await handle();
      } catch (error) {
        span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.name : "error" });
        throw error;
      } finally {
        span.end();
      }
    },
  );
}
