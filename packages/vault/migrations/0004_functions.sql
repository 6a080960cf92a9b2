-- The one road to what the vault keeps: ciphertext in, ciphertext out. The module uses these functions as anybody would.
DROP TABLE vault.access_log;
--> statement-breakpoint
ALTER TABLE vault.credential_grant ADD COLUMN proposed boolean NOT NULL DEFAULT false;
--> statement-breakpoint
COMMENT ON COLUMN vault.credential_grant.proposed IS 'Laid in by somebody who may not open it; nothing opens it before the vault''s role has accepted it.';
--> statement-breakpoint
CREATE FUNCTION vault.store_credential(
  p_organization_id text, p_id uuid, p_credential_id text, p_integration text, p_owner_kind text, p_owner_id text,
  p_field text, p_revision bigint, p_alg text, p_key_id uuid, p_nonce bytea, p_ciphertext bytea, p_sealed bytea, p_actor text
) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  v_vault boolean := pg_catalog.current_setting('role') = 'tributary_vault';
  v_grant vault.credential_grant;
BEGIN
  IF num_nulls(p_organization_id, p_id, p_credential_id, p_integration, p_owner_kind, p_owner_id, p_field, p_revision,
    p_alg, p_key_id, p_nonce, p_ciphertext, p_sealed, p_actor) > 0 OR pg_catalog.octet_length(p_ciphertext) = 0 THEN
    RAISE null_value_not_allowed USING MESSAGE = 'a credential has no part that is missing';
  END IF;
  INSERT INTO vault.credential_grant
    (organization_id, credential_id, integration, owner_kind, owner_id, generation, secret_ids, scopes, created_at, proposed)
  SELECT p_organization_id, p_credential_id, p_integration, p_owner_kind, p_owner_id, 1, '{}', '[]', pg_catalog.now(), NOT v_vault
  WHERE p_revision = 1
  ON CONFLICT (organization_id, credential_id) DO NOTHING;
  SELECT * INTO v_grant FROM vault.credential_grant
  WHERE organization_id = p_organization_id AND credential_id = p_credential_id AND integration = p_integration
    AND owner_kind = p_owner_kind AND owner_id = p_owner_id FOR UPDATE;
  IF NOT FOUND OR v_grant.generation <> p_revision
    OR coalesce(v_grant.secret_ids ->> p_field, p_id::pg_catalog.text) <> p_id::pg_catalog.text THEN
    RAISE unique_violation USING MESSAGE = 'the credential is another one, or has moved on';
  END IF;
  IF NOT v_vault AND NOT v_grant.proposed THEN
    RAISE insufficient_privilege USING MESSAGE = 'only the vault adds to what it has accepted';
  END IF;
  INSERT INTO vault.secret (id, revision, organization_id, credential_id, field, alg, key_id, nonce, ciphertext, sealed)
  VALUES (p_id, p_revision, p_organization_id, p_credential_id, p_field, p_alg, p_key_id, p_nonce, p_ciphertext, p_sealed);
  UPDATE vault.credential_grant SET secret_ids = secret_ids || pg_catalog.jsonb_build_object(p_field, p_id)
  WHERE organization_id = p_organization_id AND credential_id = p_credential_id AND NOT secret_ids ? p_field;
  PERFORM vault.chain_audit(p_organization_id, 'credential.store', p_actor, p_integration, p_owner_kind, p_owner_id,
    p_credential_id, p_id, p_revision, left(p_field, 500), '');
  RETURN p_id;
