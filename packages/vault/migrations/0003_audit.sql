-- The audit: what happened to credentials, keys and permissions, chained by hashes, one chain an organisation.
--
-- The tables belong to the hub's login and are open to one role, which no process can take: it is not granted to the
-- login for longer than this migration. Its functions are the only way in; there is no way to change an entry.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tributary_recorder') THEN
    BEGIN
      CREATE ROLE tributary_recorder NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
    -- Roles belong to the whole server: another database may be making it at this moment.
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
  END IF;
END
$$;
--> statement-breakpoint
CREATE TABLE vault.audit (
  organization_id text NOT NULL,
  sequence bigint NOT NULL CHECK (sequence > 0),
  at timestamptz NOT NULL,
  action text NOT NULL CHECK (action ~ '^[a-z]+(\.[a-z_]+)+$' AND length(action) <= 64),
  actor text NOT NULL CHECK (length(actor) <= 200),
  integration text CHECK (length(integration) <= 200),
  owner_kind text CHECK (owner_kind IN ('user', 'organization')),
  owner_id text CHECK (length(owner_id) <= 200),
  credential_id text CHECK (length(credential_id) <= 200),
  secret_id uuid,
  revision bigint,
  detail text NOT NULL CHECK (length(detail) <= 500),
  correlation_id text NOT NULL CHECK (length(correlation_id) <= 200),
  hash bytea NOT NULL CHECK (octet_length(hash) = 32),
  PRIMARY KEY (organization_id, sequence)
);
--> statement-breakpoint
COMMENT ON TABLE vault.audit IS 'What happened to credentials, keys and permissions: openings (one entry a run and credential, committed before anything is decrypted), changes, erasures. Each entry holds the hash of itself and of the one before. Never changed; the oldest go after 400 days.';
--> statement-breakpoint
CREATE INDEX audit_credential ON vault.audit (organization_id, credential_id, correlation_id) WHERE credential_id IS NOT NULL;
--> statement-breakpoint
CREATE INDEX audit_secret ON vault.audit (organization_id, secret_id, sequence DESC) WHERE secret_id IS NOT NULL;
--> statement-breakpoint
CREATE TABLE vault.audit_head (
  organization_id text PRIMARY KEY,
  sequence bigint NOT NULL,
  at timestamptz NOT NULL,
  hash bytea NOT NULL,
  base_sequence bigint NOT NULL DEFAULT 0,
  base_at timestamptz,
  base_hash bytea NOT NULL DEFAULT '\x0000000000000000000000000000000000000000000000000000000000000000'
) WITH (fillfactor = 50);
--> statement-breakpoint
COMMENT ON TABLE vault.audit_head IS 'Where each organisation''s chain of audit entries ends, and after which entry it begins since the older ones had their time. Its row is the lock under which entries follow each other. One row an organisation, for good.';
--> statement-breakpoint
CREATE FUNCTION vault.audit_part(p text) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = ''
RETURN CASE WHEN p IS NULL THEN '\xffffffff'::bytea
  ELSE pg_catalog.int4send(pg_catalog.octet_length(pg_catalog.convert_to(p, 'UTF8'))) OPERATOR(pg_catalog.||) pg_catalog.convert_to(p, 'UTF8') END;
