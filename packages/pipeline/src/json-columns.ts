import type { JsonColumn } from "@tributary/db";

/** Every JSON column of this package, for repair. */
export const jsonColumns: readonly JsonColumn[] = [
  {
    table: "pipeline.ack_range",
    column: "ranges",
    key: ["stream", "last_stream_sequence"],
    ofOrganization: false,
    role: "relay",
    reset: "'[]'",
    loses: "what the broker acknowledged in one window: if the stream loses that window, it is not published again",
  },
];
