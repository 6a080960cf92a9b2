-- Looking an event up by its id or by when it was committed is rare, so it may not cost a commit: an entry of this index
-- is made once for 32 pages of a partition, half a percent of what it describes.
CREATE INDEX event_looked_up ON pipeline.event USING brin (committed_at, id text_bloom_ops (n_distinct_per_range = 1024))
WITH (pages_per_range = 32, autosummarize = on);
--> statement-breakpoint
-- The planner takes ids, which stand in no order, for a reason to read everything. Here it has no such choice.
CREATE FUNCTION pipeline.event_by_id(of_organization text, of_id text)
RETURNS SETOF pipeline.event LANGUAGE plpgsql STABLE SET enable_seqscan = off
AS $$
BEGIN
  RETURN QUERY SELECT e.* FROM pipeline.event e WHERE e.organization_id = of_organization AND e.id = of_id LIMIT 1;
END
$$;
--> statement-breakpoint
COMMENT ON FUNCTION pipeline.event_by_id IS 'One event of an organisation by its id, from the few pages of each partition that may hold it.';
--> statement-breakpoint
ALTER TABLE pipeline.consumer
  ADD COLUMN after_dead_letter text NOT NULL DEFAULT 'continue' CHECK (after_dead_letter IN ('continue', 'hold'));
--> statement-breakpoint
ALTER TABLE pipeline.dead_letter
  ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid(),
  ADD COLUMN road text NOT NULL DEFAULT 'http' CHECK (road IN ('http', 'nats')),
  ADD COLUMN replay_id text NOT NULL DEFAULT '',
  ADD COLUMN state text NOT NULL DEFAULT 'dead' CHECK (state IN ('dead', 'redriving')),
  ADD COLUMN attempts integer NOT NULL DEFAULT 0,
  ADD COLUMN redrives integer NOT NULL DEFAULT 0,
  ADD COLUMN connector text NOT NULL DEFAULT '',
  ADD COLUMN subject text NOT NULL DEFAULT '',
  ADD COLUMN object_key text NOT NULL DEFAULT '',
  ADD COLUMN time timestamptz NOT NULL DEFAULT 'epoch',
  ADD COLUMN backfill boolean NOT NULL DEFAULT false,
  ADD COLUMN traceparent text NOT NULL DEFAULT '',
  ADD COLUMN payload bytea NOT NULL DEFAULT '';
--> statement-breakpoint
-- Whoever owns the tables is held to policies that name no such role.
ALTER TABLE pipeline.dead_letter NO FORCE ROW LEVEL SECURITY;
--> statement-breakpoint
ALTER TABLE pipeline.event NO FORCE ROW LEVEL SECURITY;
--> statement-breakpoint
UPDATE pipeline.dead_letter d SET connector = e.connector, subject = e.subject, object_key = e.object_key, time = e.time,
  backfill = e.backfill, traceparent = e.traceparent, payload = e.payload
FROM pipeline.event e
WHERE e.organization_id = d.organization_id AND e.connection_id = d.connection_id AND e.sequence = d.sequence;
--> statement-breakpoint
ALTER TABLE pipeline.dead_letter FORCE ROW LEVEL SECURITY;
--> statement-breakpoint
ALTER TABLE pipeline.event FORCE ROW LEVEL SECURITY;
--> statement-breakpoint
ALTER TABLE pipeline.dead_letter DROP CONSTRAINT dead_letter_pkey,
  ADD PRIMARY KEY (organization_id, road, consumer, connection_id, sequence, replay_id);