END
$$;
--> statement-breakpoint
COMMENT ON FUNCTION vault.store_credential(text, uuid, text, text, text, text, text, bigint, text, uuid, bytea, bytea, bytea, text) IS 'Stores a secret of a credential, sealed by the caller, under the id that the caller chose because it is part of what was authenticated. Returns the id; raises for NULL. Security model: takes ciphertext only, so nothing that PostgreSQL logs or replicates holds a plaintext. For tributary_vault and tributary_writer, each within its transaction''s organisation; runs as tributary_vault under its row-level security. What a writer stores is proposed: nothing opens it before the vault''s role accepts it, and after an hour it is gone. Writes an audit entry that anchors the revision.';
--> statement-breakpoint
CREATE FUNCTION vault.assert_anchored(p_organization_id text, p_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER SET search_path = ''
AS $$
DECLARE
  v_found record;
BEGIN
  -- One snapshot for both: what is stored and what the chain says of it are written in one transaction.
  SELECT (SELECT max(s.revision) FROM vault.secret s WHERE s.organization_id = p_organization_id AND s.id = p_id) AS stored,
    e.revision AS anchored, e.action
  INTO v_found
  FROM vault.audit e
  WHERE e.organization_id = p_organization_id AND e.secret_id = p_id ORDER BY e.sequence DESC LIMIT 1;
  IF FOUND AND (v_found.action = 'credential.delete' OR v_found.stored < v_found.anchored) THEN
    RAISE data_corrupted USING MESSAGE = 'the stored credential is older than the audit says';
  END IF;
END
$$;
--> statement-breakpoint
COMMENT ON FUNCTION vault.assert_anchored(text, uuid) IS 'Raises when a secret is not at the revision that its newest audit entry anchors: an older row was put back, or a deleted one. Security model: runs with its caller''s rights, for tributary_vault. A secret whose last change is older than the audit has no anchor.';
--> statement-breakpoint
CREATE FUNCTION vault.retrieve_credential(
  p_organization_id text, p_id uuid, p_as_of bigint, p_purpose text, p_correlation_id text
) RETURNS TABLE (id uuid, revision bigint, field text, alg text, key_id uuid, nonce bytea, ciphertext bytea, sealed bytea)
LANGUAGE plpgsql SECURITY INVOKER SET search_path = ''
AS $$
DECLARE
  v_secret vault.secret;
  v_grant vault.credential_grant;
BEGIN
  SELECT s.* INTO v_secret FROM vault.secret s
  WHERE s.organization_id = p_organization_id AND s.id = p_id AND (p_as_of IS NULL OR s.revision <= p_as_of)
  ORDER BY s.revision DESC LIMIT 1;
  SELECT g.* INTO v_grant FROM vault.credential_grant g
  WHERE g.organization_id = p_organization_id AND g.credential_id = v_secret.credential_id AND NOT g.proposed;
  IF NOT FOUND THEN
    RAISE no_data_found USING MESSAGE = 'there is no such credential';
  END IF;
  PERFORM vault.assert_anchored(p_organization_id, p_id);
  IF NOT EXISTS (
    SELECT FROM vault.audit e
    WHERE e.organization_id = p_organization_id AND e.credential_id = v_grant.credential_id
      AND e.at > pg_catalog.clock_timestamp() - interval '1 hour'
      AND e.action = 'credential.open' AND e.detail = p_purpose AND e.correlation_id = p_correlation_id
  ) THEN
    PERFORM vault.chain_audit(p_organization_id, 'credential.open', 'vault', v_grant.integration, v_grant.owner_kind,
      v_grant.owner_id, v_grant.credential_id, NULL, NULL, p_purpose, p_correlation_id);
  END IF;
  RETURN QUERY SELECT v_secret.id, v_secret.revision, v_secret.field, v_secret.alg, v_secret.key_id, v_secret.nonce,
    v_secret.ciphertext, v_secret.sealed;
END
$$;
--> statement-breakpoint
COMMENT ON FUNCTION vault.retrieve_credential(text, uuid, bigint, text, text) IS 'Gives a secret''s newest ciphertext, or the newest that is not above a revision; raises when there is none. Security model: ciphertext out; the key that opens it is not in the database. For tributary_vault alone, with its own rights and within its transaction''s organisation. Writes the audit entry in the same transaction, one for each purpose and run and hour, so what cannot be recorded is not given out; the caller opens after the commit. Raises for a row that is older than the audit says.';
--> statement-breakpoint
CREATE FUNCTION vault.rotate_credential(
  p_organization_id text, p_id uuid, p_revision bigint, p_alg text, p_key_id uuid, p_nonce bytea, p_ciphertext bytea,
  p_sealed bytea, p_actor text
) RETURNS uuid
LANGUAGE plpgsql SECURITY INVOKER SET search_path = ''
AS $$
DECLARE
  v_grant vault.credential_grant;
  v_before vault.secret;
BEGIN
  IF num_nulls(p_organization_id, p_id, p_revision, p_alg, p_key_id, p_nonce, p_ciphertext, p_sealed, p_actor) > 0
    OR pg_catalog.octet_length(p_ciphertext) = 0 THEN
    RAISE null_value_not_allowed USING MESSAGE = 'a credential has no part that is missing';
  END IF;
  -- The grant is locked before its secrets are read: two rotations follow each other.
  SELECT g.* INTO v_grant FROM vault.credential_grant g
  WHERE g.organization_id = p_organization_id AND g.credential_id =
    (SELECT s.credential_id FROM vault.secret s WHERE s.organization_id = p_organization_id AND s.id = p_id LIMIT 1)
  FOR UPDATE;
  SELECT s.* INTO v_before FROM vault.secret s
  WHERE s.organization_id = p_organization_id AND s.id = p_id ORDER BY s.revision DESC LIMIT 1;
  IF NOT FOUND THEN
    RAISE no_data_found USING MESSAGE = 'there is no such credential';
  END IF;
  PERFORM vault.assert_anchored(p_organization_id, p_id);
  IF p_revision NOT IN (v_grant.generation, v_grant.generation + 1) OR p_revision <= v_before.revision THEN
    RAISE unique_violation USING MESSAGE = 'the credential is another one, or has moved on';
  END IF;
  UPDATE vault.credential_grant SET generation = p_revision
  WHERE organization_id = p_organization_id AND credential_id = v_grant.credential_id AND generation < p_revision;
  INSERT INTO vault.secret (id, revision, organization_id, credential_id, field, alg, key_id, nonce, ciphertext, sealed)
  VALUES (p_id, p_revision, p_organization_id, v_before.credential_id, v_before.field, p_alg, p_key_id, p_nonce, p_ciphertext, p_sealed);
  -- A provider may yet turn out to have forgotten its last rotation: of a refresh token the one before stays.
  DELETE FROM vault.secret s
  WHERE s.organization_id = p_organization_id AND s.id = p_id
    AND s.revision < CASE WHEN v_before.field = 'refresh_token' THEN v_before.revision ELSE p_revision END;
  PERFORM vault.chain_audit(p_organization_id, 'credential.rotate', p_actor, v_grant.integration, v_grant.owner_kind,
    v_grant.owner_id, v_grant.credential_id, p_id, p_revision, left(v_before.field, 500), '');
  RETURN p_id;
END
$$;
--> statement-breakpoint
COMMENT ON FUNCTION vault.rotate_credential(text, uuid, bigint, text, uuid, bytea, bytea, bytea, text) IS 'Gives a secret a new value under the same id, as the next revision, which the caller has sealed it for; raises when the secret does not exist, for NULL, and when another revision was written meanwhile. Security model: ciphertext in; for tributary_vault alone, with its own rights and within its transaction''s organisation. Writes an audit entry that anchors the revision.';
--> statement-breakpoint
CREATE FUNCTION vault.delete_credential(p_organization_id text, p_id uuid, p_actor text) RETURNS boolean
LANGUAGE plpgsql SECURITY INVOKER SET search_path = ''
AS $$
DECLARE
  v_grant vault.credential_grant;
  v_secret vault.secret;
BEGIN
  SELECT g.* INTO v_grant FROM vault.credential_grant g
  WHERE g.organization_id = p_organization_id AND g.credential_id =
    (SELECT s.credential_id FROM vault.secret s WHERE s.organization_id = p_organization_id AND s.id = p_id LIMIT 1)
  FOR UPDATE;
  SELECT s.* INTO v_secret FROM vault.secret s
  WHERE s.organization_id = p_organization_id AND s.id = p_id ORDER BY s.revision DESC LIMIT 1;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  DELETE FROM vault.secret s WHERE s.organization_id = p_organization_id AND s.id = p_id;
  UPDATE vault.credential_grant SET secret_ids = secret_ids - v_secret.field
  WHERE organization_id = p_organization_id AND credential_id = v_grant.credential_id
    AND secret_ids ->> v_secret.field = p_id::pg_catalog.text;
  DELETE FROM vault.credential_grant
  WHERE organization_id = p_organization_id AND credential_id = v_grant.credential_id AND secret_ids = '{}';
  PERFORM vault.chain_audit(p_organization_id, 'credential.delete', p_actor, v_grant.integration, v_grant.owner_kind,
    v_grant.owner_id, v_grant.credential_id, p_id, v_secret.revision, left(v_secret.field, 500), '');
  RETURN true;
END
$$;
--> statement-breakpoint
COMMENT ON FUNCTION vault.delete_credential(text, uuid, text) IS 'Deletes a secret with all its revisions, and the credential with its last secret; true when there was one, and no error when there was none. Security model: for tributary_vault alone, with its own rights and within its transaction''s organisation. Writes an audit entry; a row that is put back afterwards is refused.';
--> statement-breakpoint
CREATE FUNCTION vault.accept_credential(p_organization_id text, p_credential_id text, p_actor text) RETURNS boolean
LANGUAGE plpgsql SECURITY INVOKER SET search_path = ''
AS $$
DECLARE
  v_grant vault.credential_grant;
BEGIN
  UPDATE vault.credential_grant SET proposed = false, accepted_at = coalesce(accepted_at, pg_catalog.now())
  WHERE organization_id = p_organization_id AND credential_id = p_credential_id AND proposed RETURNING * INTO v_grant;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM vault.chain_audit(p_organization_id, 'credential.accept', p_actor, v_grant.integration, v_grant.owner_kind,
    v_grant.owner_id, v_grant.credential_id, NULL, NULL, '', '');
  RETURN true;
END
$$;
--> statement-breakpoint
COMMENT ON FUNCTION vault.accept_credential(text, text, text) IS 'Makes a credential that a writer proposed one of the vault''s own; true when there was one. Security model: for tributary_vault alone, with its own rights and within its transaction''s organisation: whoever calls it answers for where the proposal came from. Writes an audit entry.';
--> statement-breakpoint
REVOKE ALL ON FUNCTION vault.store_credential(text, uuid, text, text, text, text, text, bigint, text, uuid, bytea, bytea, bytea, text),
  vault.assert_anchored(text, uuid), vault.retrieve_credential(text, uuid, bigint, text, text),
  vault.rotate_credential(text, uuid, bigint, text, uuid, bytea, bytea, bytea, text),
  vault.delete_credential(text, uuid, text), vault.accept_credential(text, text, text) FROM PUBLIC;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION vault.store_credential(text, uuid, text, text, text, text, text, bigint, text, uuid, bytea, bytea, bytea, text)
  TO tributary_vault, tributary_writer;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION vault.assert_anchored(text, uuid), vault.retrieve_credential(text, uuid, bigint, text, text),
  vault.rotate_credential(text, uuid, bigint, text, uuid, bytea, bytea, bytea, text),
  vault.delete_credential(text, uuid, text), vault.accept_credential(text, text, text) TO tributary_vault;
--> statement-breakpoint
-- A function can be given only to a role that may create in its schema; that ends here.
GRANT CREATE ON SCHEMA vault TO tributary_vault;
--> statement-breakpoint
ALTER FUNCTION vault.store_credential(text, uuid, text, text, text, text, text, bigint, text, uuid, bytea, bytea, bytea, text) OWNER TO tributary_vault;
--> statement-breakpoint
REVOKE CREATE ON SCHEMA vault FROM tributary_vault;
