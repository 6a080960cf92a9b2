import { subscribe } from "node:diagnostics_channel";
import { setImmediate as nextTurn } from "node:timers/promises";
import { inProcess, never, type Process } from "./processes.ts";
import { forgetTimersOf } from "./virtual-timers.ts";

/** Where a process waits for its turn: before a transaction; or a request of its, at the provider. */
export interface Gate {
  readonly kind: "transaction" | "request" | "answer";
  readonly process: Process;
  /** The step of the runtime that this follows, such as "commit.before". */
  readonly near?: string | undefined;
  /** For the story. */
  readonly what: () => string;
  /** Lets it go on. What `fate` means is the business of whoever waits there. */
  readonly open: (fate: string) => void;
}

/**
 * One thing happens at a time, and what happens next is chosen: every transaction and every request of a simulated
 * process waits at a gate until it is let through, and nobody is let through before all the others have come to a stand,
 * at a gate of theirs or in a sleep. So a seed decides every interleaving, whatever the machine is busy with.
 */
export interface Turns {
  /** Who waits, in the order in which they came. */
  readonly gates: readonly Gate[];
  /** Waits for a turn. @returns the fate that it was let through with; nothing, ever, when the process is dead. */
  wait(gate: Omit<Gate, "open">): Promise<string>;
  /** @param gate one of `gates`. */
  open(gate: Gate, fate: string): void;
  /** Runs something of a process: a call that came in, or what it does by itself. */
  start(process: Process, work: () => Promise<void>): void;
  /** Counts a piece of work that has to be over before the next turn. */
  during<T>(work: () => Promise<T>): Promise<T>;
  /** Resolves when nothing moves any more. @throws Error when that does not happen. */
  settle(): Promise<void>;
  /** Ends a process where it stands: nothing of it runs any more. Its requests are on their way all the same. */
  kill(process: Process): void;
}

const STANDSTILL_MS = 30_000;
/** Turns of the event loop without anything to do, after which nothing comes by itself. */
const CALM = 4;

export function createTurns(): Turns {
  let gates: Gate[] = [];
  let underWay = 0;
  const moving = (): boolean =>
    underWay > 0 || requests.size + digests > gates.filter(({ kind }) => kind !== "transaction").length;
  return {
    get gates() {
      return gates;
    },
    wait: (gate) => {
      if (gate.kind === "transaction" && gate.process.dead) return never();
      return new Promise((resolve) => gates.push({ ...gate, open: resolve }));
    },
    open: (gate, fate) => {
      gates = gates.filter((one) => one !== gate);
      gate.open(fate);
    },
    start: (process, work) => inProcess(process, () => void work()),
    during: async (work) => {
      underWay++;
      try {
        return await work();
      } finally {
        underWay--;
      }
    },
    settle: async () => {
      const late = performance.now() + STANDSTILL_MS;
      for (let calm = 0; calm < CALM; calm = moving() ? 0 : calm + 1) {
        await nextTurn();
        if (performance.now() > late)
          throw new Error(`the simulation stands still: ${underWay} transactions, ${requests.size} requests`);
      }
    },
    kill: (process) => {
      process.dead = true;
      gates = gates.filter((gate) => gate.kind !== "transaction" || gate.process !== process);
      forgetTimersOf(process);
    },
  };
}

/** Requests that were sent and whose answer has not come to its end; what waits at the provider's gate included. */
const requests = new Set<unknown>();
const requestOf = (message: unknown): unknown => (message as { request: unknown }).request;
subscribe("undici:request:create", (message) => void requests.add(requestOf(message)));
subscribe("undici:request:trailers", (message) => void requests.delete(requestOf(message)));
subscribe("undici:request:error", (message) => void requests.delete(requestOf(message)));

/** The one thing that the runtime leaves to the thread pool: hashing a PKCE verifier. */
let digests = 0;
const { digest } = SubtleCrypto.prototype;
SubtleCrypto.prototype.digest = async function (this: SubtleCrypto, ...words) {
  digests++;
  try {
    return await digest.apply(this, words);
  } finally {
    digests--;
  }
};
