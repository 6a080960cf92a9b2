-- What each JSON column may hold, as a function of its own: <table>_<column>_shape. NOT VALID, for a row that breaks one
-- already must not keep a hub from starting: `tributary repair` finds such rows by the same functions.
CREATE FUNCTION vault.credential_grant_secret_ids_shape(p jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(p) = 'object' THEN NOT EXISTS (
  SELECT FROM jsonb_each(p) AS e WHERE jsonb_typeof(e.value) <> 'string'
    OR (e.value #>> '{}') !~ '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$')
  ELSE false END;
--> statement-breakpoint
COMMENT ON FUNCTION vault.credential_grant_secret_ids_shape(jsonb) IS 'Ids of secrets by name: { name: uuid }.';
--> statement-breakpoint
CREATE FUNCTION vault.credential_grant_scopes_shape(p jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(p) = 'array' THEN
  NOT EXISTS (SELECT FROM jsonb_array_elements(p) AS e WHERE jsonb_typeof(e.value) <> 'string') ELSE false END;
--> statement-breakpoint
COMMENT ON FUNCTION vault.credential_grant_scopes_shape(jsonb) IS 'Scopes as the provider names them: [string].';
--> statement-breakpoint
ALTER TABLE vault.credential_grant
  ADD CONSTRAINT credential_grant_secret_ids_shape CHECK (vault.credential_grant_secret_ids_shape(secret_ids)) NOT VALID,
  ADD CONSTRAINT credential_grant_scopes_shape CHECK (vault.credential_grant_scopes_shape(scopes)) NOT VALID;
