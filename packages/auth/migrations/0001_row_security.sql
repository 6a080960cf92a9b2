-- Nothing of this is read past a policy. Who signs in is looked up before it is known to which organisation, so one role
-- sees across them, and it sees nothing else.
DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['organization', 'user', 'identity', 'membership', 'session'] LOOP
    EXECUTE format('ALTER TABLE auth.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE auth.%I FORCE ROW LEVEL SECURITY', name);
  END LOOP;
END
$$;
--> statement-breakpoint
GRANT USAGE ON SCHEMA auth TO tributary_auth;
--> statement-breakpoint
CREATE POLICY auth ON auth.organization TO tributary_auth USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON auth.organization TO tributary_auth;
--> statement-breakpoint
CREATE POLICY auth ON auth."user" TO tributary_auth USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON auth."user" TO tributary_auth;
--> statement-breakpoint
CREATE POLICY auth ON auth.identity TO tributary_auth USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON auth.identity TO tributary_auth;
--> statement-breakpoint
CREATE POLICY auth ON auth.membership TO tributary_auth USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON auth.membership TO tributary_auth;
--> statement-breakpoint
CREATE POLICY auth ON auth.session TO tributary_auth USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON auth.session TO tributary_auth;
