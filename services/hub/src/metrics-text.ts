/** One series of figures, in the words of Prometheus. */
export interface Metric {
  /** Units last and in base units, as Prometheus has it: `_seconds`, `_bytes`, `_total`. */
  readonly name: string;
  readonly help: string;
  readonly type: "gauge" | "counter" | "histogram";
  readonly samples: readonly Sample[];
}

export interface Sample {
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
  /** Of a histogram: `_bucket`, `_sum` or `_count`. */
  readonly suffix?: string;
}

export const METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** The text format 0.0.4 of Prometheus (prometheus.io/docs/instrumenting/exposition_formats). A metric without samples is left out. */
export const renderMetrics = (metrics: readonly Metric[]): string =>
  metrics
    .filter(({ samples }) => samples.length > 0)
    .map(({ name, help, type, samples }) =>
      [
        `# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}`,
        `# TYPE ${name} ${type}`,
        ...samples.map(({ value, labels, suffix = "" }) => `${name}${suffix}${labelText(labels)} ${valueText(value)}`),
        "",
      ].join("\n"),
    )
    .join("");

function labelText(labels: Sample["labels"]): string {
  const pairs = Object.entries(labels ?? {}).map(([name, value]) => `${name}="${escaped(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

const escaped = (value: string): string =>
  value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");

const valueText = (value: number): string => (value === Infinity ? "+Inf" : String(value));

/** Counts requests and how long they took, by a route that is one of a few words. */
export interface RequestFigures {
  /** Until the answer began: a stream's end is its reader's doing. */
  record(route: string, status: number, ms: number): void;
  metrics(): readonly Metric[];
}

const BUCKETS_SECONDS = [0.005, 0.025, 0.1, 0.25, 1, 5];

export function createRequestFigures(): RequestFigures {
  const counts = new Map<string, { readonly route: string; readonly status: string; count: number }>();
  const times = new Map<string, { readonly buckets: number[]; sum: number; count: number }>();
  return {
    record: (route, status, ms) => {
      const kind = `${Math.floor(status / 100)}xx`;
      const known = counts.get(`${route} ${kind}`);
      if (known === undefined) counts.set(`${route} ${kind}`, { route, status: kind, count: 1 });
      else known.count++;
      const time = times.get(route) ?? { buckets: BUCKETS_SECONDS.map(() => 0), sum: 0, count: 0 };
      times.set(route, time);
      const seconds = ms / 1_000;
      for (const [index, upTo] of BUCKETS_SECONDS.entries())
        if (seconds <= upTo) time.buckets[index] = (time.buckets[index] ?? 0) + 1;
      time.sum += seconds;
      time.count++;
    },
    metrics: () => [
      {
        name: "tributary_http_requests_total",
        help: "Requests answered, by the part that answered and the class of the status.",
        type: "counter",
        samples: [...counts.values()].map(({ route, status, count }) => ({ value: count, labels: { route, status } })),
      },
      {
        name: "tributary_http_request_duration_seconds",
        help: "Time until an answer began.",
        type: "histogram",
        samples: [...times].flatMap(([route, { buckets, sum, count }]) => [
          ...[...buckets.entries()].map(([index, value]) => ({
            value,
            suffix: "_bucket",
            labels: { route, le: String(BUCKETS_SECONDS[index]) },
          })),
          { value: count, suffix: "_bucket", labels: { route, le: "+Inf" } },
          { value: sum, suffix: "_sum", labels: { route } },
          { value: count, suffix: "_count", labels: { route } },
        ]),
      },
    ],
  };
}
