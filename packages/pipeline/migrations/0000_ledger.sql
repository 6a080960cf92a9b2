CREATE TABLE pipeline.event (
  day date NOT NULL,
  connection_id uuid NOT NULL,
  sequence bigint NOT NULL CHECK (sequence > 0),
  organization_id text NOT NULL,
  connector text NOT NULL,
  id text NOT NULL,
  type text NOT NULL,
  subject text NOT NULL,
  object_key text NOT NULL,
  time timestamptz NOT NULL,
  backfill boolean NOT NULL,
  traceparent text NOT NULL,
  committed_at timestamptz NOT NULL,
  payload bytea NOT NULL,
  -- The connection leads the index: within a partition the day is always the same.
  PRIMARY KEY (connection_id, sequence, day)
) PARTITION BY RANGE (day);
--> statement-breakpoint
COMMENT ON TABLE pipeline.event IS 'The event ledger: every committed event, append-only, one partition for each UTC day of commit. It is the truth that the relay publishes from, the embedded stream, and the source of replay, export and erasure. Kept for the retention (30 days by default); dropped by partition.';
--> statement-breakpoint
CREATE TABLE pipeline.event_default PARTITION OF pipeline.event DEFAULT;
--> statement-breakpoint
COMMENT ON TABLE pipeline.event_default IS 'The net under the ledger: events of a day that has no partition yet, so that a late chore stops no commit. Emptied into a partition as soon as one is made.';
--> statement-breakpoint
CREATE TABLE pipeline.position (
  connection_id uuid PRIMARY KEY,
  organization_id text NOT NULL,
  head bigint NOT NULL,
  day date NOT NULL,
  published bigint NOT NULL DEFAULT 0,
  parked_sequence bigint,
  parked_reason text,
  CHECK ((parked_sequence IS NULL) = (parked_reason IS NULL))
) WITH (fillfactor = 50);
--> statement-breakpoint
COMMENT ON TABLE pipeline.position IS 'Progress as one row a connection, never a flag on an event: the last sequence taken (head), the day of that event, the last one that the broker acknowledged (published), and the event that the broker refuses for good (parked). Kept as long as the ledger may hold an event of the connection.';
--> statement-breakpoint
CREATE INDEX position_organization ON pipeline.position (organization_id, connection_id);
--> statement-breakpoint
CREATE INDEX position_unpublished ON pipeline.position (connection_id) WHERE head > published AND parked_sequence IS NULL;
--> statement-breakpoint
CREATE TABLE pipeline.relay_leader (
  stream text PRIMARY KEY,
  holder uuid NOT NULL,
  token bigint NOT NULL,
  until timestamptz NOT NULL
);
--> statement-breakpoint
COMMENT ON TABLE pipeline.relay_leader IS 'Which process is the only publisher of a stream, by a lease whose token grows with every change of holder. One row a stream, for good.';
--> statement-breakpoint
CREATE TABLE pipeline.ack_range (
  stream text NOT NULL,
  last_stream_sequence bigint NOT NULL,
  first_stream_sequence bigint NOT NULL,
  stream_created text NOT NULL,
  ranges jsonb NOT NULL,
  acked_at timestamptz NOT NULL,
  PRIMARY KEY (stream, last_stream_sequence)
);
--> statement-breakpoint
COMMENT ON TABLE pipeline.ack_range IS 'What the broker acknowledged, a row for each window: stream sequences, and the sequences they carry of each connection. Tells a stream that regressed or was made again from one that is whole, and what to publish again. Trimmed to the newest 10,000 rows a stream.';
--> statement-breakpoint
CREATE TABLE pipeline.consumer (
  organization_id text NOT NULL,
  name text NOT NULL,
  types text[] NOT NULL,
  created_at timestamptz NOT NULL,
  last_seen_at timestamptz NOT NULL,
  holder uuid,
  until timestamptz NOT NULL,
  PRIMARY KEY (organization_id, name)
);
--> statement-breakpoint
COMMENT ON TABLE pipeline.consumer IS 'Subscribers that read over HTTP, the types they last asked for, when they last showed a sign of life, and which stream serves each now (a lease: two streams of one consumer would break the order). Kept until somebody deletes the consumer.';
--> statement-breakpoint
CREATE TABLE pipeline.consumer_position (
  organization_id text NOT NULL,
  consumer text NOT NULL,
  connection_id uuid NOT NULL,
  settled bigint NOT NULL,
  ahead bigint[] NOT NULL DEFAULT '{}',
  PRIMARY KEY (organization_id, consumer, connection_id)
) WITH (fillfactor = 50);
--> statement-breakpoint
COMMENT ON TABLE pipeline.consumer_position IS 'How far a consumer has settled a connection without a gap, and the few sequences that were settled ahead of one by way of another process. Kept as long as the consumer.';
--> statement-breakpoint
CREATE TABLE pipeline.dead_letter (
  organization_id text NOT NULL,
  consumer text NOT NULL,
  connection_id uuid NOT NULL,
  sequence bigint NOT NULL,
  event_id text NOT NULL,
  type text NOT NULL,
  reason text NOT NULL CHECK (length(reason) <= 500),
  died_at timestamptz NOT NULL,
  PRIMARY KEY (organization_id, consumer, connection_id, sequence)
);
--> statement-breakpoint
COMMENT ON TABLE pipeline.dead_letter IS 'Events that a consumer gave up on, with its reason. The payload stays in the ledger. Kept until it is replayed or dismissed, at the longest 90 days.';
