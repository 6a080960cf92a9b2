import { type Queryable, run } from "./database.ts";
import { CROSS_ROLES, ORGANIZATION_ROLES, roleName } from "./scope.ts";

/** What a connection speaks as once the tables are there: may take every other role, and read nothing by itself. */
export const HUB_ROLE = "tributary_hub";

/**
 * Makes the roles that are missing and lets this login take them. Roles belong to the whole server, so another database
 * may be making them at the same moment.
 * @throws Error (from the database) when the login may not create roles: then whoever administers the server runs
 * {@link CREATE_ROLES} once.
 */
export async function ensureRoles(tx: Queryable): Promise<void> {
  await run(tx, CREATE_ROLES);
}

const names = [HUB_ROLE, ...[...ORGANIZATION_ROLES, ...CROSS_ROLES].map((role) => roleName(role))];

const CREATE_ROLES = `
DO $$
DECLARE
  name text;
  -- From PostgreSQL 16 on, whoever makes a role is its administrator and still may not take it.
  taking text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
  FOREACH name IN ARRAY ARRAY['${names.join("', '")}'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE', name);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
      END;
    END IF;
    IF NOT pg_has_role(current_user, name, taking) THEN
      EXECUTE format('GRANT %I TO %I', name, current_user);
    END IF;
  END LOOP;
END
$$`;
