import { type Database, run, withOrganization } from "@tributary/db";
import { createBell } from "./bell.ts";
import type { HandOff, Wake } from "./hand-off.ts";
import { eventsAfter, type LedgerEvent } from "./ledger.ts";

export interface TailOptions {
  readonly organizationId: string;
  /** Full protobuf names; empty means every type. */
  readonly types: readonly string[];
  /** Only these; absent: every connection. */
  readonly connectionIds?: readonly string[];
  /** `resume` of the last event that arrived; absent, or none of ours: from now on. */
  readonly after?: string;
  readonly signal: AbortSignal;
}

export interface TailedEvent {
  readonly event: LedgerEvent;
  /** Where to go on behind this event. */
  readonly resume: string;
}

/** What is committed, for somebody who looks on without being a consumer: nothing is settled, no position is kept. */
export interface EventTail {
  /**
   * Events from now on, in order within each connection; resumed, everything since. What it was at work on when it
   * broke off may come again, by the same id. Memory does not depend on how slowly it is read: events are read from
   * the ledger as they are taken, and only which connections have some is remembered. Ends by itself when more than
   * {@link TAIL_CONNECTIONS_MAX} connections were active: then it is resumed.
   */
  tail(options: TailOptions): AsyncGenerator<TailedEvent>;
}

/** Connections that one reader follows at most. */
export const TAIL_CONNECTIONS_MAX = 20_000;

const READ_EVENTS = 100;
const LOOK_EVERY_MS = 1_000;
/** A commit is stamped before it can be seen: so far back is looked each time, and when somebody resumes. */
const SLACK_MS = 10_000;
/** Connections that a resume token can name; it travels with every event. */
const TOKEN_CONNECTIONS_MAX = 24;
const ACTIVE_MAX = 1_000;

/** @param clock Milliseconds since the epoch. */
export function createEventTail(options: {
  readonly database: Database;
  readonly handOff: HandOff;
  readonly clock: () => number;
}): EventTail {
  const { database, handOff } = options;

  async function* tail(wish: TailOptions): AsyncGenerator<TailedEvent> {
    const { organizationId, types, signal } = wish;
    const reader = <T>(work: Parameters<typeof withOrganization<T>>[2]): Promise<T> =>
      withOrganization(database, organizationId, work, "reader");
    // Commits are stamped by the database's clock, and compared with that alone.
    const [told] = await reader((tx) => run<{ ms: number }>(tx, DATABASE_CLOCK));
    const aheadMs = (told?.ms ?? options.clock()) - options.clock();
    const clock = (): number => options.clock() + aheadMs;
    const resumed = wish.after === undefined ? undefined : readToken(wish.after);
    /** With its microseconds. Nothing committed before is looked at; what stands in `read` is not looked at twice. */
    const sinceMs = resumed?.sinceMs ?? told?.ms ?? clock();
    const read = new Map<string, bigint>(resumed?.read);
    const ready = new Set<string>();
    /** When each connection last gave an event, the latest last: what a resume token must name. */
    const recent = new Map<string, { sequence: bigint; atMs: number }>();
    for (const [id, sequence] of read) recent.set(id, { sequence, atMs: sinceMs + SLACK_MS });
    const wanted = (id: string): boolean => wish.connectionIds?.includes(id) ?? true;
    const bell = createBell();
    /** Somebody who resumes is first shown what they missed. */
    let lookAt = resumed === undefined ? clock() + LOOK_EVERY_MS : 0;
    let lookFromMs = sinceMs;
    const unsubscribe = handOff.subscribe((wake) => {
      const id = connectionOf(wake, organizationId);
      if (wake.kind === "unknown") lookAt = 0;
      else if (id !== undefined && wanted(id) && ready.size < ACTIVE_MAX) ready.add(id);
      else if (id !== undefined) lookAt = 0;
      bell.ring();
    });
    const ring = (): void => bell.ring();
    signal.addEventListener("abort", ring, { once: true });

    /** Where a connection stands that is read for the first time: before what was committed since the beginning. */
    const firstPlace = (id: string): Promise<bigint> =>
      reader(async (tx) => {
        const params = [id, organizationId, sinceMs];
        const [row] = await run<{ after: bigint }>(tx, FIRST_PLACE, params);
        return row?.after ?? 0n;
      });

    const look = async (): Promise<void> => {
      const startedAt = clock();
      const params = [organizationId, lookFromMs, ACTIVE_MAX];
      const active = await reader((tx) => run<{ id: string; head: bigint }>(tx, ACTIVE, params));
      for (const { id, head } of active) if (wanted(id) && (read.get(id) ?? 0n) < head) ready.add(id);
      // As long as there are more than one look can tell, it begins where the last one did.
      if (active.length < ACTIVE_MAX) lookFromMs = Math.max(sinceMs, startedAt - SLACK_MS);
      lookAt = startedAt + LOOK_EVERY_MS;
    };

    try {
      while (!signal.aborted && read.size <= TAIL_CONNECTIONS_MAX) {
        const [id] = ready;
        if (id === undefined) {
          if (clock() >= lookAt) await look();
          else await bell.wait(Math.max(1, lookAt - clock()));
          continue;
        }
        ready.delete(id);
        const after = read.get(id) ?? (await firstPlace(id));
        const connection = { organizationId, connectionId: id };
        const steps = await reader((tx) => eventsAfter(tx, connection, { sequence: after }, types, READ_EVENTS));
        for (const { place, event } of steps) {
          read.set(id, place.sequence);
          if (event === undefined) continue;
          const atMs = clock();
          recent.delete(id);
          recent.set(id, { sequence: place.sequence, atMs });
          for (const [one, { atMs: then }] of recent)
            if (then < atMs - SLACK_MS || recent.size > TOKEN_CONNECTIONS_MAX) recent.delete(one);
            else break;
          yield { event, resume: token(Math.max(sinceMs, atMs - SLACK_MS), recent) };
          if (signal.aborted) return;
        }
        if (steps.length === READ_EVENTS) ready.add(id);
        else read.set(id, steps.at(-1)?.place.sequence ?? after);
      }
    } finally {
      unsubscribe();
      signal.removeEventListener("abort", ring);
    }
  }

  return { tail };
}

