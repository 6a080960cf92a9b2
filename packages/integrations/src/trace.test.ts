import { type Span, type SpanContext, SpanStatusCode, trace, type TracerProvider } from "@opentelemetry/api";
import { afterAll, describe, expect, it } from "vitest";
import { inSpan, traceparentOf } from "./trace.ts";

/** As much of an SDK as a span needs. A tracer stays with the first SDK it meets, so this is one for the whole file. */
let current: Partial<SpanContext> = {};
const spans: string[] = [];
const provider = {
  getTracer: () => ({
    startActiveSpan: (name: string, _: unknown, work: (span: Span) => unknown) => {
      const span = {
        spanContext: () => ({ traceId: "", spanId: "", traceFlags: 0, ...current }),
        setStatus: ({ code, message }: { code: SpanStatusCode; message: string }) =>
          spans.push(`${name} ${SpanStatusCode[code]} ${message}`),
        end: () => spans.push(`${name} ends`),
      };
      return work(span as unknown as Span);
    },
  }),
};
const install = (context: Partial<SpanContext>): void => {
  trace.setGlobalTracerProvider(provider as unknown as TracerProvider);
  current = context;
  spans.length = 0;
};
afterAll(() => trace.disable());

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
const spanId = "00f067aa0ba902b7";

describe("the trace context of an event", () => {
  it("is empty without an SDK", async () => {
    expect(await inSpan("tributary.run", {}, async (span) => traceparentOf(span))).toBe("");
    expect(traceparentOf()).toBe("");
  });

  it.each([
    ["a sampled run", { traceId, spanId, traceFlags: 1 }, `00-${traceId}-${spanId}-01`],
    ["a run that is not sampled", { traceId, spanId, traceFlags: 0 }, `00-${traceId}-${spanId}-00`],
    ["a span without an identity", { traceId: "0".repeat(32), spanId, traceFlags: 1 }, ""],
  ])("is that of %s", async (_, context, expected) => {
    install(context);
    expect(await inSpan("tributary.run", {}, async (span) => traceparentOf(span))).toBe(expected);
  });
});

describe("a span", () => {
  it("ends with its work, and tells of an error its name and nothing that it says", async () => {
    install({ traceId, spanId, traceFlags: 1 });
    const failing = inSpan("tributary.run", {}, () => Promise.reject(new TypeError("a secret")));
    await expect(failing).rejects.toThrow("a secret");
    expect(spans).toEqual(["tributary.run ERROR TypeError", "tributary.run ends"]);
  });
});
