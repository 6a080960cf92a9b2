import type { Json } from "@tributary/sdk";
import type { LogLine } from "./schema.ts";

const LINES_MAX = 200;
const TEXT_MAX = 200;

/** What a connector says during a run, bounded: kept with the run, not sent to the process's log. */
export interface RunLog {
  readonly lines: readonly LogLine[];
  write(message: string, fields?: Readonly<Record<string, Json>>): void;
}

export function createRunLog(now: () => Date): RunLog {
  const lines: LogLine[] = [];
  return {
    lines,
    write: (message, fields) => {
      if (lines.length >= LINES_MAX) return;
      const line = { at: now().toISOString(), message: cut(message) };
      lines.push(fields === undefined ? line : { ...line, fields: cutFields(fields) });
    },
  };
}

const cut = (text: string): string => (text.length <= TEXT_MAX ? text : `${text.slice(0, TEXT_MAX)}…`);
const cutFields = (fields: Readonly<Record<string, Json>>): Readonly<Record<string, Json>> =>
  Object.fromEntries(
    Object.entries(fields)
      .slice(0, 20)
      .map(([name, value]) => [name, typeof value === "string" ? cut(value) : typeof value === "object" ? "…" : value]),
  );
