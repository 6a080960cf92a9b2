-- An organisation's role sees its own rows. The relay publishes for all of them, and settles consumers by groups; the
-- ledger can be appended to and erased from, and changed by nobody.
DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['event', 'position', 'consumer', 'consumer_position', 'dead_letter', 'event_default', 'relay_leader', 'ack_range'] LOOP
    EXECUTE format('ALTER TABLE pipeline.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE pipeline.%I FORCE ROW LEVEL SECURITY', name);
  END LOOP;
END
$$;
--> statement-breakpoint
GRANT USAGE ON SCHEMA pipeline TO tributary_writer, tributary_reader, tributary_relay, tributary_upkeep;
--> statement-breakpoint
DO $$
DECLARE
  name text;
  own text := 'organization_id = (SELECT nullif(current_setting(''app.organization'', true), ''''))';
BEGIN
  FOREACH name IN ARRAY ARRAY['event', 'position', 'consumer', 'consumer_position', 'dead_letter'] LOOP
    EXECUTE format('CREATE POLICY organization ON pipeline.%I TO tributary_writer, tributary_reader USING (%s) WITH CHECK (%s)', name, own, own);
  END LOOP;
END
$$;
--> statement-breakpoint
GRANT SELECT ON pipeline.event, pipeline.position, pipeline.consumer, pipeline.consumer_position, pipeline.dead_letter TO tributary_reader;
--> statement-breakpoint
GRANT SELECT, INSERT, DELETE ON pipeline.event, pipeline.dead_letter TO tributary_writer;
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE ON pipeline.position TO tributary_writer;
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON pipeline.consumer, pipeline.consumer_position TO tributary_writer;
--> statement-breakpoint
CREATE POLICY relay ON pipeline.event TO tributary_relay USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT ON pipeline.event TO tributary_relay;
--> statement-breakpoint
CREATE POLICY relay ON pipeline.position TO tributary_relay USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, UPDATE ON pipeline.position TO tributary_relay;
--> statement-breakpoint
CREATE POLICY relay ON pipeline.relay_leader TO tributary_relay USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE ON pipeline.relay_leader TO tributary_relay;
--> statement-breakpoint
CREATE POLICY relay ON pipeline.ack_range TO tributary_relay USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, INSERT, DELETE ON pipeline.ack_range TO tributary_relay;
--> statement-breakpoint
CREATE POLICY relay ON pipeline.consumer TO tributary_relay USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, UPDATE ON pipeline.consumer TO tributary_relay;
--> statement-breakpoint
CREATE POLICY relay ON pipeline.consumer_position TO tributary_relay USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE ON pipeline.consumer_position TO tributary_relay;
--> statement-breakpoint
CREATE POLICY upkeep ON pipeline.event TO tributary_upkeep USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT ON pipeline.event TO tributary_upkeep;
--> statement-breakpoint
CREATE POLICY upkeep ON pipeline.event_default TO tributary_upkeep USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, INSERT, DELETE ON pipeline.event_default TO tributary_upkeep;
--> statement-breakpoint
CREATE POLICY upkeep ON pipeline.position TO tributary_upkeep USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT ON pipeline.position TO tributary_upkeep;
--> statement-breakpoint
CREATE POLICY upkeep ON pipeline.dead_letter TO tributary_upkeep USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, DELETE ON pipeline.dead_letter TO tributary_upkeep;
--> statement-breakpoint
DO $$
DECLARE name text;
BEGIN
  FOR name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'pipeline.event'::regclass LOOP
    EXECUTE format('ALTER TABLE pipeline.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE pipeline.%I FORCE ROW LEVEL SECURITY', name);
  END LOOP;
END
$$;
--> statement-breakpoint
-- Making and dropping partitions is its owner's right: these two do it, for days only, and are upkeep's alone. A partition
-- is refused while the net holds rows of its day: they move first, and nobody sees them twice.
CREATE FUNCTION pipeline.make_partition(of_day date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE name text := 'event_' || to_char(of_day, 'YYYYMMDD');
BEGIN
  LOCK TABLE pipeline.event_default IN ACCESS EXCLUSIVE MODE;
  EXECUTE format('CREATE TABLE pipeline.%I (LIKE pipeline.event INCLUDING ALL)', name);
  EXECUTE format('WITH moved AS (DELETE FROM pipeline.event_default WHERE day = %L RETURNING *) INSERT INTO pipeline.%I SELECT * FROM moved', of_day, name);
  EXECUTE format('ALTER TABLE pipeline.%I ENABLE ROW LEVEL SECURITY', name);
  EXECUTE format('ALTER TABLE pipeline.%I FORCE ROW LEVEL SECURITY', name);
  EXECUTE format('ALTER TABLE pipeline.event ATTACH PARTITION pipeline.%I FOR VALUES FROM (%L) TO (%L)', name, of_day, of_day + 1);
END
$$;
--> statement-breakpoint
CREATE FUNCTION pipeline.drop_partition(of_day date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
  EXECUTE format('DROP TABLE pipeline.%I', 'event_' || to_char(of_day, 'YYYYMMDD'));
END
$$;
--> statement-breakpoint
REVOKE ALL ON FUNCTION pipeline.make_partition(date), pipeline.drop_partition(date) FROM PUBLIC;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION pipeline.make_partition(date), pipeline.drop_partition(date) TO tributary_upkeep;
