CREATE TABLE auth.organization (
  id text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  name text NOT NULL,
  created_at timestamptz NOT NULL
);
--> statement-breakpoint
COMMENT ON TABLE auth.organization IS 'The tenants. The id is also a token of NATS subjects, hence its alphabet. Kept for good.';
--> statement-breakpoint
CREATE TABLE auth."user" (
  id uuid PRIMARY KEY,
  name text NOT NULL,
  email text NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
--> statement-breakpoint
COMMENT ON TABLE auth."user" IS 'Whoever has signed in, as the identity provider last described them. An e-mail address is for display: it neither identifies nor links. Kept until the person is erased.';
--> statement-breakpoint
CREATE TABLE auth.identity (
  issuer text NOT NULL,
  subject text NOT NULL,
  user_id uuid NOT NULL REFERENCES auth."user" (id) ON DELETE CASCADE,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (issuer, subject)
);
--> statement-breakpoint
COMMENT ON TABLE auth.identity IS 'Which account at which identity provider is which user; holds no token. Written once, at the first sign-in, and never from a session that happens to be present. Kept as long as the user.';
--> statement-breakpoint
CREATE INDEX identity_user ON auth.identity (user_id);
--> statement-breakpoint
CREATE TABLE auth.membership (
  organization_id text NOT NULL REFERENCES auth.organization (id) ON DELETE CASCADE,
  user_id uuid NOT NULL REFERENCES auth."user" (id) ON DELETE CASCADE,
  permissions text[] NOT NULL CHECK (permissions <@ ARRAY['integrations.view', 'integrations.manage', 'integrations.credentials']),
  created_at timestamptz NOT NULL,
  PRIMARY KEY (organization_id, user_id)
);
--> statement-breakpoint
COMMENT ON TABLE auth.membership IS 'Who belongs to which organisation, and what they may do to its integrations. Linking an account of one''s own needs no permission beyond the row. Kept until the person leaves.';
--> statement-breakpoint
CREATE INDEX membership_user ON auth.membership (user_id);
--> statement-breakpoint
CREATE TABLE auth.session (
  hash text PRIMARY KEY CHECK (hash ~ '^[0-9a-f]{64}$'),
  organization_id text NOT NULL,
  user_id uuid NOT NULL,
  created_at timestamptz NOT NULL,
  last_seen_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  FOREIGN KEY (organization_id, user_id) REFERENCES auth.membership (organization_id, user_id) ON DELETE CASCADE
);
--> statement-breakpoint
COMMENT ON TABLE auth.session IS 'Browsers that are signed in, by SHA-256 of the cookie: a dump of this table signs nobody in. Ends with the membership. Deleted on sign-out and by the sweep after 30 days, or 7 days unused.';
--> statement-breakpoint
CREATE INDEX session_member ON auth.session (organization_id, user_id);
--> statement-breakpoint
CREATE INDEX session_expiry ON auth.session (expires_at);
