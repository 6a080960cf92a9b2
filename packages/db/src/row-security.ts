import { type Queryable, run } from "./database.ts";
import { HUB_ROLE } from "./roles.ts";
import { CROSS_ROLES, ORGANIZATION_ROLES, roleName } from "./scope.ts";

/**
 * Every way in which the catalog would let a query past its organisation, a line each; none when all is well.
 * @param schemas the schemas of our packages; their `migration` tables hold no tenant's data and are nobody's.
 */
export async function rowSecurityFaults(tx: Queryable, schemas: readonly string[]): Promise<string[]> {
  const roles = [HUB_ROLE, ...[...ORGANIZATION_ROLES, ...CROSS_ROLES].map((role) => roleName(role))];
  const rows = await run<{ fault: string }>(tx, FAULTS, [schemas, roles]);
  return rows.map(({ fault }) => fault);
}

const FAULTS = `
WITH relation AS (
  SELECT c.*, n.nspname || '.' || c.relname AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = ANY ($1::text[]) AND c.relname <> 'migration'
)
SELECT name || ' has no forced row-level security' AS fault FROM relation
WHERE relkind IN ('r', 'p') AND NOT (relrowsecurity AND relforcerowsecurity)
UNION ALL
SELECT name || ' has no policy' FROM relation
WHERE relkind IN ('r', 'p') AND NOT relispartition AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = relation.oid)
UNION ALL
SELECT name || ' is a view with its owner''s rights' FROM relation
WHERE relkind = 'v' AND NOT coalesce(reloptions @> ARRAY['security_invoker=true'], false)
UNION ALL
SELECT name || ' is a materialized view, which knows no policies' FROM relation WHERE relkind = 'm'
UNION ALL
SELECT name || ' lets ' || grantee.rolname || ' past its policies by TRUNCATE' FROM relation
CROSS JOIN LATERAL aclexplode(relacl) AS acl JOIN pg_roles grantee ON grantee.oid = acl.grantee
WHERE grantee.rolname = ANY ($2::text[]) AND acl.privilege_type = 'TRUNCATE'
UNION ALL
SELECT name || ' is open to everybody' FROM relation
CROSS JOIN LATERAL aclexplode(relacl) AS acl WHERE acl.grantee = 0
UNION ALL
SELECT name || ' belongs to ' || owner.rolname || ', which may only use it' FROM relation
JOIN pg_roles owner ON owner.oid = relation.relowner WHERE owner.rolname = ANY ($2::text[])
UNION ALL
SELECT p.oid::regprocedure::text || ' runs with its owner''s rights and an open search path'
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = ANY ($1::text[]) AND p.prosecdef
  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS setting WHERE setting LIKE 'search_path=%')
UNION ALL
SELECT rolname || ' may do more than a role should' FROM pg_roles
WHERE rolname = ANY ($2::text[]) AND (rolsuper OR rolbypassrls OR rolcanlogin OR rolcreaterole)
ORDER BY 1`;
