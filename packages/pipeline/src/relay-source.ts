import { acrossOrganizations, type Database, type Queryable, run } from "@tributary/db";
import type { EventBatch } from "./append.ts";
import { connectionsAfter, type LedgerEvent } from "./ledger.ts";

/** Events of a window; a batch from memory is not torn, so there may be up to 499 more. */
const WINDOW_EVENTS = 1_000;
/** Events kept in memory for the broker; past either they are read from the ledger when their turn comes. */
const MEMORY_EVENTS_MAX = 20_000;
const MEMORY_BYTES_MAX = 32 * 1_048_576;
/**
 * Payloads of a window that is read from the ledger, as far as the last one tells of the next: a window has to be
 * acknowledged within the relay's wait, 5 s, also over a slow line.
 */
const WINDOW_BYTES = 8 * 1_048_576;
const CONNECTIONS_AT_ONCE = 64;
const LANES_MAX = 50_000;
const BEHIND_MAX = 10_000;
const PAGE = 500;
const FIRST_ID = "00000000-0000-0000-0000-000000000000";

/** Events to publish next, in order within each connection, and positions behind which the ledger holds nothing more. */
export interface RelayWindow {
  readonly events: readonly LedgerEvent[];
  readonly passed: ReadonlyMap<string, bigint>;
}

/** What is still to be published: from memory as it is committed, from the ledger at start and whenever in doubt. */
export interface RelaySource {
  next(): Promise<RelayWindow>;
  offer(batch: EventBatch, firstSequence: bigint): void;
  wake(connectionId: string): void;
  /** Looks for connections that nobody announced. */
  look(): void;
  /** Forgets what was given out: positions are as the database has them. */
  reset(): void;
}

interface Lane {
  /** The last sequence that was given out or published. */
  sequence: bigint;
  day?: string;
  readonly parked: boolean;
}

/** Exported for the test of its plan. */
export const UNPUBLISHED = `
SELECT connection_id AS id, published, head FROM pipeline.position
WHERE head > published AND parked_sequence IS NULL AND connection_id > $1
ORDER BY connection_id LIMIT ${PAGE}`;

const POSITIONS = `
SELECT connection_id AS id, published, parked_sequence IS NOT NULL AS parked
FROM pipeline.position WHERE connection_id = ANY ($1::uuid[])`;

