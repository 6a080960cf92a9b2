ALTER TABLE auth."user" ADD COLUMN email_verified boolean NOT NULL DEFAULT false;
--> statement-breakpoint
COMMENT ON COLUMN auth."user".email_verified IS 'Whether the identity provider vouches for the address. Only then does it match an invitation.';
--> statement-breakpoint
CREATE TABLE auth.invitation (
  id uuid PRIMARY KEY,
  organization_id text NOT NULL REFERENCES auth.organization (id) ON DELETE CASCADE,
  email text NOT NULL CHECK (email = lower(email) AND length(email) <= 254),
  permissions text[] NOT NULL CHECK (permissions <@ ARRAY['integrations.view', 'integrations.manage', 'integrations.credentials']),
  token_hash text NOT NULL UNIQUE CHECK (token_hash ~ '^[0-9a-f]{64}$'),
  invited_by text NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  accepted_at timestamptz,
  accepted_by uuid
);
--> statement-breakpoint
COMMENT ON TABLE auth.invitation IS 'Who was asked to join, by address, and SHA-256 of the link''s token: a dump of this table lets nobody in. Accepted once, within 7 days. Deleted when revoked, and by the sweep 30 days after it expired.';
--> statement-breakpoint
CREATE UNIQUE INDEX invitation_open ON auth.invitation (organization_id, email) WHERE accepted_at IS NULL;
--> statement-breakpoint
CREATE INDEX invitation_expiry ON auth.invitation (expires_at);
--> statement-breakpoint
CREATE TABLE auth.admin_link (
  token_hash text PRIMARY KEY CHECK (token_hash ~ '^[0-9a-f]{64}$'),
  organization_id text NOT NULL REFERENCES auth.organization (id) ON DELETE CASCADE,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at timestamptz,
  used_by uuid
);
--> statement-breakpoint
COMMENT ON TABLE auth.admin_link IS 'The way in for an organisation''s first administrator, or for one who is locked out: SHA-256 of a link that the operator was shown once. Used once, within 24 hours; making another ends it. Deleted by the sweep 30 days after it expired.';
--> statement-breakpoint
CREATE INDEX admin_link_organization ON auth.admin_link (organization_id);
--> statement-breakpoint
DO $$
DECLARE
  name text;
  own text := 'organization_id = (SELECT nullif(current_setting(''app.organization'', true), ''''))';
BEGIN
  FOREACH name IN ARRAY ARRAY['invitation', 'admin_link'] LOOP
    EXECUTE format('ALTER TABLE auth.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE auth.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY auth ON auth.%I TO tributary_auth USING (true) WITH CHECK (true)', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON auth.%I TO tributary_auth', name);
  END LOOP;
  -- What is done to an organisation's people is done within it.
  FOREACH name IN ARRAY ARRAY['invitation', 'membership'] LOOP
    EXECUTE format('CREATE POLICY organization ON auth.%I TO tributary_writer USING (%s) WITH CHECK (%s)', name, own, own);
    EXECUTE format('CREATE POLICY reader ON auth.%I FOR SELECT TO tributary_reader USING (%s)', name, own);
    EXECUTE format('GRANT SELECT ON auth.%I TO tributary_reader', name);
  END LOOP;
END
$$;
--> statement-breakpoint
GRANT USAGE ON SCHEMA auth TO tributary_writer, tributary_reader;
--> statement-breakpoint
GRANT SELECT, INSERT, DELETE ON auth.invitation TO tributary_writer;
--> statement-breakpoint
GRANT SELECT, UPDATE, DELETE ON auth.membership TO tributary_writer;
--> statement-breakpoint
CREATE POLICY member ON auth."user" FOR SELECT TO tributary_reader
USING (EXISTS (SELECT FROM auth.membership m WHERE m.user_id = "user".id AND m.organization_id = (SELECT nullif(current_setting('app.organization', true), ''))));
--> statement-breakpoint
GRANT SELECT ON auth."user" TO tributary_reader;
