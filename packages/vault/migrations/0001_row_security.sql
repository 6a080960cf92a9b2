-- The vault's role sees one organisation at a time; the keeper, which re-wraps keys and deletes what expired, sees all.
DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['key_check', 'subject_key', 'credential_grant', 'secret', 'flow', 'access_log'] LOOP
    EXECUTE format('ALTER TABLE vault.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE vault.%I FORCE ROW LEVEL SECURITY', name);
  END LOOP;
END
$$;
--> statement-breakpoint
GRANT USAGE ON SCHEMA vault TO tributary_vault, tributary_keeper;
--> statement-breakpoint
DO $$
DECLARE
  name text;
  own text := 'organization_id = (SELECT nullif(current_setting(''app.organization'', true), ''''))';
BEGIN
  FOREACH name IN ARRAY ARRAY['subject_key', 'credential_grant', 'secret', 'flow', 'access_log'] LOOP
    EXECUTE format('CREATE POLICY organization ON vault.%I TO tributary_vault USING (%s) WITH CHECK (%s)', name, own, own);
  END LOOP;
END
$$;
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON vault.subject_key, vault.credential_grant, vault.secret, vault.flow TO tributary_vault;
--> statement-breakpoint
GRANT SELECT, INSERT ON vault.access_log TO tributary_vault;
--> statement-breakpoint
CREATE POLICY keeper ON vault.subject_key TO tributary_keeper USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON vault.subject_key TO tributary_keeper;
--> statement-breakpoint
CREATE POLICY keeper ON vault.credential_grant TO tributary_keeper USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON vault.credential_grant TO tributary_keeper;
--> statement-breakpoint
CREATE POLICY keeper ON vault.secret TO tributary_keeper USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON vault.secret TO tributary_keeper;
--> statement-breakpoint
CREATE POLICY keeper ON vault.flow TO tributary_keeper USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON vault.flow TO tributary_keeper;
--> statement-breakpoint
CREATE POLICY keeper ON vault.access_log TO tributary_keeper USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON vault.access_log TO tributary_keeper;
--> statement-breakpoint
CREATE POLICY keeper ON vault.key_check TO tributary_keeper USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, INSERT ON vault.key_check TO tributary_keeper;