--> statement-breakpoint
COMMENT ON FUNCTION vault.audit_part(text) IS 'One part of what is hashed: its length before it, so that two different entries never have one encoding. NULL is a length that nothing has.';
--> statement-breakpoint
CREATE FUNCTION vault.audit_hash(p_before bytea, p vault.audit) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = ''
RETURN pg_catalog.sha256(p_before
  OPERATOR(pg_catalog.||) vault.audit_part('vault/v1') OPERATOR(pg_catalog.||) vault.audit_part('audit')
  OPERATOR(pg_catalog.||) vault.audit_part((p).organization_id) OPERATOR(pg_catalog.||) vault.audit_part((p).sequence::pg_catalog.text)
  OPERATOR(pg_catalog.||) vault.audit_part(((EXTRACT(epoch FROM (p).at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8)::pg_catalog.text)
  OPERATOR(pg_catalog.||) vault.audit_part((p).action) OPERATOR(pg_catalog.||) vault.audit_part((p).actor)
  OPERATOR(pg_catalog.||) vault.audit_part((p).integration) OPERATOR(pg_catalog.||) vault.audit_part((p).owner_kind)
  OPERATOR(pg_catalog.||) vault.audit_part((p).owner_id) OPERATOR(pg_catalog.||) vault.audit_part((p).credential_id)
  OPERATOR(pg_catalog.||) vault.audit_part((p).secret_id::pg_catalog.text) OPERATOR(pg_catalog.||) vault.audit_part((p).revision::pg_catalog.text)
  OPERATOR(pg_catalog.||) vault.audit_part((p).detail) OPERATOR(pg_catalog.||) vault.audit_part((p).correlation_id));
--> statement-breakpoint
COMMENT ON FUNCTION vault.audit_hash(bytea, vault.audit) IS 'The hash of an entry: SHA-256 of the hash before it and of every column of the entry. The verifier computes it again outside the database.';
--> statement-breakpoint
CREATE FUNCTION vault.chain_audit(
  p_organization_id text, p_action text, p_actor text, p_integration text, p_owner_kind text, p_owner_id text,
  p_credential_id text, p_secret_id uuid, p_revision bigint, p_detail text, p_correlation_id text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  v_head vault.audit_head;
  v_entry vault.audit;
BEGIN
  IF coalesce(pg_catalog.current_setting('app.organization', true), '') NOT IN ('', p_organization_id) THEN
    RAISE insufficient_privilege USING MESSAGE = 'the audit of another organisation';
  END IF;
  SELECT * INTO v_head FROM vault.audit_head WHERE organization_id = p_organization_id FOR UPDATE;
  IF NOT FOUND THEN
    INSERT INTO vault.audit_head (organization_id, sequence, at, hash)
    VALUES (p_organization_id, 0, '-infinity', pg_catalog.decode(pg_catalog.repeat('00', 32), 'hex'))
    ON CONFLICT DO NOTHING;
    SELECT * INTO STRICT v_head FROM vault.audit_head WHERE organization_id = p_organization_id FOR UPDATE;
  END IF;
  -- The clock is read under the lock and never goes back within a chain: entries are in the order of their times.
  v_entry := ROW(p_organization_id, v_head.sequence + 1, GREATEST(pg_catalog.clock_timestamp(), v_head.at), p_action, p_actor,
    p_integration, p_owner_kind, p_owner_id, p_credential_id, p_secret_id, p_revision, p_detail, p_correlation_id, NULL);
  v_entry.hash := vault.audit_hash(v_head.hash, v_entry);
  INSERT INTO vault.audit VALUES (v_entry.*);
  UPDATE vault.audit_head SET sequence = v_entry.sequence, at = v_entry.at, hash = v_entry.hash
  WHERE organization_id = p_organization_id;
  RETURN v_entry.sequence;
END
$$;
--> statement-breakpoint
COMMENT ON FUNCTION vault.chain_audit(text, text, text, text, text, text, text, uuid, bigint, text, text) IS 'Appends an entry to an organisation''s chain and returns its number. Security model: runs as tributary_recorder, the only role that may write the audit and one that no process takes; to be called by the vault''s own functions (tributary_vault, tributary_keeper); refuses another organisation than the transaction''s.';
--> statement-breakpoint
CREATE FUNCTION vault.append_audit(
  p_organization_id text, p_action text, p_actor text, p_integration text, p_owner_kind text, p_owner_id text,
  p_credential_id text, p_secret_id uuid, p_revision bigint, p_detail text, p_correlation_id text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
  -- What the vault anchors in the chain is believed when a credential is opened: nobody else may write it.
  IF p_action ~ '^(credential|key|subject)\.' AND pg_catalog.current_setting('role') NOT IN ('tributary_vault', 'tributary_keeper') THEN
    RAISE insufficient_privilege USING MESSAGE = 'only the vault records what happens to credentials and keys';
  END IF;
  RETURN vault.chain_audit(p_organization_id, p_action, p_actor, p_integration, p_owner_kind, p_owner_id,
    p_credential_id, p_secret_id, p_revision, p_detail, p_correlation_id);
END
$$;
--> statement-breakpoint
COMMENT ON FUNCTION vault.append_audit(text, text, text, text, text, text, text, uuid, bigint, text, text) IS 'Appends an entry, for every role that changes something worth recording. Security model: runs as tributary_recorder; actions credential.*, key.* and subject.* are the vault''s and the keeper''s alone; refuses another organisation than the transaction''s.';
--> statement-breakpoint
CREATE FUNCTION vault.trim_audit(p_before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  v_before timestamptz := LEAST(p_before, pg_catalog.now() - interval '400 days');
  v_head vault.audit_head;
  v_last vault.audit;
  v_count bigint := 0;
BEGIN
  FOR v_head IN SELECT * FROM vault.audit_head ORDER BY organization_id FOR UPDATE LOOP
    SELECT * INTO v_last FROM vault.audit
    WHERE organization_id = v_head.organization_id AND at < v_before ORDER BY sequence DESC LIMIT 1;
    CONTINUE WHEN NOT FOUND;
    DELETE FROM vault.audit WHERE organization_id = v_head.organization_id AND sequence <= v_last.sequence;
    v_count := v_count + v_last.sequence - v_head.base_sequence;
    UPDATE vault.audit_head SET base_sequence = v_last.sequence, base_at = v_last.at, base_hash = v_last.hash
    WHERE organization_id = v_head.organization_id;
  END LOOP;
  RETURN v_count;
END
$$;
--> statement-breakpoint
COMMENT ON FUNCTION vault.trim_audit(timestamptz) IS 'Deletes the oldest entries of every chain, those older than 400 days at most, and records after which hash it goes on. Returns how many. Security model: the only way an entry ever goes; runs as tributary_recorder, for tributary_keeper.';
--> statement-breakpoint
ALTER TABLE vault.audit ENABLE ROW LEVEL SECURITY;
--> statement-breakpoint
ALTER TABLE vault.audit FORCE ROW LEVEL SECURITY;
--> statement-breakpoint
ALTER TABLE vault.audit_head ENABLE ROW LEVEL SECURITY;
--> statement-breakpoint
ALTER TABLE vault.audit_head FORCE ROW LEVEL SECURITY;
--> statement-breakpoint
DO $$
DECLARE
  name text;
  own text := 'organization_id = (SELECT nullif(current_setting(''app.organization'', true), ''''))';
BEGIN
  FOREACH name IN ARRAY ARRAY['audit', 'audit_head'] LOOP
    EXECUTE format('CREATE POLICY organization ON vault.%I FOR SELECT TO tributary_vault USING (%s)', name, own);
    EXECUTE format('CREATE POLICY keeper ON vault.%I FOR SELECT TO tributary_keeper USING (true)', name);
    EXECUTE format('CREATE POLICY recorder ON vault.%I TO tributary_recorder USING (true) WITH CHECK (true)', name);
    EXECUTE format('GRANT SELECT ON vault.%I TO tributary_vault, tributary_keeper', name);
  END LOOP;
END
$$;
--> statement-breakpoint
GRANT USAGE ON SCHEMA vault TO tributary_recorder, tributary_writer, tributary_auth, tributary_upkeep;
--> statement-breakpoint
GRANT SELECT, INSERT, DELETE ON vault.audit TO tributary_recorder;
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE ON vault.audit_head TO tributary_recorder;
--> statement-breakpoint
REVOKE ALL ON FUNCTION vault.chain_audit(text, text, text, text, text, text, text, uuid, bigint, text, text),
  vault.append_audit(text, text, text, text, text, text, text, uuid, bigint, text, text), vault.trim_audit(timestamptz) FROM PUBLIC;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION vault.chain_audit(text, text, text, text, text, text, text, uuid, bigint, text, text) TO tributary_vault, tributary_keeper;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION vault.append_audit(text, text, text, text, text, text, text, uuid, bigint, text, text)
  TO tributary_writer, tributary_vault, tributary_keeper, tributary_auth, tributary_upkeep;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION vault.trim_audit(timestamptz) TO tributary_keeper;
--> statement-breakpoint
-- Giving a function away takes a moment's membership and a moment's right to create; both end here. A superuser needs
-- neither. From PostgreSQL 16 on whoever made a role is counted as a member and may not use it: hence no question first.
DO $$
DECLARE
  name text;
BEGIN
  BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
      EXECUTE format('GRANT tributary_recorder TO %I', current_user);
    END IF;
  -- Then whoever administers the server has made the role and given it to this login, and takes it back afterwards.
  EXCEPTION WHEN insufficient_privilege THEN NULL;
  END;
  GRANT CREATE ON SCHEMA vault TO tributary_recorder;
  FOR name IN SELECT p.oid::regprocedure::text FROM pg_proc p
    WHERE p.pronamespace = 'vault'::regnamespace AND p.proname IN ('chain_audit', 'append_audit', 'trim_audit')
  LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO tributary_recorder', name);
  END LOOP;
  REVOKE CREATE ON SCHEMA vault FROM tributary_recorder;
  BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
      EXECUTE format('REVOKE tributary_recorder FROM %I', current_user);
    END IF;
  EXCEPTION WHEN insufficient_privilege THEN NULL;
  END;
END
$$;
