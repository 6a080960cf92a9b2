/** One request as it is remembered. Bodies are not kept, nor what could hold a secret. */
export interface JournalEntry {
  /** ISO 8601, by the sandbox's clock. */
  readonly at: string;
  readonly method: string;
  readonly path: string;
  /** Values of parameters that are named like a secret are replaced. */
  readonly query: Readonly<Record<string, string>>;
  /** Without credentials and cookies. */
  readonly headers: Readonly<Record<string, string>>;
  /** 0 when the connection was broken instead. */
  readonly status: number;
}

/** What was asked of a simulated provider, and how often it did what. */
export interface Journal {
  record(entry: JournalEntry): void;
  /** The newest {@link ENTRIES_MAX}, oldest first. */
  readonly entries: readonly JournalEntry[];
  count(what: string): void;
  /** How often something happened: "tokens.issued", "tokens.refreshed", "webhooks.sent". 0 for what never did. */
  counted(what: string): number;
  clear(): void;
}

const ENTRIES_MAX = 1000;
const SECRET_HEADERS = new Set(["authorization", "cookie", "set-cookie", "proxy-authorization"]);
const SECRET_PARAMETERS = /token|secret|code|password|state|key/i;

export function createJournal(): Journal {
  let entries: JournalEntry[] = [];
  const counts = new Map<string, number>();
  return {
    record: (entry) => {
      entries.push(entry);
      if (entries.length >= 2 * ENTRIES_MAX) entries = entries.slice(ENTRIES_MAX);
    },
    get entries() {
      return entries.slice(-ENTRIES_MAX);
    },
    count: (what) => void counts.set(what, (counts.get(what) ?? 0) + 1),
    counted: (what) => counts.get(what) ?? 0,
    clear: () => {
      entries = [];
      counts.clear();
    },
  };
}

/** A request without what could be a secret. */
export function withoutSecrets(request: Request): Pick<JournalEntry, "method" | "path" | "query" | "headers"> {
  const { pathname, searchParams } = new URL(request.url);
  return {
    method: request.method,
    path: pathname,
    query: Object.fromEntries(
      [...searchParams].map(([name, value]) => [name, SECRET_PARAMETERS.test(name) ? "(removed)" : value]),
    ),
    headers: Object.fromEntries([...request.headers].filter(([name]) => !SECRET_HEADERS.has(name))),
  };
}
