CREATE TABLE vault.renewal (
  organization_id text NOT NULL,
  credential_id text NOT NULL,
  integration text NOT NULL,
  owner_kind text NOT NULL CHECK (owner_kind IN ('user', 'organization')),
  owner_id text NOT NULL,
  context_id text NOT NULL CHECK (length(context_id) BETWEEN 1 AND 200),
  terms text NOT NULL CHECK (length(terms) <= 16384),
  signature bytea NOT NULL CHECK (octet_length(signature) = 64),
  renew_at timestamptz,
  failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
  PRIMARY KEY (organization_id, credential_id),
  FOREIGN KEY (organization_id, credential_id) REFERENCES vault.credential_grant ON DELETE CASCADE
) WITH (fillfactor = 70);
--> statement-breakpoint
COMMENT ON TABLE vault.renewal IS 'By which client and at which endpoints a credential was made, signed, and when it is to be renewed: what a renewal needs to know when nobody asks for it. Deleted with the credential.';
--> statement-breakpoint
CREATE INDEX renewal_due ON vault.renewal (renew_at) WHERE renew_at IS NOT NULL;
--> statement-breakpoint
CREATE TABLE vault.oauth_client (
  context_id text PRIMARY KEY CHECK (context_id ~ '^[a-z0-9-]{1,64}\.[A-Za-z0-9_-]{22}$'),
  organization_id text NOT NULL,
  credential_id text NOT NULL,
  integration text NOT NULL,
  client_id text NOT NULL CHECK (length(client_id) BETWEEN 1 AND 512),
  token_host text NOT NULL,
  created_at timestamptz NOT NULL,
  FOREIGN KEY (organization_id, credential_id) REFERENCES vault.credential_grant ON DELETE CASCADE
);
--> statement-breakpoint
COMMENT ON TABLE vault.oauth_client IS 'OAuth clients that organisations brought themselves. The name of the context is random and ours, so that nobody can choose another''s; the secret is an ordinary secret of the vault. Kept until the organisation removes it.';
--> statement-breakpoint
CREATE INDEX oauth_client_newest ON vault.oauth_client (organization_id, integration, created_at DESC);
--> statement-breakpoint
ALTER TABLE vault.renewal ENABLE ROW LEVEL SECURITY;
--> statement-breakpoint
ALTER TABLE vault.renewal FORCE ROW LEVEL SECURITY;
--> statement-breakpoint
CREATE POLICY organization ON vault.renewal TO tributary_vault
  USING (organization_id = (SELECT nullif(current_setting('app.organization', true), '')))
  WITH CHECK (organization_id = (SELECT nullif(current_setting('app.organization', true), '')));
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON vault.renewal TO tributary_vault;
--> statement-breakpoint
-- The keeper finds what is due and claims it; with what it found it goes on inside the organisation.
CREATE POLICY keeper ON vault.renewal TO tributary_keeper USING (true) WITH CHECK (true);
--> statement-breakpoint
GRANT SELECT, UPDATE ON vault.renewal TO tributary_keeper;
--> statement-breakpoint
ALTER TABLE vault.oauth_client ENABLE ROW LEVEL SECURITY;
--> statement-breakpoint
ALTER TABLE vault.oauth_client FORCE ROW LEVEL SECURITY;
--> statement-breakpoint
CREATE POLICY organization ON vault.oauth_client TO tributary_vault
  USING (organization_id = (SELECT nullif(current_setting('app.organization', true), '')))
  WITH CHECK (organization_id = (SELECT nullif(current_setting('app.organization', true), '')));
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON vault.oauth_client TO tributary_vault;
--> statement-breakpoint
-- A webhook names its context before anybody knows whose it is.
CREATE POLICY keeper ON vault.oauth_client FOR SELECT TO tributary_keeper USING (true);
--> statement-breakpoint
GRANT SELECT ON vault.oauth_client TO tributary_keeper;
