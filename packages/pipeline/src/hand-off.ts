import { type Database, run } from "@tributary/db";
import type { EventBatch } from "./append.ts";

/** What became readable: a batch of this process, a connection that another process wrote to, or "unknown": look. */
export type Wake =
  | { readonly kind: "batch"; readonly batch: EventBatch; readonly firstSequence: bigint }
  | { readonly kind: "connection"; readonly organizationId: string; readonly connectionId: string }
  | {
      readonly kind: "settled";
      readonly organizationId: string;
      readonly consumer: string;
      readonly connectionId: string;
    }
  | { readonly kind: "unknown" };

/**
 * Tells readers of the ledger what was just committed: in this process with the events themselves, in others by
 * NOTIFY. Everything it says is a hint; readers look for themselves every second or so, and that is the guarantee.
 */
export interface HandOff {
  /** Called after COMMIT with what `append` was given and returned. Never throws, never waits. */
  committed(batch: EventBatch, firstSequence: bigint): void;
  /** Says that a consumer's position was moved by a process that does not serve it. */
  settled(organizationId: string, consumer: string, connectionId: string): void;
  /** Calls back until the returned function is called. */
  subscribe(listener: (wake: Wake) => void): () => void;
  stop(): Promise<void>;
}

const CHANNEL = "tributary_pipeline";

/** A NOTIFY holds fewer than 8,000 bytes; more names than this become "unknown". */
const NAMES_MAX = 50;

/** NOTIFY takes a lock that every committing transaction waits for: one for all that happens in 5 ms costs nothing. */
const COALESCE_MS = 5;

type Name = readonly ["c", string, string] | readonly ["s", string, string, string];

/** @param process Tells this process's own notifications from others'. */
export async function createHandOff(options: {
  readonly database: Database;
  readonly process: string;
}): Promise<HandOff> {
  const { database, process } = options;
  const listeners = new Set<(wake: Wake) => void>();
  const names = new Map<string, Name>();
  let timer: NodeJS.Timeout | undefined;
  let sending: Promise<unknown> = Promise.resolve();
  const tell = (wake: Wake): void => {
    for (const listener of listeners) listener(wake);
  };

  function announce(name: Name): void {
    if (database.engine === "pglite") return;
    if (names.size <= NAMES_MAX) names.set(name.join(" "), name);
    timer ??= setTimeout(() => {
      timer = undefined;
      const all = names.size > NAMES_MAX ? undefined : [...names.values()];
      names.clear();
      // A lost notification costs others a second: no reason to stop.
      sending = run(database.query, "SELECT pg_notify($1, $2)", [CHANNEL, JSON.stringify([process, all])]).catch(
        () => {},
      );
    }, COALESCE_MS);
  }

  const unlisten =
    database.engine === "pglite" ? undefined : await database.listen(CHANNEL, (text) => hear(text, process, tell));
  return {
    committed: (batch, firstSequence) => {
      tell({ kind: "batch", batch, firstSequence });
      announce(["c", batch.organizationId, batch.connectionId]);
    },
    settled: (organizationId, consumer, connectionId) => {
      tell({ kind: "settled", organizationId, consumer, connectionId });
      announce(["s", organizationId, connectionId, consumer]);
    },
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    stop: async () => {
      listeners.clear();
      clearTimeout(timer);
      await sending;
      await unlisten?.();
    },
  };
}

function hear(text: string, process: string, tell: (wake: Wake) => void): void {
  const [from, names] = JSON.parse(text) as [string, Name[] | null];
  if (from === process) return;
  if (names === null) tell({ kind: "unknown" });
  for (const name of names ?? []) {
    const [kind, organizationId, connectionId, consumer = ""] = name;
    if (kind === "c") tell({ kind: "connection", organizationId, connectionId });
    else tell({ kind: "settled", organizationId, consumer, connectionId });
  }
}
