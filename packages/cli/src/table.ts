/** Rows under headings, in columns as wide as they need; what a terminal would read as an order is shown as "?". */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  const printable = rows.map((row) => row.map((cell) => plain(cell)));
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...printable.map((row) => row[column]?.length ?? 0)),
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