/** @param isHeld whether a connection is set aside for now; it is found again by looking, when it no longer is. */
export function createRelaySource(
  database: Database,
  isHeld: (connectionId: string) => boolean = () => false,
): RelaySource {
  const lanes = new Map<string, Lane>();
  const memory: { readonly batch: EventBatch; readonly firstSequence: bigint }[] = [];
  /** To be read from the ledger, with the head that is known, if any. */
  const behind = new Map<string, bigint | undefined>();
  const asRelay = <T>(work: (tx: Queryable) => Promise<T>): Promise<T> => acrossOrganizations(database, "relay", work);
  let memoryEvents = 0;
  let memoryBytes = 0;
  /** Of a window from the ledger: grows from careful to full. */
  let rowsMax = WINDOW_EVENTS / 8;
  let walk: string | undefined = FIRST_ID;

  async function next(): Promise<RelayWindow> {
    const events: LedgerEvent[] = [];
    const passed = new Map<string, bigint>();
    await fromMemory(events);
    if (behind.size === 0 && walk !== undefined) await nextPage();
    if (events.length < WINDOW_EVENTS && behind.size > 0) await fromLedger(events, passed);
    return { events, passed };
  }

  async function fromMemory(events: LedgerEvent[]): Promise<void> {
    await openLanes(memory.map(({ batch }) => batch.connectionId));
    while (events.length < WINDOW_EVENTS) {
      const entry = memory.shift();
      if (entry === undefined) return;
      const { batch, firstSequence } = entry;
      const { connectionId } = batch;
      memoryEvents -= batch.events.length;
      memoryBytes -= payloadBytes(batch.events);
      const lane = lanes.get(connectionId);
      const last = firstSequence + BigInt(batch.events.length - 1);
      if (lane?.parked === true || isHeld(connectionId) || (lane !== undefined && last <= lane.sequence)) continue;
      if (lane === undefined || lane.sequence !== firstSequence - 1n || behind.has(connectionId)) {
        fallBehind(connectionId);
        continue;
      }
      move(connectionId, lane, last);
      const { organizationId, connector, backfill, traceparent } = batch;
      for (const [index, event] of batch.events.entries()) {
        const sequence = firstSequence + BigInt(index);
        events.push({ organizationId, connectionId, connector, backfill, traceparent, sequence, ...event });
      }
    }
  }

  async function openLanes(connectionIds: readonly string[]): Promise<void> {
    const unknown = [...new Set(connectionIds)].filter((id) => !lanes.has(id));
    if (unknown.length === 0) return;
    const rows = await asRelay((tx) =>
      run<{ id: string; published: bigint; parked: boolean }>(tx, POSITIONS, [unknown]),
    );
    for (const { id, published, parked } of rows) lanes.set(id, { sequence: published, parked });
    if (lanes.size > LANES_MAX) forget();
  }

  /** Those given out last stand last: what is still on its way to the database is never forgotten. */
  function forget(): void {
    for (const id of lanes.keys()) {
      if (lanes.size <= LANES_MAX / 2) return;
      lanes.delete(id);
    }
  }

  function fallBehind(connectionId: string): void {
    if (behind.size < BEHIND_MAX) behind.set(connectionId, behind.get(connectionId));
    else walk ??= FIRST_ID;
  }

  function move(connectionId: string, lane: Lane, sequence: bigint): void {
    lane.sequence = sequence;
    lanes.delete(connectionId);
    lanes.set(connectionId, lane);
  }

  async function nextPage(): Promise<void> {
    const rows = await asRelay((tx) => run<{ id: string; published: bigint; head: bigint }>(tx, UNPUBLISHED, [walk]));
    for (const { id, published, head } of rows) {
      const known = lanes.get(id);
      // The database is asked for connections that are not parked: this one may have been a moment ago.
      const lane = known === undefined || known.parked ? { sequence: published, parked: false } : known;
      lanes.set(id, lane);
      if (head > lane.sequence && !isHeld(id)) behind.set(id, head);
    }
    walk = rows.length < PAGE ? undefined : rows.at(-1)?.id;
  }

  async function fromLedger(events: LedgerEvent[], passed: Map<string, bigint>): Promise<void> {
    const turn = [...behind].slice(0, CONNECTIONS_AT_ONCE);
    await openLanes(turn.map(([id]) => id));
    const limit = Math.ceil(rowsMax / turn.length);
    const places = turn.map(([id]) => ({
      connectionId: id,
      ...lanes.get(id),
      sequence: lanes.get(id)?.sequence ?? 0n,
    }));
    // Before reading: what is announced while it reads is read again.
    for (const [id] of turn) behind.delete(id);
    const read = await asRelay((tx) => connectionsAfter(tx, places, limit));
    const payloads = [...read.values()].flat().map((step) => step.event);
    const fit = Math.floor((WINDOW_BYTES * payloads.length) / Math.max(1, payloadBytes(payloads)));
    rowsMax = Math.max(1, Math.min(WINDOW_EVENTS, fit, rowsMax * 8));
    for (const [id, head] of turn) {
      const lane = lanes.get(id);
      const steps = read.get(id) ?? [];
      if (lane === undefined || lane.parked || isHeld(id)) continue;
      const last = steps.at(-1);
      if (last === undefined) {
        // Erased or past the retention: there is nothing to publish up to the head that was known before reading.
        if (head !== undefined && head > lane.sequence) {
          move(id, lane, head);
          passed.set(id, head);
        }
        continue;
      }
      events.push(...steps.map((step) => step.event));
      move(id, lane, last.event.sequence);
      lane.day = last.day;
      if (steps.length === limit) behind.set(id, head);
    }
  }

  return {
    next,
    offer: (batch, firstSequence) => {
      const bytes = payloadBytes(batch.events);
      if (memoryEvents + batch.events.length > MEMORY_EVENTS_MAX || memoryBytes + bytes > MEMORY_BYTES_MAX) {
        fallBehind(batch.connectionId);
        return;
      }
      memory.push({ batch, firstSequence });
      memoryEvents += batch.events.length;
      memoryBytes += bytes;
    },
    wake: fallBehind,
    look: () => {
      walk ??= FIRST_ID;
    },
    reset: () => {
      lanes.clear();
      memory.length = 0;
      memoryEvents = 0;
      memoryBytes = 0;
      behind.clear();
      walk = FIRST_ID;
    },
  };
}

function payloadBytes(events: readonly { readonly payload: Uint8Array }[]): number {
  let bytes = 0;
  for (const { payload } of events) bytes += payload.length;
  return bytes;
}
