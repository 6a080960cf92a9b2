-- The planner takes a partition of tomorrow for empty and scans it, and for a connection like the average sorts what the
-- index holds in order; a prepared statement keeps such a plan while the partition fills. Here it has no such choice.
CREATE FUNCTION pipeline.events_after(of_connection uuid, after bigint, since date, most integer)
RETURNS SETOF pipeline.event LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
AS $$
BEGIN
  RETURN QUERY SELECT e.* FROM pipeline.event e
  WHERE e.connection_id = of_connection AND e.sequence > after AND e.day >= since
  ORDER BY e.sequence LIMIT most;
END
$$;
--> statement-breakpoint
COMMENT ON FUNCTION pipeline.events_after IS 'The next events of a connection, in order, by the index of every partition since a day; never a scan or a sort.';
