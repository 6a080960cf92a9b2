/**
 * The database could not do what was asked, and whatever was asked had no part in it: it was away, it ended the session, or
 * it had no means to spare. Thrown by `Database.transaction` in place of the driver's error. Nothing was committed, unless
 * the answer to COMMIT was what got lost: whoever asks again must be able to ask twice.
 */
export class DatabaseUnavailable extends Error {
  /** PostgreSQL's SQLSTATE, the system's code of a connection that failed, or the driver's. */
  readonly code: string;
  constructor(code: string, cause: Error) {
    super(`the database was unavailable: ${code}`, { cause });
    this.code = code;
  }
  override get name(): string {
    return "DatabaseUnavailable";
  }
}

/**
 * Whether the database was unavailable, and is all that an error tells of, however it was wrapped on the way.
 * @returns undefined when it was not.
 */
export const databaseUnavailableIn = (error: unknown): DatabaseUnavailable | undefined =>
  causesOf(error).find((one) => one instanceof DatabaseUnavailable);

/**
 * What a transaction failed with, as its caller is to see it. Codes of the system are taken for the database's: nothing else
 * is asked inside a transaction (`assertOutsideTransaction`).
 */
export function asUnavailable(error: unknown): unknown {
  if (databaseUnavailableIn(error) !== undefined) return error;
  for (const one of causesOf(error)) {
    const { code } = one as { readonly code?: unknown };
    // The innermost is named as the cause: what is around it may quote the statement's parameters.
    if (typeof code === "string" && tellsUnavailable(code)) return new DatabaseUnavailable(code, one);
  }
  return error;
}

const tellsUnavailable = (code: string): boolean =>
  OF_CONNECTIONS.has(code) || SQLSTATES.has(code) || (code.length === 5 && SQLSTATE_CLASSES.has(code.slice(0, 2)));

/** The driver's, and the system's for a connection that cannot be made or is lost. */
const OF_CONNECTIONS = new Set([
  "CONNECTION_CLOSED",
  "CONNECTION_DESTROYED",
  "CONNECTION_ENDED",
  "CONNECT_TIMEOUT",
  "EADDRNOTAVAIL",
  "EAI_AGAIN",
  "ECONNABORTED",
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "EMFILE",
  "ENETDOWN",
  "ENETRESET",
  "ENETUNREACH",
  "ENFILE",
  "ENOTFOUND",
  "EPIPE",
  "ETIMEDOUT",
]);

/**
 * Whole classes (PostgreSQL, appendix A): 08 connection exceptions, 28 the login is refused, 53 insufficient resources (too
 * many connections, disk full, out of memory), 57 an operator's intervention (shut down, starting up, cancelled, timed out),
 * 58 errors of the system around it.
 */
const SQLSTATE_CLASSES = new Set(["08", "28", "53", "57", "58"]);

/**
 * 25006 a server that only reads, as a standby does that took over too early; 25P03 a session that was idle in its transaction
 * for longer than the server allows; 3D000 no such database, as while one is put back; 40001 and 40P01 two transactions that
 * were in each other's way; 55P03 a lock that was not had in time.
 */
const SQLSTATES = new Set(["25006", "25P03", "3D000", "40001", "40P01", "55P03"]);

/** Deeper than errors are ever wrapped, and no end to one that is its own cause. */
const CAUSES_MAX = 8;

function causesOf(error: unknown): Error[] {
  const found: Error[] = [];
  for (let one = error; one instanceof Error && found.length < CAUSES_MAX; one = one.cause) found.push(one);
  return found;
}