function connectionOf(wake: Wake, organizationId: string): string | undefined {
  if (wake.kind === "batch") return wake.batch.organizationId === organizationId ? wake.batch.connectionId : undefined;
  return wake.kind === "connection" && wake.organizationId === organizationId ? wake.connectionId : undefined;
}

const DATABASE_CLOCK = "SELECT date_part('epoch', clock_timestamp()) * 1000 AS ms";

const FIRST_PLACE = `
SELECT sequence AS after FROM pipeline.event
WHERE connection_id = $1 AND organization_id = $2 AND committed_at < to_timestamp($3::double precision / 1000) ORDER BY sequence DESC LIMIT 1`;

const ACTIVE = `
SELECT connection_id AS id, max(sequence) AS head FROM pipeline.event
WHERE organization_id = $1 AND day >= (to_timestamp($2::double precision / 1000) AT TIME ZONE 'UTC')::date
  AND committed_at >= to_timestamp($2::double precision / 1000)
GROUP BY 1 LIMIT $3`;

/** A time, and the connections that gave events since, each with the last one: `<ms>~<uuid>.<sequence>~…`, in base 36. */
function token(sinceMs: number, recent: ReadonlyMap<string, { readonly sequence: bigint }>): string {
  const parts = [...recent].map(
    ([id, { sequence }]) =>
      `${Buffer.from(id.replaceAll("-", ""), "hex").toString("base64url")}.${sequence.toString(36)}`,
  );
  return [Math.floor(sinceMs).toString(36), ...parts].join("~");
}

function readToken(text: string): { sinceMs: number; read: [string, bigint][] } | undefined {
  const [time = "", ...parts] = text.split("~");
  // Each of ours names a connection at least, that of its own event; a word that happens to be a number names none.
  if (!/^[0-9a-z]{1,8}$/.test(time) || parts.length === 0 || parts.length > TOKEN_CONNECTIONS_MAX) return undefined;
  const read: [string, bigint][] = [];
  for (const part of parts) {
    const [, id = "", sequence = ""] = /^([\w-]{22})\.([0-9a-z]{1,12})$/.exec(part) ?? [];
    const hex = Buffer.from(id, "base64url").toString("hex");
    if (hex.length !== 32) return undefined;
    read.push([hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"), base36(sequence)]);
  }
  return { sinceMs: Number.parseInt(time, 36), read };
}

const base36 = (digits: string): bigint =>
  digits.split("").reduce((sum, digit) => sum * 36n + BigInt(Number.parseInt(digit, 36)), 0n);
