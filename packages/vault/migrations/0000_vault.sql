CREATE TABLE vault.key_check (
  key_id text PRIMARY KEY,
  check_value bytea NOT NULL CHECK (octet_length(check_value) = 32),
  created_at timestamptz NOT NULL DEFAULT now()
);
--> statement-breakpoint
COMMENT ON TABLE vault.key_check IS 'Proof of each key that data was ever written under, so that a hub with a wrong key stops before it writes. Holds no key. Kept for good.';
--> statement-breakpoint
CREATE TABLE vault.subject_key (
  key_id uuid PRIMARY KEY,
  organization_id text NOT NULL,
  owner_kind text NOT NULL CHECK (owner_kind IN ('user', 'organization')),
  owner_id text NOT NULL,
  generation integer NOT NULL CHECK (generation > 0),
  public_key bytea NOT NULL,
  signature bytea NOT NULL,
  kek_id text NOT NULL REFERENCES vault.key_check (key_id),
  nonce bytea NOT NULL,
  wrapped bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (organization_id, owner_kind, owner_id, generation)
);
--> statement-breakpoint
COMMENT ON TABLE vault.subject_key IS 'The key pair of an organisation or of one of its people, the private half wrapped. Kept as long as the subject: deleting the row makes everything sealed to it unreadable.';
--> statement-breakpoint
CREATE TABLE vault.credential_grant (
  organization_id text NOT NULL,
  credential_id text NOT NULL,
  integration text NOT NULL,
  owner_kind text NOT NULL CHECK (owner_kind IN ('user', 'organization')),
  owner_id text NOT NULL,
  generation bigint NOT NULL CHECK (generation > 0),
  secret_ids jsonb NOT NULL CHECK (jsonb_typeof(secret_ids) = 'object'),
  scopes jsonb NOT NULL CHECK (jsonb_typeof(scopes) = 'array'),
  expires_at timestamptz,
  lease_token bigint NOT NULL DEFAULT 0,
  lease_until timestamptz,
  intent_at timestamptz,
  created_at timestamptz NOT NULL,
  accepted_at timestamptz,
  PRIMARY KEY (organization_id, credential_id)
) WITH (fillfactor = 70);
--> statement-breakpoint
COMMENT ON TABLE vault.credential_grant IS 'What is known of a credential without opening it, and the lease under which it is renewed. Deleted with the credential; after an hour when nobody accepted it.';
--> statement-breakpoint
CREATE INDEX credential_grant_pending ON vault.credential_grant (created_at) WHERE accepted_at IS NULL;
--> statement-breakpoint
CREATE TABLE vault.secret (
  id uuid NOT NULL,
  revision bigint NOT NULL,
  organization_id text NOT NULL,
  credential_id text NOT NULL,
  field text NOT NULL,
  alg text NOT NULL,
  key_id uuid NOT NULL,
  nonce bytea NOT NULL,
  ciphertext bytea NOT NULL,
  sealed bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (id, revision),
  UNIQUE (organization_id, credential_id, field, revision),
  FOREIGN KEY (organization_id, credential_id) REFERENCES vault.credential_grant ON DELETE CASCADE
);
--> statement-breakpoint
COMMENT ON TABLE vault.secret IS 'Ciphertext, one row a secret and revision; a revision is the generation of its grant. The current revision is kept, and of a refresh token the one before.';
--> statement-breakpoint
CREATE TABLE vault.flow (
  id uuid PRIMARY KEY,
  state_hash bytea NOT NULL UNIQUE,
  context_id text NOT NULL,
  organization_id text NOT NULL,
  user_id text NOT NULL,
  session_hash text NOT NULL,
  integration text NOT NULL,
  owner_kind text NOT NULL,
  owner_id text NOT NULL,
  credential_id text NOT NULL,
  connection_id text NOT NULL,
  spec text NOT NULL,
  scopes text NOT NULL,
  kek_id text NOT NULL,
  nonce bytea NOT NULL,
  verifier bytea NOT NULL,
  expires_at timestamptz NOT NULL
);
--> statement-breakpoint
COMMENT ON TABLE vault.flow IS 'Consents that are under way at a provider. Deleted by the callback that uses it; after 10 minutes otherwise.';
--> statement-breakpoint
CREATE INDEX flow_expiry ON vault.flow (expires_at);
--> statement-breakpoint
CREATE TABLE vault.access_log (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now(),
  organization_id text NOT NULL,
  integration text NOT NULL,
  owner_kind text NOT NULL,
  owner_id text NOT NULL,
  credential_id text NOT NULL,
  purpose text NOT NULL,
  correlation_id text NOT NULL
);
--> statement-breakpoint
COMMENT ON TABLE vault.access_log IS 'Who opened which credential and why, one row a run and credential, committed before anything is decrypted. 400 days.';
--> statement-breakpoint
CREATE INDEX access_log_credential ON vault.access_log (organization_id, credential_id, at DESC);
--> statement-breakpoint
CREATE INDEX access_log_age ON vault.access_log (at);
