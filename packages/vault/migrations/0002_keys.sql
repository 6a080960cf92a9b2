-- Generations of subject keys: a newer one takes all writes at once, an older one is kept until nothing needs it.
ALTER TABLE vault.subject_key ADD COLUMN superseded_at timestamptz, ADD COLUMN unused_since timestamptz;
--> statement-breakpoint
COMMENT ON TABLE vault.subject_key IS 'The key pair of an organisation or of one of its people, the private half wrapped. The newest generation is kept as long as the subject, an older one until nothing is sealed to it: deleting the row makes everything sealed to it unreadable.';
--> statement-breakpoint
CREATE INDEX subject_key_kek ON vault.subject_key (kek_id);
--> statement-breakpoint
CREATE INDEX subject_key_superseded ON vault.subject_key (key_id) WHERE superseded_at IS NOT NULL;
--> statement-breakpoint
CREATE INDEX secret_key ON vault.secret (key_id);
--> statement-breakpoint
CREATE TABLE vault.rotation (
  id uuid PRIMARY KEY,
  started_at timestamptz NOT NULL,
  finished_at timestamptz
);
--> statement-breakpoint
COMMENT ON TABLE vault.rotation IS 'Changes of all subject keys to a new generation: subjects whose newest key is older than the start are still to do, so one that was cut short goes on where it was. Kept for good, a row each.';
--> statement-breakpoint
CREATE TABLE vault.form (
  id uuid PRIMARY KEY,
  organization_id text NOT NULL,
  user_id text NOT NULL,
  session_hash text NOT NULL,
  integration text NOT NULL,
  owner_kind text NOT NULL CHECK (owner_kind IN ('user', 'organization')),
  owner_id text NOT NULL,
  credential_id text NOT NULL,
  fields text NOT NULL,
  kek_id text NOT NULL,
  nonce bytea NOT NULL,
  wrapped bytea NOT NULL,
  expires_at timestamptz NOT NULL
);
--> statement-breakpoint
COMMENT ON TABLE vault.form IS 'Credential forms that were opened for a person, each with a nonce that lets one submission in. Deleted when it is accepted; after 10 minutes otherwise.';
--> statement-breakpoint
CREATE INDEX form_expiry ON vault.form (expires_at);
--> statement-breakpoint
CREATE TABLE vault.inbox (
  id uuid PRIMARY KEY,
  organization_id text NOT NULL,
  form_id uuid NOT NULL,
  user_id text NOT NULL,
  session_hash text NOT NULL,
  integration text NOT NULL,
  owner_kind text NOT NULL CHECK (owner_kind IN ('user', 'organization')),
  owner_id text NOT NULL,
  credential_id text NOT NULL,
  key_id uuid NOT NULL,
  alg text NOT NULL,
  nonce bytea NOT NULL CHECK (octet_length(nonce) <= 64),
  ciphertext bytea CHECK (octet_length(ciphertext) <= 131072),
  sealed bytea CHECK (octet_length(sealed) <= 256),
  submitted_at timestamptz NOT NULL DEFAULT now(),
  quarantined_at timestamptz,
  reason text,
  CHECK ((quarantined_at IS NULL) = (reason IS NULL)),
  CHECK ((quarantined_at IS NULL) = (ciphertext IS NOT NULL AND sealed IS NOT NULL))
);
--> statement-breakpoint
COMMENT ON TABLE vault.inbox IS 'Credentials that were typed, sealed by a process that cannot open them, until the vault has accepted or refused them. Accepted ones are deleted at once. A refused one loses its ciphertext and stays 30 days as a record of the attempt.';
--> statement-breakpoint
CREATE INDEX inbox_waiting ON vault.inbox (submitted_at) WHERE quarantined_at IS NULL;
--> statement-breakpoint
CREATE INDEX inbox_key ON vault.inbox (key_id) WHERE quarantined_at IS NULL;
--> statement-breakpoint
CREATE INDEX inbox_quarantine ON vault.inbox (quarantined_at) WHERE quarantined_at IS NOT NULL;
--> statement-breakpoint
CREATE TABLE vault.erasure (
  id uuid PRIMARY KEY,
  organization_id text NOT NULL,
  user_id text,
  erased_at timestamptz NOT NULL
);
--> statement-breakpoint
COMMENT ON TABLE vault.erasure IS 'The erasure ledger: who was erased and when, a person, or without one the whole organisation. Append-only, copied to a file outside the database, and replayed before a restored copy may serve. Kept for good.';
--> statement-breakpoint
CREATE INDEX erasure_organization ON vault.erasure (organization_id, user_id);
--> statement-breakpoint
DO $$
DECLARE
  name text;
  own text := 'organization_id = (SELECT nullif(current_setting(''app.organization'', true), ''''))';
BEGIN
  FOREACH name IN ARRAY ARRAY['rotation', 'form', 'inbox', 'erasure'] LOOP
    EXECUTE format('ALTER TABLE vault.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE vault.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY keeper ON vault.%I TO tributary_keeper USING (true) WITH CHECK (true)', name);
  END LOOP;
  FOREACH name IN ARRAY ARRAY['form', 'inbox', 'erasure'] LOOP
    EXECUTE format('CREATE POLICY organization ON vault.%I TO tributary_vault USING (%s) WITH CHECK (%s)', name, own, own);
  END LOOP;
  -- The writer's whole way into the vault: it sees public keys, and puts something into the inbox.
  EXECUTE format('CREATE POLICY writer ON vault.subject_key FOR SELECT TO tributary_writer USING (%s)', own);
  EXECUTE format('CREATE POLICY writer ON vault.inbox FOR INSERT TO tributary_writer WITH CHECK (%s)', own);
END
$$;
--> statement-breakpoint
GRANT USAGE ON SCHEMA vault TO tributary_writer;
--> statement-breakpoint
GRANT SELECT (key_id, organization_id, owner_kind, owner_id, generation, public_key, signature) ON vault.subject_key TO tributary_writer;
--> statement-breakpoint
GRANT INSERT (id, organization_id, form_id, user_id, session_hash, integration, owner_kind, owner_id, credential_id, key_id, alg, nonce, ciphertext, sealed) ON vault.inbox TO tributary_writer;
--> statement-breakpoint
GRANT SELECT, INSERT, DELETE ON vault.form TO tributary_vault;
--> statement-breakpoint
GRANT SELECT, UPDATE, DELETE ON vault.inbox TO tributary_vault;
--> statement-breakpoint
GRANT SELECT, INSERT ON vault.erasure TO tributary_vault;
--> statement-breakpoint
GRANT SELECT, DELETE ON vault.form TO tributary_keeper;
--> statement-breakpoint
GRANT SELECT, UPDATE, DELETE ON vault.inbox TO tributary_keeper;
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE ON vault.rotation TO tributary_keeper;
--> statement-breakpoint
GRANT SELECT, INSERT ON vault.erasure TO tributary_keeper;
