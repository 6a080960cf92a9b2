/**
 * Times that a provider gives without an offset, as to-do lists and calendars do: what a clock on somebody's wall shows.
 * `local` is "YYYY-MM-DDTHH:MM:SS"; a zone is an IANA name, and one that this runtime does not know is read as UTC.
 */

/** The instant at which a clock in the zone shows a local time; the later one of two when clocks go back. */
export function instantOf(local: string, timeZone: string): Date {
  const wall = Date.parse(`${local}Z`);
  const offset = (at: number): number =>
    Date.parse(`${clockIn(timeZone, new Date(at))}Z`) - Math.floor(at / 1000) * 1000;
  const guess = wall - offset(wall);
  return new Date(wall - offset(guess));
}

/** What a clock in the zone shows at an instant. */
export function clockIn(timeZone: string, instant: Date): string {
  const format = (zone: string): string =>
    new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short", timeStyle: "medium" }).format(instant);
  try {
    return format(timeZone).replace(" ", "T");
  } catch {
    return format("UTC").replace(" ", "T");
  }
}
