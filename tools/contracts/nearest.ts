/** More slips than this are another word. */
const SLIPS_MAX = 3;

/** The name that somebody may have meant: the closest one, when it is at most three letters away; case does not count. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const slips = known.map((each) => [slipsBetween(name.toLowerCase(), each.toLowerCase()), each] as const);
  const [closest] = slips.toSorted(([a], [b]) => a - b);
  // Of a short name three letters are all of it.
  return closest !== undefined && closest[0] <= Math.min(SLIPS_MAX, name.length / 3) ? closest[1] : undefined;
}

/** Levenshtein's distance: letters that were left out, put in or exchanged. */
function slipsBetween(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [row, letter] of a.split("").entries()) {
    const line = [row + 1];
    for (const [column, other] of b.split("").entries())
      line.push(
        Math.min(
          (line[column] ?? 0) + 1,
          (above[column + 1] ?? 0) + 1,
          (above[column] ?? 0) + (letter === other ? 0 : 1),
        ),
      );
    above = line;
  }
  return above[b.length] ?? 0;
}