--> statement-breakpoint
CREATE UNIQUE INDEX dead_letter_id ON pipeline.dead_letter (organization_id, id);
--> statement-breakpoint
CREATE INDEX dead_letter_newest ON pipeline.dead_letter (organization_id, died_at DESC, id DESC);
--> statement-breakpoint
CREATE INDEX dead_letter_redriving ON pipeline.dead_letter (organization_id, road, consumer, connection_id, sequence)
WHERE state = 'redriving';
--> statement-breakpoint
CREATE INDEX dead_letter_of_connection ON pipeline.dead_letter (connection_id);
--> statement-breakpoint
COMMENT ON TABLE pipeline.dead_letter IS 'Events that a consumer gave up on, with its reason and a copy of the event, so that one can be delivered again after the ledger has dropped its day. Kept until it is handled or dropped, or its connection is erased; at the longest 90 days.';
--> statement-breakpoint
GRANT UPDATE ON pipeline.dead_letter TO tributary_writer;
--> statement-breakpoint
CREATE POLICY relay ON pipeline.dead_letter TO tributary_relay USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT ON pipeline.dead_letter TO tributary_relay;
--> statement-breakpoint
CREATE TABLE pipeline.replay (
  organization_id text NOT NULL,
  id uuid NOT NULL,
  idempotency_key text,
  consumer text,
  types text[] NOT NULL,
  connection_ids uuid[] NOT NULL,
  from_at timestamptz,
  until_at timestamptz NOT NULL,
  events_per_second integer NOT NULL CHECK (events_per_second > 0),
  state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'cancelled', 'failed')),
  reason text NOT NULL DEFAULT '',
  total bigint,
  created_by text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz,
  holder uuid,
  lease_until timestamptz NOT NULL DEFAULT '-infinity',
  PRIMARY KEY (organization_id, id),
  CHECK ((state = 'running') = (ended_at IS NULL))
);
--> statement-breakpoint
COMMENT ON TABLE pipeline.replay IS 'Replays: which retained events are delivered again, to whom (no consumer: to all), how fast, and how that ended. The lease says which process counts and publishes. One that has not ended after 7 days fails; kept for 30 days.';
--> statement-breakpoint
CREATE UNIQUE INDEX replay_key ON pipeline.replay (organization_id, idempotency_key);
--> statement-breakpoint
CREATE INDEX replay_newest ON pipeline.replay (organization_id, created_at DESC, id DESC);
--> statement-breakpoint
CREATE INDEX replay_running ON pipeline.replay (created_at) WHERE state = 'running';
--> statement-breakpoint
CREATE TABLE pipeline.replay_target (
  organization_id text NOT NULL,
  replay_id uuid NOT NULL,
  road text NOT NULL CHECK (road IN ('http', 'nats')),
  consumer text NOT NULL,
  place_connection uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
  place_sequence bigint NOT NULL DEFAULT 0,
  done bigint NOT NULL DEFAULT 0,
  ended boolean NOT NULL DEFAULT false,
  ahead text[] NOT NULL DEFAULT '{}',
  PRIMARY KEY (organization_id, replay_id, road, consumer),
  FOREIGN KEY (organization_id, replay_id) REFERENCES pipeline.replay (organization_id, id) ON DELETE CASCADE
) WITH (fillfactor = 50);
--> statement-breakpoint
COMMENT ON TABLE pipeline.replay_target IS 'How far a replay has come with each consumer over HTTP, and on NATS (one row without a consumer, or with the one that it is for): a place in the ledger, walked by connection and sequence, and the few events that were settled ahead of it by way of another process. Kept as long as the replay.';
--> statement-breakpoint
CREATE INDEX replay_target_open ON pipeline.replay_target (organization_id, consumer) WHERE NOT ended;
--> statement-breakpoint
ALTER TABLE pipeline.replay ENABLE ROW LEVEL SECURITY;
--> statement-breakpoint
ALTER TABLE pipeline.replay FORCE ROW LEVEL SECURITY;
--> statement-breakpoint
ALTER TABLE pipeline.replay_target ENABLE ROW LEVEL SECURITY;
--> statement-breakpoint
ALTER TABLE pipeline.replay_target FORCE ROW LEVEL SECURITY;
--> statement-breakpoint
CREATE POLICY organization ON pipeline.replay TO tributary_writer, tributary_reader
USING (organization_id = (SELECT nullif(current_setting('app.organization', true), '')))
WITH CHECK (organization_id = (SELECT nullif(current_setting('app.organization', true), '')));
--> statement-breakpoint
CREATE POLICY organization ON pipeline.replay_target TO tributary_writer, tributary_reader
USING (organization_id = (SELECT nullif(current_setting('app.organization', true), '')))
WITH CHECK (organization_id = (SELECT nullif(current_setting('app.organization', true), '')));
--> statement-breakpoint
GRANT SELECT ON pipeline.replay, pipeline.replay_target TO tributary_reader;
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE ON pipeline.replay TO tributary_writer;
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON pipeline.replay_target TO tributary_writer;
--> statement-breakpoint
CREATE POLICY relay ON pipeline.replay TO tributary_relay USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, UPDATE ON pipeline.replay TO tributary_relay;
--> statement-breakpoint
CREATE POLICY relay ON pipeline.replay_target TO tributary_relay USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT ON pipeline.replay_target TO tributary_relay;
--> statement-breakpoint
CREATE POLICY upkeep ON pipeline.replay TO tributary_upkeep USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, UPDATE, DELETE ON pipeline.replay TO tributary_upkeep;
