-- What the JSON column may hold. NOT VALID, for a row that breaks it already must not keep a hub from starting:
-- `tributary repair` finds such rows by the same function.
CREATE FUNCTION pipeline.ack_range_ranges_shape(p jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(p) = 'array' THEN NOT EXISTS (
  SELECT FROM jsonb_array_elements(p) AS e WHERE CASE WHEN jsonb_typeof(e.value) = 'array' THEN
      jsonb_array_length(e.value) <> 3
      OR coalesce((e.value ->> 0) !~ '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$', true)
      OR coalesce((e.value ->> 1) !~ '^[0-9]{1,19}$', true) OR coalesce((e.value ->> 2) !~ '^[0-9]{1,19}$', true)
    ELSE true END)
  ELSE false END;
--> statement-breakpoint
COMMENT ON FUNCTION pipeline.ack_range_ranges_shape(jsonb) IS 'Of each connection the first and last sequence: [[uuid, digits, digits]].';
--> statement-breakpoint
ALTER TABLE pipeline.ack_range ADD CONSTRAINT ack_range_ranges_shape CHECK (pipeline.ack_range_ranges_shape(ranges)) NOT VALID;
--> statement-breakpoint
GRANT UPDATE (ranges) ON pipeline.ack_range TO tributary_relay;
