import { timestampDate, type Timestamp, timestampFromDate, timestampMs } from "@bufbuild/protobuf/wkt";
import { InvalidArgumentError } from "commander";
import { CommandFailure, EXIT } from "./command-line.ts";

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** "30m", "12h", "7d" back from now, or a time as ISO 8601. Refuses anything else as a mistake in the command line. */
export function moment(text: string, now: Date): Timestamp {
  const [, amount, unit = ""] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (amount !== undefined) return timestampFromDate(new Date(now.getTime() - Number(amount) * (UNIT_MS[unit] ?? 0)));
  const date = /^\d{4}-\d\d-\d\d/.test(text) ? new Date(text) : new Date(Number.NaN);
  if (Number.isNaN(date.getTime())) throw new InvalidArgumentError('A time is "30m", "12h" or "7d" ago, or ISO 8601.');
  return timestampFromDate(date);
}

/** {@link moment} as an option's parser. */
export const ago =
  ({ now }: { readonly now: () => Date }) =>
  (text: string): Timestamp =>
    moment(text, now());

/** @throws CommandFailure usage, when nothing can lie between the two. */
export function inOrder(from: Timestamp | undefined, until: Timestamp | undefined): void {
  if (from !== undefined && until !== undefined && timestampMs(from) >= timestampMs(until))
    throw new CommandFailure(EXIT.usage, "--from must be before --until");
}

/** "2026-11-21 06:30:00" in UTC, or "-". */
export const shown = (time: Timestamp | undefined): string =>
  time === undefined ? "-" : timestampDate(time).toISOString().slice(0, 19).replace("T", " ");

/** A count from the command line, within bounds. */
export const count =
  (most: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < 1 || value > most)
      throw new InvalidArgumentError(`It is a whole number from 1 to ${most}.`);
    return value;
  };

/** Collects an option that may be given several times. */
export const several = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];
