-- What each JSON column may hold, as a function of its own: <table>_<column>_shape. A write that breaks a shape is refused.
-- The constraints are NOT VALID, for a row that breaks one already must not keep a hub from starting: `tributary repair`
-- finds such rows by the same functions.
CREATE FUNCTION integrations.credential_secret_ids_shape(p jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(p) = 'object' THEN NOT EXISTS (
  SELECT FROM jsonb_each(p) AS e WHERE jsonb_typeof(e.value) <> 'string'
    OR (e.value #>> '{}') !~ '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$')
  ELSE false END;
--> statement-breakpoint
COMMENT ON FUNCTION integrations.credential_secret_ids_shape(jsonb) IS 'The vault''s ids by name: { name: uuid }.';
--> statement-breakpoint
CREATE FUNCTION integrations.credential_meta_shape(p jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(p) = 'object' THEN coalesce(
  p ->> 'v' = '1' AND jsonb_typeof(p -> 'v') = 'string' AND coalesce(p -> 'backfilling', 'true') = 'true'
  AND p - 'v' - 'cursor' - 'backfilling' = '{}', false) ELSE false END;
--> statement-breakpoint
COMMENT ON FUNCTION integrations.credential_meta_shape(jsonb) IS '{ v: "1", cursor?: whatever the connector put there, backfilling?: true }.';
--> statement-breakpoint
CREATE FUNCTION integrations.run_log_shape(p jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(p) = 'array' THEN jsonb_array_length(p) <= 200 AND NOT EXISTS (
  SELECT FROM jsonb_array_elements(p) AS e WHERE CASE WHEN jsonb_typeof(e.value) = 'object' THEN
      coalesce(jsonb_typeof(e.value -> 'at') <> 'string' OR jsonb_typeof(e.value -> 'message') <> 'string', true)
      OR coalesce(jsonb_typeof(e.value -> 'fields'), 'object') <> 'object'
      OR e.value - 'at' - 'message' - 'fields' <> '{}'
    ELSE true END)
  ELSE false END;
--> statement-breakpoint
COMMENT ON FUNCTION integrations.run_log_shape(jsonb) IS '[{ at: string, message: string, fields?: object }], 200 lines at most.';
--> statement-breakpoint
CREATE FUNCTION integrations.action_outcome_shape(p jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN p IS NULL THEN NULL WHEN jsonb_typeof(p) = 'object' THEN
  p - 'id' = '{}' AND coalesce(jsonb_typeof(p -> 'id'), 'string') = 'string'
  OR p - 'rejected' = '{}' AND coalesce(jsonb_typeof(p -> 'rejected') = 'string', false)
  ELSE false END;
--> statement-breakpoint
COMMENT ON FUNCTION integrations.action_outcome_shape(jsonb) IS '{ id?: string } or { rejected: string }.';
--> statement-breakpoint
ALTER TABLE integrations.credential
  ADD CONSTRAINT credential_secret_ids_shape CHECK (integrations.credential_secret_ids_shape(secret_ids)) NOT VALID,
  ADD CONSTRAINT credential_meta_shape CHECK (integrations.credential_meta_shape(meta)) NOT VALID;
--> statement-breakpoint
ALTER TABLE integrations.run ADD CONSTRAINT run_log_shape CHECK (integrations.run_log_shape(log)) NOT VALID;
--> statement-breakpoint
ALTER TABLE integrations.action ADD CONSTRAINT action_outcome_shape CHECK (integrations.action_outcome_shape(outcome)) NOT VALID;
--> statement-breakpoint
CREATE TABLE integrations.setting (
  organization_id text NOT NULL,
  integration text NOT NULL,
  enabled boolean NOT NULL DEFAULT false,
  api_version text,
  config jsonb NOT NULL DEFAULT '{"v": 1}',
  version bigint NOT NULL DEFAULT 1,
  updated_by text NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (organization_id, integration)
);
--> statement-breakpoint
COMMENT ON TABLE integrations.setting IS 'An integration as an organisation sees it: enabled or not, at which API version, configured how. Holds no credential: one that is found in config is moved into the vault. Kept as long as the organisation.';
--> statement-breakpoint
CREATE FUNCTION integrations.setting_config_shape(p jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(p) = 'object' THEN coalesce(p -> 'v' = '1' AND length(p::text) <= 16384, false) ELSE false END;
--> statement-breakpoint
COMMENT ON FUNCTION integrations.setting_config_shape(jsonb) IS '{ v: 1, … }: what an integration asks its organisation to set, 16,384 characters at most.';
--> statement-breakpoint
ALTER TABLE integrations.setting ADD CONSTRAINT setting_config_shape CHECK (integrations.setting_config_shape(config)) NOT VALID;
--> statement-breakpoint
CREATE TABLE integrations.notice (
  id uuid PRIMARY KEY,
  organization_id text NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  code text NOT NULL CHECK (code IN ('record_reset', 'secret_moved')),
  place text NOT NULL CHECK (length(place) <= 200),
  row_key text NOT NULL CHECK (length(row_key) <= 500)
);
--> statement-breakpoint
COMMENT ON TABLE integrations.notice IS 'What an organisation''s admins have to be told: a damaged record was reset, a credential was found in the open. Names the place, never the value. 90 days.';
--> statement-breakpoint
CREATE INDEX notice_newest ON integrations.notice (organization_id, at DESC);
--> statement-breakpoint
CREATE INDEX notice_age ON integrations.notice (at);
--> statement-breakpoint
DO $$
DECLARE
  name text;
  own text := 'organization_id = (SELECT nullif(current_setting(''app.organization'', true), ''''))';
BEGIN
  FOREACH name IN ARRAY ARRAY['setting', 'notice'] LOOP
    EXECUTE format('ALTER TABLE integrations.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE integrations.%I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY organization ON integrations.%I TO tributary_writer, tributary_reader USING (%s) WITH CHECK (%s)', name, own, own);
    EXECUTE format('CREATE POLICY upkeep ON integrations.%I TO tributary_upkeep USING (true) WITH CHECK (true)', name);
    EXECUTE format('GRANT SELECT ON integrations.%I TO tributary_reader', name);
  END LOOP;
END
$$;
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON integrations.setting TO tributary_writer;
--> statement-breakpoint
GRANT SELECT, INSERT ON integrations.notice TO tributary_writer;
--> statement-breakpoint
GRANT SELECT, INSERT, DELETE ON integrations.notice TO tributary_upkeep;
--> statement-breakpoint
-- Repair finds and resets across organisations, and reaches these columns alone.
GRANT SELECT, UPDATE (config) ON integrations.setting TO tributary_upkeep;
--> statement-breakpoint
GRANT UPDATE (secret_ids, meta) ON integrations.credential TO tributary_upkeep;
--> statement-breakpoint
GRANT UPDATE (log) ON integrations.run TO tributary_upkeep;
--> statement-breakpoint
GRANT UPDATE (outcome) ON integrations.action TO tributary_upkeep;
