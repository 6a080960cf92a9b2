import { is } from "drizzle-orm";
import { getTableConfig, PgTable } from "drizzle-orm/pg-core";
import { type Database, run } from "../database.ts";

/**
 * Compares a package's Drizzle tables with what its migrations made: tables, columns, types, nullability.
 * @param definitions what its `schema.ts` exports; anything that is no table is passed over.
 * @returns a line for each difference, either way; none when they agree. `migration` and partitions are nobody's.
 */
export async function schemaDrift(database: Database, schema: string, definitions: object): Promise<string[]> {
  const described = Object.values(definitions)
    .filter((one): one is PgTable => is(one, PgTable))
    .map((table) => getTableConfig(table))
    .flatMap(({ name, columns }) =>
      columns.map((column) => `${name}.${column.name} ${column.getSQLType()}${column.notNull ? " not null" : ""}`),
    );
  const rows = await run<{ line: string }>(database.query, COLUMNS, [schema]);
  const made = rows.map(({ line }) => line);
  return [
    ...described.filter((line) => !made.includes(line)).map((line) => `only in schema.ts: ${line}`),
    ...made.filter((line) => !described.includes(line)).map((line) => `only in the database: ${line}`),
  ];
}

const COLUMNS = `
SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END AS line
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'migration'
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname, a.attnum`;
