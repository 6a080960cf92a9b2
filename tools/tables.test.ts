import { describe, expect, it } from "vitest";
import { repositoryRoot, sourceFiles, textOf } from "./tree.ts";

const page = textOf(repositoryRoot, "docs/TABLES.md") ?? "";

describe("docs/TABLES.md", () => {
  it("has one row for every table that a migration makes, with its package, and no other", async () => {
    const migrations = (await sourceFiles(repositoryRoot)).filter((file) =>
      /^packages\/[^/]+\/migrations\/[^/]+\.sql$/.test(file),
    );
    const made = tablesOf(migrations.map((file) => [file, textOf(repositoryRoot, file) ?? ""]));
    expect(made.length).toBeGreaterThan(10);
    const rows = page.matchAll(/^\| `([\w.]+)` \| `(packages\/[^`]+)` \|/gm);
    expect([...rows].map(([, table, owner]) => `${owner}: ${table}`).toSorted()).toEqual(made);
  });

  it("leaves no cell of a row empty", () => {
    const rows = page.split("\n").filter((line) => line.startsWith("| `"));
    for (const row of rows) expect(row).toMatch(/^(\| [^|]*[^ |][^|]* ){5}\|$/);
  });
});

describe("the tables of migrations", () => {
  it("are found however they are written; partitions and dropped ones are not tables of their own", () => {
    const text = [
      'CREATE TABLE IF NOT EXISTS auth."user" (id uuid);',
      "create unlogged table auth.cache (id uuid);",
      "CREATE TABLE auth.day PARTITION OF auth.cache DEFAULT;",
      "CREATE TABLE auth.old (id uuid);",
      "DROP TABLE auth.old;",
      "COMMENT ON TABLE auth.cache IS 'CREATE TABLE is only mentioned here.';",
    ].join("\n--> statement-breakpoint\n");
    expect(tablesOf([["packages/auth/migrations/0000_a.sql", text]])).toEqual([
      "packages/auth: auth.cache",
      "packages/auth: auth.user",
    ]);
  });
});

/** "<package>: <schema>.<table>" of every table that is there after all migrations, sorted. */
function tablesOf(migrations: readonly (readonly [file: string, text: string])[]): string[] {
  const tables = new Set<string>();
  for (const [file, text] of migrations) {
    const owner = file.slice(0, file.indexOf("/migrations/"));
    const changes = text.matchAll(
      /^\s*(CREATE|DROP)\s+(?:UNLOGGED\s+)?TABLE\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?([\w."]+)(\s+PARTITION\s+OF)?/gim,
    );
    for (const [, verb = "", name = "", partition] of changes) {
      const table = `${owner}: ${name.replaceAll('"', "")}`;
      if (verb.toUpperCase() === "DROP") tables.delete(table);
      else if (partition === undefined) tables.add(table);
    }
  }
  return [...tables].toSorted();
}
