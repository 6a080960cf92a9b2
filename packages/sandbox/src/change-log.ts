import { createHmac, timingSafeEqual } from "node:crypto";

/**
 * What a provider with sync tokens keeps: the objects as they are, and an append-only log of which changed when.
 * A deleted object stays as a tombstone. A token is signed {generation, sequence, parameters}: one of another
 * generation, of other parameters, or older than the log reaches is refused.
 */
export interface ChangeLog<T> {
  /** Tombstones included. */
  get(id: string): Entry<T> | undefined;
  /** Objects that are not deleted, in the order they were added. */
  live(): T[];
  put(id: string, value: T): void;
  /** @param tombstone what is left to be shown of it. */
  remove(id: string, tombstone: T): void;
  /** Every object that changed after a sequence, once, as it is now, in the order of its last change. */
  changedSince(sequence: number): Entry<T>[];
  readonly sequence: number;
  /** A token for everything up to now. */
  token(parameters: string): string;
  /** @returns the sequence. @throws TokenRefused. */
  read(token: string, parameters: string): number;
  /** Refuses every token given out so far, as a provider does that compacted its log. */
  expireTokens(): void;
  clear(): void;
  /** Everything, for {@link ChangeLog.restore}; shares structure, so write it down at once. */
  snapshot(): unknown;
  restore(snapshot: unknown): void;
}

export interface Entry<T> {
  readonly id: string;
  readonly value: T;
  readonly deleted: boolean;
}

export class TokenRefused extends Error {
  readonly reason: "malformed" | "expired" | "parameters";
  constructor(reason: TokenRefused["reason"]) {
    super(`the sync token was refused: ${reason}`);
    this.reason = reason;
  }
}

/** Changes that the log keeps. */
const CHANGES_MAX = 100_000;

export function createChangeLog<T>(key: string): ChangeLog<T> {
  const table = new Map<string, Entry<T>>();
  let log: { readonly sequence: number; readonly id: string }[] = [];
  let sequence = 0;
  let floor = 0;
  let generation = 1;
  const write = (entry: Entry<T>): void => {
    table.set(entry.id, entry);
    log.push({ sequence: ++sequence, id: entry.id });
    if (log.length <= CHANGES_MAX) return;
    log = log.slice(CHANGES_MAX / 2);
    floor = (log[0]?.sequence ?? sequence + 1) - 1;
  };
  const sign = (body: string): Buffer => createHmac("sha256", key).update(body).digest().subarray(0, 12);
  return {
    get: (id) => table.get(id),
    live: () => [...table.values()].filter(({ deleted }) => !deleted).map(({ value }) => value),
    put: (id, value) => write({ id, value, deleted: false }),
    remove: (id, tombstone) => write({ id, value: tombstone, deleted: true }),
    changedSince: (since) => {
      const last = new Map<string, number>();
      for (const change of log.slice(firstAfter(log, since))) last.set(change.id, change.sequence);
      return [...last].toSorted(([, one], [, other]) => one - other).flatMap(([id]) => table.get(id) ?? []);
    },
    get sequence() {
      return sequence;
    },
    token: (parameters) => {
      const body = JSON.stringify([generation, sequence, parameters]);
      return Buffer.concat([sign(body), Buffer.from(body)]).toString("base64url");
    },
    read: (token, parameters) => {
      const bytes = Buffer.from(token, "base64url");
      const body = bytes.subarray(12).toString();
      if (bytes.length < 13 || !timingSafeEqual(bytes.subarray(0, 12), sign(body))) throw new TokenRefused("malformed");
      const [itsGeneration, itsSequence, itsParameters] = JSON.parse(body) as [number, number, string];
      if (itsGeneration !== generation || itsSequence < floor) throw new TokenRefused("expired");
      if (itsParameters !== parameters) throw new TokenRefused("parameters");
      return itsSequence;
    },
    expireTokens: () => void generation++,
    clear: () => {
      table.clear();
      log = [];
      floor = sequence;
      generation++;
    },
    snapshot: () => ({ table, log, sequence, floor, generation }),
    restore: (snapshot) => {
      const kept = snapshot as {
        table: typeof table;
        log: typeof log;
        sequence: number;
        floor: number;
        generation: number;
      };
      table.clear();
      for (const [id, entry] of kept.table) table.set(id, entry);
      ({ log, sequence, floor, generation } = kept);
    },
  };
}

function firstAfter(log: readonly { readonly sequence: number }[], sequence: number): number {
  let low = 0;
  let high = log.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((log[middle]?.sequence ?? 0) <= sequence) low = middle + 1;
    else high = middle;
  }
  return low;
}
