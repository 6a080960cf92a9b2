import type { Log } from "@tributary/integrations";
import { pino } from "pino";

/** Fields that may appear in the log: ids, codes, counts, times. Anything else is dropped, so that nothing leaks by habit. */
const ALLOWED = new Set([
  "action",
  "attempted_org_id",
  "bytes",
  "bytesMax",
  "caller_identity",
  "changeable",
  "claimed",
  "code",
  "connection",
  "connections",
  "connector",
  "consumer",
  "context",
  "correlationId",
  "count",
  "credential",
  "erased",
  "erasure",
  "error",
  "event",
  "events",
  "failures",
  "filter",
  "found",
  "held",
  "id",
  "integration",
  "is",
  "lag",
  "left",
  "method",
  "ms",
  "organization",
  "origin",
  "outcome",
  "path",
  "port",
  "reason",
  "receipt",
  "rejection_reason",
  "repair",
  "replay",
  "request_id",
  "roles",
  "route",
  "rpc",
  "run",
  "sequence",
  "setting",
  "should",
  "signal",
  "state",
  "status",
  "stream",
  "streamSequence",
  "timestamp",
  "type",
  "verdict",
  "version",
  "warning",
]);
const TEXT_MAX = 200;

/** JSON lines on standard error. */
export function createLog(level: string): Log & { debug: Log["info"] } {
  const logger = pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ dest: 2, sync: true }),
  );
  const write =
    (method: "debug" | "info" | "warn" | "error") =>
    (fields: Readonly<Record<string, unknown>>, message: string): void =>
      logger[method](allowed(fields), message);
  return { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
}

const allowed = (fields: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(fields).flatMap(([name, value]) =>
      ALLOWED.has(name) && isPlain(value) ? [[name, cut(value)]] : [],
    ),
  );

const isPlain = (value: unknown): value is string | number | boolean | bigint =>
  ["string", "number", "boolean", "bigint"].includes(typeof value);
/** Control characters end a line or command a terminal, and JSON lets half of them stand as they are. */
const cut = (value: string | number | boolean | bigint): string | number | boolean => {
  if (typeof value === "bigint") return value.toString();
  return typeof value === "string" ? value.slice(0, TEXT_MAX).replaceAll(/[\p{Cc}\u2028\u2029]/gu, "\ufffd") : value;
};
