/** Rows under headings, in columns as wide as they need; what a terminal would read as an order is shown as "?". */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  const printable = rows.map((row) => row.map((cell) => plain(cell)));
  const widths = headings.map((heading, column) =>
    printable.reduce((widest, row) => Math.max(widest, row[column]?.length ?? 0), heading.length),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd();
  return [line(headings), ...printable.map((row) => line(row))];
}

/** What comes from a provider may hold control characters, and a terminal obeys those. */
export const plain = (text: string): string => text.replace(/[\p{Cc}\p{Cf}]/gu, "?");

/** JSON that a terminal only shows: what it would obey, or what turns a line around, is written as an escape of JSON's own. */
export const plainJson = (json: string): string =>
  json.replace(
    /[\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
