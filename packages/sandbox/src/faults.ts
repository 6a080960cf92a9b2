/** One way in which a provider misbehaves. Deterministic: what matches, how often, after how many. */
export interface Fault {
  readonly match: {
    readonly method?: string;
    /** Of the path, without the query. Default: every path. */
    readonly path?: string | RegExp;
  };
  /** How many matching requests it hits. Default 1. */
  readonly times?: number;
  /** How many matching requests pass before it. Default 0. */
  readonly after?: number;
  /** Answers with this instead. With `afterEffect` the request has its effect first, and only its answer is lost. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** An object goes as JSON. */
  readonly body?: string | object;
  readonly afterEffect?: boolean;
  /** Waits first, real milliseconds. */
  readonly delayMs?: number;
  /** Promises the whole answer and breaks the connection after so many bytes of it. */
  readonly truncate?: number;
  /** Breaks the connection instead of an answer. */
  readonly reset?: boolean;
}

export interface Faults {
  add(...faults: readonly Fault[]): void;
  clear(): void;
  /** The first fault that hits this request; counts the request for every fault that it matches. */
  take(method: string, path: string): Fault | undefined;
  /** How many faults have hits left. */
  readonly pending: number;
}

const FAULTS_MAX = 1000;

export function createFaults(): Faults {
  let planned: { readonly fault: Fault; skip: number; left: number }[] = [];
  return {
    add: (...faults) => {
      if (planned.length + faults.length > FAULTS_MAX) throw new RangeError(`more than ${FAULTS_MAX} faults`);
      for (const fault of faults) planned.push({ fault, skip: fault.after ?? 0, left: fault.times ?? 1 });
    },
    clear: () => void (planned = []),
    take: (method, path) => {
      let hit: Fault | undefined;
      for (const plan of planned) {
        if (!matches(plan.fault, method, path)) continue;
        if (plan.skip > 0) plan.skip--;
        else if (hit === undefined) {
          hit = plan.fault;
          plan.left--;
        }
      }
      planned = planned.filter(({ left }) => left > 0);
      return hit;
    },
    get pending() {
      return planned.length;
    },
  };
}

function matches({ match }: Fault, method: string, path: string): boolean {
  if (match.method !== undefined && match.method !== method) return false;
  return match.path === undefined || (typeof match.path === "string" ? match.path === path : match.path.test(path));
}
