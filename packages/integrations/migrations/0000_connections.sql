CREATE TABLE integrations.connection (
  id uuid PRIMARY KEY,
  organization_id text NOT NULL,
  integration text NOT NULL,
  owner_kind text NOT NULL CHECK (owner_kind IN ('user', 'organization')),
  owner_id text NOT NULL,
  account_id text NOT NULL,
  account_label text NOT NULL,
  api_version text NOT NULL,
  state text NOT NULL CHECK (state IN ('connected', 'syncing', 'error', 'expired', 'paused', 'disconnected')),
  state_since timestamptz NOT NULL DEFAULT now(),
  state_version bigint NOT NULL DEFAULT 1,
  reason_code text,
  reason_message text,
  paused_by text,
  backfill_from timestamptz NOT NULL,
  due_at timestamptz,
  wake boolean NOT NULL DEFAULT false,
  failures integer NOT NULL DEFAULT 0,
  lease_token bigint NOT NULL DEFAULT 0,
  lease_until timestamptz,
  verified_at timestamptz,
  last_event_at timestamptz,
  events_read bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
--> statement-breakpoint
COMMENT ON TABLE integrations.connection IS 'One owner''s link to one integration: its state, its schedule and its lease. Kept after disconnecting, because events and receipts name it.';
--> statement-breakpoint
CREATE UNIQUE INDEX connection_account ON integrations.connection (organization_id, owner_kind, owner_id, integration, account_id) WHERE state <> 'disconnected';
--> statement-breakpoint
CREATE INDEX connection_owner ON integrations.connection (organization_id, owner_kind, owner_id);
--> statement-breakpoint
CREATE INDEX connection_route ON integrations.connection (integration, account_id) WHERE state <> 'disconnected';
--> statement-breakpoint
CREATE INDEX connection_due ON integrations.connection (due_at) WHERE due_at IS NOT NULL;
--> statement-breakpoint
CREATE TABLE integrations.credential (
  id uuid PRIMARY KEY,
  connection_id uuid NOT NULL UNIQUE REFERENCES integrations.connection (id),
  organization_id text NOT NULL,
  integration text NOT NULL,
  secret_ids jsonb NOT NULL CHECK (jsonb_typeof(secret_ids) = 'object'),
  granted_scopes text[] NOT NULL,
  meta jsonb NOT NULL CHECK (jsonb_typeof(meta) = 'object' AND meta ->> 'v' = '1' AND pg_column_size(meta) <= 8192),
  version bigint NOT NULL DEFAULT 1,
  replaces uuid[] NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
--> statement-breakpoint
COMMENT ON TABLE integrations.credential IS 'The row behind a connection: ids of its secrets in the vault, the scopes granted, and meta, which holds the cursor. Deleted when the connection ends.';
--> statement-breakpoint
CREATE INDEX credential_replacing ON integrations.credential (id) WHERE replaces <> '{}';
--> statement-breakpoint
CREATE INDEX credential_recent ON integrations.credential (created_at);
--> statement-breakpoint
CREATE TABLE integrations.object_state (
  connection_id uuid NOT NULL,
  key bytea NOT NULL,
  organization_id text NOT NULL,
  revision bigint NOT NULL,
  mark bytea NOT NULL,
  type text NOT NULL,
  PRIMARY KEY (connection_id, key)
) WITH (fillfactor = 80);
--> statement-breakpoint
COMMENT ON TABLE integrations.object_state IS 'What was last published about each of a connection''s objects; decides what is new. Holds hashes and counters, no content. Kept as long as the connection, so that retention of events never publishes history again.';
--> statement-breakpoint
CREATE TABLE integrations.run (
  id uuid PRIMARY KEY,
  organization_id text NOT NULL,
  connection_id uuid NOT NULL,
  purpose text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz,
  outcome text,
  events integer NOT NULL DEFAULT 0,
  unchanged integer NOT NULL DEFAULT 0,
  log jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(log) = 'array')
);
--> statement-breakpoint
COMMENT ON TABLE integrations.run IS 'One row a run, an action or a check: when, how it ended, what the connector logged. 30 days.';
--> statement-breakpoint
CREATE INDEX run_connection ON integrations.run (connection_id, started_at DESC);
--> statement-breakpoint
CREATE INDEX run_age ON integrations.run (started_at);
--> statement-breakpoint
CREATE TABLE integrations.action (
  organization_id text NOT NULL,
  connection_id uuid NOT NULL,
  idempotency_key uuid NOT NULL,
  type text NOT NULL,
  input_hash bytea NOT NULL,
  outcome jsonb,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (organization_id, connection_id, idempotency_key)
);
--> statement-breakpoint
COMMENT ON TABLE integrations.action IS 'Write-backs by their idempotency key, so that asking twice acts once. 30 days.';
--> statement-breakpoint
CREATE INDEX action_age ON integrations.action (created_at);
--> statement-breakpoint
CREATE TABLE integrations.delivery (
  context_id text NOT NULL,
  delivery_id text NOT NULL,
  integration text NOT NULL,
  received_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (context_id, delivery_id)
);
--> statement-breakpoint
COMMENT ON TABLE integrations.delivery IS 'Webhook requests that were verified and accepted, so that one sent again is dropped. Belongs to an OAuth client, not to an organisation. 14 days.';
--> statement-breakpoint
CREATE INDEX delivery_age ON integrations.delivery (received_at);
--> statement-breakpoint
CREATE TABLE integrations.receipt (
  id uuid PRIMARY KEY,
  organization_id text NOT NULL,
  connection_id uuid NOT NULL UNIQUE,
  integration text NOT NULL,
  owner_kind text NOT NULL,
  owner_id text NOT NULL,
  account_label text NOT NULL,
  credential_id uuid NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  revocation text NOT NULL CHECK (revocation IN ('pending', 'confirmed', 'unsupported', 'given_up')),
  next_attempt_at timestamptz,
  secrets_deleted integer NOT NULL DEFAULT 0,
  events_kept bigint NOT NULL,
  events_deleted bigint NOT NULL
);
--> statement-breakpoint
COMMENT ON TABLE integrations.receipt IS 'What a person is given on leaving: what was revoked, deleted and kept. Also the work list of revocations that the provider has not confirmed. Kept for good.';
--> statement-breakpoint
CREATE INDEX receipt_pending ON integrations.receipt (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
