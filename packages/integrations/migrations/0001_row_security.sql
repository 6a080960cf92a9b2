-- An organisation's role sees its own rows. Claiming, taking deliveries in and housekeeping cross organisations, each
-- under a role of its own and on the tables that it needs.
DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['connection', 'credential', 'object_state', 'run', 'action', 'receipt', 'delivery'] LOOP
    EXECUTE format('ALTER TABLE integrations.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE integrations.%I FORCE ROW LEVEL SECURITY', name);
  END LOOP;
END
$$;
--> statement-breakpoint
GRANT USAGE ON SCHEMA integrations TO tributary_writer, tributary_reader, tributary_scheduler, tributary_ingress, tributary_upkeep;
--> statement-breakpoint
DO $$
DECLARE
  name text;
  own text := 'organization_id = (SELECT nullif(current_setting(''app.organization'', true), ''''))';
BEGIN
  FOREACH name IN ARRAY ARRAY['connection', 'credential', 'object_state', 'run', 'action', 'receipt'] LOOP
    EXECUTE format('CREATE POLICY organization ON integrations.%I TO tributary_writer, tributary_reader USING (%s) WITH CHECK (%s)', name, own, own);
  END LOOP;
END
$$;
--> statement-breakpoint
GRANT SELECT ON integrations.connection, integrations.credential, integrations.object_state, integrations.run, integrations.action, integrations.receipt TO tributary_reader;
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE ON integrations.connection, integrations.run, integrations.action, integrations.receipt TO tributary_writer;
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON integrations.credential, integrations.object_state TO tributary_writer;
--> statement-breakpoint
CREATE POLICY scheduler ON integrations.connection TO tributary_scheduler USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, UPDATE ON integrations.connection TO tributary_scheduler;
--> statement-breakpoint
CREATE POLICY scheduler ON integrations.credential TO tributary_scheduler USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT ON integrations.credential TO tributary_scheduler;
--> statement-breakpoint
CREATE POLICY ingress ON integrations.connection TO tributary_ingress USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, UPDATE ON integrations.connection TO tributary_ingress;
--> statement-breakpoint
CREATE POLICY ingress ON integrations.delivery TO tributary_ingress USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, INSERT ON integrations.delivery TO tributary_ingress;
--> statement-breakpoint
CREATE POLICY upkeep ON integrations.delivery TO tributary_upkeep USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, DELETE ON integrations.delivery TO tributary_upkeep;
--> statement-breakpoint
CREATE POLICY upkeep ON integrations.run TO tributary_upkeep USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, DELETE ON integrations.run TO tributary_upkeep;
--> statement-breakpoint
CREATE POLICY upkeep ON integrations.action TO tributary_upkeep USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, DELETE ON integrations.action TO tributary_upkeep;
--> statement-breakpoint
CREATE POLICY upkeep ON integrations.receipt TO tributary_upkeep USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT ON integrations.receipt TO tributary_upkeep;
--> statement-breakpoint
CREATE POLICY upkeep ON integrations.connection TO tributary_upkeep USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT ON integrations.connection TO tributary_upkeep;
--> statement-breakpoint
CREATE POLICY upkeep ON integrations.credential TO tributary_upkeep USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT ON integrations.credential TO tributary_upkeep;
