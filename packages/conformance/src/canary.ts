import { asOwner, type Database, run } from "@tributary/db";
import { inspect } from "node:util";

/** Planted in every secret that the simulated provider makes, in the client's secret, and in the bodies of made-up answers. */
export const CANARY = "canary-5ec7e7-";

const TABLES = `
SELECT schemaname AS schema, tablename AS name FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2`;

/** @returns the tables that hold a planted secret: as text, or as bytes. */
export async function canariesInTables(database: Database): Promise<string[]> {
  const found: string[] = [];
  for (const { schema, name } of await asOwner(database, (tx) => run<{ schema: string; name: string }>(tx, TABLES))) {
    const rows = await asOwner(database, (tx) =>
      run<{ text: string }>(tx, `SELECT t::text AS text FROM "${schema}"."${name}" t`),
    );
    if (rows.some(({ text }) => holdsCanary(text))) found.push(`table ${schema}.${name}`);
  }
  return found;
}

/** Looks as deep into a value as a debugger would. */
export const holdsCanaryInside = (value: unknown): boolean =>
  holdsCanary(
    inspect(value, { depth: 12, showHidden: true, maxArrayLength: null, maxStringLength: null, breakLength: Infinity }),
  );

/** As it is, in hexadecimal (as bytes are printed), and in base64 at each of the three places where it can begin. */
export const holdsCanary = (text: string): boolean => FORMS.some((form) => text.includes(form));

const FORMS: readonly string[] = [
  CANARY,
  Buffer.from(CANARY).toString("hex"),
  ...[0, 1, 2].map((shift) =>
    Buffer.from(" ".repeat(shift) + CANARY)
      .toString("base64")
      .slice(shift === 0 ? 0 : 4, -4),
  ),
];
