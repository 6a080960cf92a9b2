import { type Database, type Queryable, run } from "./database.ts";
import { acrossOrganizations, type CrossRole } from "./scope.ts";

/**
 * A JSON column, and what to do when a row of it has lost its shape. The shape is a function beside the table,
 * `<schema>.<table>_<column>_shape(jsonb)`: a constraint asks it at every write, and repair asks it of rows that came past
 * the constraint, such as those of a restored dump.
 */
export interface JsonColumn {
  /** With its schema: "integrations.run". */
  readonly table: string;
  readonly column: string;
  /** The columns that name a row. */
  readonly key: readonly string[];
  /** The table has an `organization_id`. */
  readonly ofOrganization: boolean;
  /** May read the key, and read and write the column, across organisations. */
  readonly role: CrossRole;
  /** SQL of the value that a broken one is replaced with, in terms of the row. */
  readonly reset: string;
  /** What is lost by that, in a sentence for the operator. */
  readonly loses: string;
}

/** A row that breaks its shape. What it holds is not told. */
export interface Misshapen {
  readonly organizationId: string | undefined;
  readonly key: readonly string[];
}

/** @returns at most `limit` rows of the column that break its shape. Reads the whole table. */
export async function findMisshapen(database: Database, column: JsonColumn, limit: number): Promise<Misshapen[]> {
  const organization = column.ofOrganization ? "organization_id" : "NULL::text";
  const text =
    `SELECT ${organization} AS organization, ARRAY[${column.key.map((name) => `"${name}"::text`).join(", ")}] AS key ` +
    `FROM ${column.table} WHERE NOT ${column.table}_${column.column}_shape("${column.column}") LIMIT $1`;
  const rows = await acrossOrganizations(database, column.role, (tx) =>
    run<{ organization: string | null; key: string[] }>(tx, text, [limit]),
  );
  return rows.map(({ organization: id, key }) => ({ organizationId: id ?? undefined, key }));
}

/**
 * Mends one row: every column of it that breaks its shape gets its safe value, in one statement, for a row is checked as a
 * whole. What has its shape stays.
 * @param columns all JSON columns of the row's table.
 */
export async function resetMisshapen(tx: Queryable, columns: readonly JsonColumn[], row: Misshapen): Promise<void> {
  const [first] = columns;
  if (first === undefined) return;
  const breaks = ({ table, column }: JsonColumn): string => `NOT ${table}_${column}_shape("${column}")`;
  const set = columns.map(
    (one) => `"${one.column}" = CASE WHEN ${breaks(one)} THEN ${one.reset} ELSE "${one.column}" END`,
  );
  const where = first.key.map((name, n) => `"${name}"::text = $${n + 1}`).join(" AND ");
  const text = `UPDATE ${first.table} SET ${set.join(", ")} WHERE ${where} AND (${columns.map(breaks).join(" OR ")})`;
  await run(tx, text, row.key);
}
