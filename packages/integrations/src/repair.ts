import {
  acrossOrganizations,
  type Database,
  findMisshapen,
  type JsonColumn,
  type Misshapen,
  resetMisshapen,
} from "@tributary/db";
import { appendAudit } from "@tributary/vault";
import { notice } from "./schema.ts";

/** A row whose JSON lost its shape. */
export interface Damage {
  readonly column: JsonColumn;
  readonly row: Misshapen;
}

const ROWS_MAX = 1000;

/** Finds rows that break the shape of a JSON column: at most 1000 a column. Changes nothing. */
export async function findDamage(database: Database, columns: readonly JsonColumn[]): Promise<Damage[]> {
  const found: Damage[] = [];
  for (const column of columns)
    for (const row of await findMisshapen(database, column, ROWS_MAX)) found.push({ column, row });
  return found;
}

export interface ResetParts {
  readonly database: Database;
  /** All there are: a row is mended as a whole. */
  readonly columns: readonly JsonColumn[];
  readonly uuid: () => string;
  /** Who confirmed it, for the audit. */
  readonly actor: string;
}

/**
 * Resets what is broken in a row to safe values. The organisation's admins are told before it is done, and the audit as well: when the
 * process is killed in between, the next repair finds the row again and tells them once more.
 */
export async function resetDamage(parts: ResetParts, { column, row }: Damage): Promise<void> {
  const { organizationId } = row;
  const place = `${column.table}.${column.column}`;
  const rowKey = row.key.join(" ").slice(0, 500);
  if (organizationId !== undefined)
    await acrossOrganizations(parts.database, "upkeep", async (tx) => {
      await tx.insert(notice).values({ id: parts.uuid(), organizationId, code: "record_reset", place, rowKey });
      await appendAudit(tx, {
        organizationId,
        action: "record.reset",
        actor: parts.actor,
        detail: `${place} ${rowKey}`.slice(0, 500),
      });
    });
  const ofTable = parts.columns.filter(({ table }) => table === column.table);
  await acrossOrganizations(parts.database, column.role, (tx) => resetMisshapen(tx, ofTable, row));
}
