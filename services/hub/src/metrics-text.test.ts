import { describe, expect, it } from "vitest";
import { createRequestFigures, renderMetrics } from "./metrics-text.ts";

describe("figures as text", () => {
  it("have their help, their type and their labels, and nothing that could break a line", () => {
    const text = renderMetrics([
      { name: "a_total", help: 'One\nline \\ "of" words.', type: "counter", samples: [{ value: 3 }] },
      {
        name: "b",
        help: "By reason.",
        type: "gauge",
        samples: [{ value: 0.25, labels: { reason: 'x"\\\ny', other: "" } }, { value: Infinity }],
      },
      { name: "nothing", help: "Is left out.", type: "gauge", samples: [] },
    ]);
    expect(text).toBe(
      String.raw`# HELP a_total One\nline \\ "of" words.
# TYPE a_total counter
a_total 3
# HELP b By reason.
# TYPE b gauge
b{reason="x\"\\\ny",other=""} 0.25
b +Inf
`,
    );
  });

  it("count requests by part and class, and how long they took, in buckets that add up", () => {
    const requests = createRequestFigures();
    for (const ms of [1, 30, 400, 9_000]) requests.record("api", 200, ms);
    requests.record("api", 404, 2);
    requests.record("webhooks", 503, 1);
    const text = renderMetrics(requests.metrics());
    const name = "tributary_http_request_duration_seconds";
    for (const line of [
      'tributary_http_requests_total{route="api",status="2xx"} 4',
      'tributary_http_requests_total{route="api",status="4xx"} 1',
      'tributary_http_requests_total{route="webhooks",status="5xx"} 1',
      `${name}_bucket{route="api",le="0.005"} 2`,
      `${name}_bucket{route="api",le="0.1"} 3`,
      `${name}_bucket{route="api",le="1"} 4`,
      `${name}_bucket{route="api",le="5"} 4`,
      `${name}_bucket{route="api",le="+Inf"} 5`,
      `${name}_count{route="api"} 5`,
    ])
      expect(text.split("\n")).toContain(line);
    const [, sum] = /duration_seconds_sum\{route="api"\} (.+)/.exec(text) ?? [];
    expect(Number(sum)).toBeCloseTo(9.433);
  });
});
