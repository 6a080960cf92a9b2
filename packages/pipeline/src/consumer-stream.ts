import { type Database, type Queryable, run, withOrganization } from "@tributary/db";
import { createBell } from "./bell.ts";
import type { Wake } from "./hand-off.ts";
import { connectionIsHeld } from "./dead-letters.ts";
import { createLane, type Lane } from "./lane.ts";
import { eventsAfter, type LedgerEvent, type LedgerPlace } from "./ledger.ts";
import { type ConsumerKey, type PositionWriter, readPositions, unreadConnections } from "./positions.ts";
import { createRecent } from "./recent.ts";
import { type AgainEvent, createReplayFeed } from "./replay-feed.ts";

/** Events of one connection read at a time, before another connection has its turn. */
const READ_EVENTS = 200;
/** About so much at a time, once it is known what events weigh. */
const READ_BYTES = 4 * 1024 * 1024;
/** Lanes kept while nothing is to be done in them, so that their next event needs no look-up. */
const IDLE_LANES_MAX = 5_000;
/** Connections that wait for their turn; past this the database is asked again instead. */
const READY_MAX = 10_000;
const PAGE = 500;
/**
 * The net under missed notifications. A look that takes long is repeated so seldom that it costs 1 % of the time, but not
 * more seldom than once a minute: what took long may have been a machine that slept, or a database that was away.
 */
const LOOK_EVERY_MS = 1_000;
const LOOK_COST = 100;
const LOOK_EVERY_MS_MAX = 60_000;
/** Something was settled elsewhere: until a look begins, whatever else says when the next one is due. */
const AT_ONCE = -1;

const FIRST_ID = "00000000-0000-0000-0000-000000000000";

export interface ConsumerStreamOptions extends ConsumerKey {
  readonly database: Database;
  readonly positions: PositionWriter;
  /** Full protobuf names; empty means every type. */
  readonly types: readonly string[];
  /** Events outstanding at most. */
  readonly window: number;
  /** What follows a dead letter in its connection waits: one event of a connection is given out at a time. */
  readonly hold: boolean;
  /** Says what was gone before it could be given out, instead of passing over it: see {@link AgainEvent.gone}. */
  readonly tellGone: boolean;
  /**
   * It was there before everything that is retained: even where it has settled nothing, it could have had what is gone.
   * A newcomer begins with what is retained.
   */
  readonly outlived: boolean;
  readonly signal: AbortSignal;
  /** Milliseconds that only ever grow. */
  readonly clock: () => number;
}

/** One consumer's way through the ledger: what is ready to be read, and what is outstanding. Memory is bounded. */
export interface ConsumerStream {
  events(): AsyncGenerator<AgainEvent>;
  hear(wake: Wake): void;
  /** @returns a promise of its durability, or undefined when the event is not outstanding here. */
  settle(connectionId: string, sequence: bigint): Promise<void> | undefined;
  /** Told by somebody who settled it in the database. */
  settledElsewhere(connectionId: string, sequence: bigint): void;
  /** Frees the place of an event that was sent again. @returns as `settle`; for a redriven letter always undefined. */
  settleAgain(replayId: string, redrive: number, connectionId: string, sequence: bigint): Promise<void> | undefined;
  /** Looks what is to be sent again. */
  poke(): void;
  /** Whether replays are under way here. */
  readonly replaying: boolean;
  readonly outstanding: number;
}

/** What was read of a connection, and where reading goes on. Without an event: its type is not wanted. */
interface Step {
  readonly place: LedgerPlace;
  readonly event: LedgerEvent | undefined;
}

export function createConsumerStream(options: ConsumerStreamOptions): ConsumerStream {
  const { database, positions, types, window, hold, tellGone, signal, clock } = options;
  const lanes = new Map<string, Lane>();
  /** Connections with something to read, in the order of their turns, each with a sequence that it has reached; 0: unknown. */
  const ready = new Map<string, bigint>();
  const recent = createRecent(clock);
  const inHand = createHand();
  const bell = createBell();
  const reader = readerOf(database, options.organizationId);
  const feed = createReplayFeed({ ...options, ring: () => bell.ring() });
  /** Sent again and not settled. */
  const again = new Set<string>();
  /** So much of the window is kept for what is sent again, as long as there is something: neither road starves the other. */
  const reserve = Math.max(1, Math.floor(window / 4));
  /** With a window of one event, the two take turns. */
  let turn: "live" | "again" = "again";
  /** Live ones and those sent again. */
  let outstanding = 0;
  /** Where the walk over all connections stands; undefined when it has ended. */
  let walk: string | undefined = FIRST_ID;
  let lookAt = 0;

  signal.addEventListener("abort", () => bell.ring(), { once: true });

  async function* events(): AsyncGenerator<AgainEvent> {
    while (!signal.aborted) {
      const event = sendAgain() ?? takeInHand();
      if (event !== undefined) yield event;
      else if (outstanding < liveMax() && (ready.size > 0 || walk !== undefined)) await readOn();
      else if (clock() >= lookAt) await look();
      else await bell.wait(Math.max(1, lookAt - clock()));
    }
  }

  function takeInHand(): AgainEvent | undefined {
    const event = inHand.shift();
    if (event === undefined) return undefined;
    turn = "again";
    return { ...event, replayId: "", redrive: 0 };
  }

  function sendAgain(): AgainEvent | undefined {
    if (outstanding >= window || again.size >= reserve || liveFirst()) return undefined;
    const event = feed.next();
    if (event === undefined) return undefined;
    again.add(againKey(event.replayId, event.redrive, event.connectionId, event.sequence));
    outstanding++;
    turn = "live";
    return event;
  }

  const liveFirst = (): boolean => window === 1 && turn === "live" && (ready.size > 0 || walk !== undefined);

  /** How much of the window live events may fill now. */
  function liveMax(): number {
    if (again.size >= reserve || !feed.pending) return window;
    if (window === 1) return turn === "live" ? 1 : 0;
    return window - (reserve - again.size);
  }

  async function readOn(): Promise<void> {
    const [next] = ready;
    if (next === undefined) return nextPage();
    const [connectionId, head] = next;
    ready.delete(connectionId);
    const lane = lanes.get(connectionId) ?? (await openLane(connectionId));
    if (hold && lane.outstanding > 0) return;
    const weight = Math.floor(READ_BYTES / Math.max(1, inHand.eventBytes));
    const limit = hold ? 1 : Math.max(1, Math.min(READ_EVENTS, weight, liveMax() - outstanding));
    const near = recent.after(connectionId, lane.read.sequence, limit);
    const steps =
      near.length === 0 ? await fromLedger(lane, limit) : near.map((event) => stepTo(lane.read, event, types));
    // The walk over all connections comes by again.
    if (steps === undefined) return;
    const before = inHand.bytes;
    for (const step of steps) {
      // The ledger has no gaps of its own.
      if (step.place.sequence > lane.read.sequence + 1n) await passOver(lane, step.place.sequence - 1n);
      take(lane, step);
    }
    // It ends before the head: nothing follows what is missing. Nobody waits for it.
    if (near.length === 0 && steps.length < limit && head > lane.read.sequence) await passOver(lane, head, true);
    inHand.weigh(steps.length, before);
    if (steps.length === limit) ready.set(connectionId, head);
    if (lane.outstanding === 0) save(lane);
    rest(lane);
  }

  /** @returns undefined when a dead letter holds the connection. */
  const fromLedger = ({ connectionId, read }: Lane, limit: number): Promise<readonly Step[] | undefined> =>
    reader(async (tx) =>
      hold && (await connectionIsHeld(tx, options, connectionId))
        ? undefined
        : eventsAfter(tx, { ...options, connectionId }, read, types, limit),
    );

  function take(lane: Lane, { place, event }: Step): void {
    if (!lane.step(place, event !== undefined) || event === undefined) return;
    outstanding++;
    inHand.push(event);
  }

  async function passOver(lane: Lane, sequence: bigint, toHead = false): Promise<void> {
    // What was dropped with its day is told; what was erased is not.
    const told = tellGone && (lane.read.sequence > 0n || options.outlived);
    const stands = told ? await reader((tx) => standingOf(tx, options, lane.connectionId)) : undefined;
    // What was committed since the ledger was read shows what is missing before it.
    if (toHead && stands !== undefined && stands.head > sequence) return wake(lane.connectionId, stands.head);
    const erased = stands === undefined || stands.erased > sequence ? sequence : stands.erased;
    if (erased > lane.read.sequence) lane.pass({ ...lane.read, sequence: erased }, false);
    if (sequence <= lane.read.sequence) return;
    const gone = lane.pass({ ...lane.read, sequence }, true);
    if (gone === 0n) return;
    outstanding++;
    inHand.push({
      ...NO_EVENT,
      organizationId: options.organizationId,
      connectionId: lane.connectionId,
      sequence,
      gone,
    });
  }

  async function openLane(connectionId: string): Promise<Lane> {
    // What was settled a moment ago may be on its way to the database.
    await positions.flush();
    const [stored] = await reader((tx) => readPositions(tx, options, [connectionId]));
    const lane = createLane(connectionId, stored);
    lanes.set(connectionId, lane);
    return lane;
  }

  async function nextPage(): Promise<void> {
    const started = clock();
    const page = await reader((tx) => unreadConnections(tx, options, walk ?? FIRST_ID, PAGE));
    for (const { connectionId, head } of page) {
      const lane = lanes.get(connectionId);
      if (lane === undefined || lane.read.sequence < head) ready.set(connectionId, head);
    }
    walk = page.length < PAGE ? undefined : page.at(-1)?.connectionId;
    const now = clock();
    const pauseMs = Math.min(LOOK_EVERY_MS_MAX, Math.max(LOOK_EVERY_MS, LOOK_COST * (now - started)));
    if (lookAt !== AT_ONCE) lookAt = now + pauseMs;
  }

  /** Asks the database for what notifications may have missed. */
  async function look(): Promise<void> {
    lookAt = 0;
    const held = [...lanes.values()].filter((lane) => lane.outstanding > 0).slice(0, PAGE);
    const ids = held.map((lane) => lane.connectionId);
    const stored = await reader((tx) => readPositions(tx, options, ids));
    for (const position of stored) outstanding -= lanes.get(position.connectionId)?.merge(position) ?? 0;
    if (outstanding < window) await nextPage();
    else if (lookAt !== AT_ONCE) lookAt = clock() + LOOK_EVERY_MS;
  }

  /** Positions are hints of where to resume: one that is lost costs a second reading, which passes over the same. */
  function save(lane: Lane): void {
    positions.write(options, lane.connectionId, lane.settled).catch(() => {});
  }

  /** Puts a lane last in the order of forgetting, and forgets the one that has been idle longest. */
  function rest(lane: Lane): void {
    lanes.delete(lane.connectionId);
    lanes.set(lane.connectionId, lane);
    if (lanes.size <= IDLE_LANES_MAX + window) return;
    for (const [id, one] of lanes)
      if (one.outstanding === 0 && !ready.has(id)) {
        lanes.delete(id);
        return;
      }
  }

  function wake(connectionId: string, head: bigint): void {
    const known = ready.get(connectionId);
    if (known === undefined && ready.size >= READY_MAX) walk ??= FIRST_ID;
    else if (known === undefined || known < head) ready.set(connectionId, head);
  }

  return {
    events,
    hear: (said) => {
      if (said.kind === "unknown") walk ??= FIRST_ID;
      else if (said.kind === "settled") lookAt = AT_ONCE;
      else if (said.kind === "connection") {
        recent.forget(said.connectionId);
        wake(said.connectionId, 0n);
      } else {
        // Where a dead letter may hold the connection, each event needs a look at the database.
        if (!hold) recent.offer(said.batch, said.firstSequence);
        wake(said.batch.connectionId, said.firstSequence + BigInt(said.batch.events.length) - 1n);
      }
      bell.ring();
    },
    settle: (connectionId, sequence) => {
      const lane = lanes.get(connectionId);
      if (lane === undefined) return undefined;
      if (lane.settle(sequence)) {
        outstanding--;
        if (hold) wake(connectionId, 0n);
        bell.ring();
      } else if (sequence > lane.settled) return undefined;
      return positions.write(options, connectionId, lane.settled);
    },
    settledElsewhere: (connectionId, sequence) => {
      if (lanes.get(connectionId)?.settle(sequence) === true) outstanding--;
      if (hold) wake(connectionId, 0n);
      bell.ring();
    },
    settleAgain: (replayId, redrive, connectionId, sequence) => {
      if (again.delete(againKey(replayId, redrive, connectionId, sequence))) outstanding--;
      if (redrive > 0) feed.letterSettled(replayId, connectionId, sequence);
      if (hold) wake(connectionId, 0n);
      bell.ring();
      return redrive > 0 ? undefined : feed.settle(replayId, connectionId, sequence);
    },
    poke: () => feed.poke(),
    get replaying() {
      return feed.replaying;
    },
    get outstanding() {
      return outstanding;
    },
  };
}

const readerOf =
  (database: Database, organizationId: string) =>
  <T>(work: (tx: Queryable) => Promise<T>): Promise<T> =>
    withOrganization(database, organizationId, work, "reader");

/** What a message that tells of gone events says besides. */
const NO_EVENT = {
  connector: "",
  id: "",
  type: "",
  subject: "",
  objectKey: "",
  timeMs: 0,
  backfill: false,
  traceparent: "",
  payload: new Uint8Array(),
};

interface Standing {
  readonly head: bigint;
  /** Up to here its owner erased it. */
  readonly erased: bigint;
}

const STANDING = "SELECT head, erased FROM pipeline.position WHERE organization_id = $1 AND connection_id = $2";

const standingOf = async (
  tx: Queryable,
  { organizationId }: ConsumerKey,
  connectionId: string,
): Promise<Standing | undefined> => (await run<Standing>(tx, STANDING, [organizationId, connectionId]))[0];

const stepTo = (read: LedgerPlace, event: LedgerEvent, types: readonly string[]): Step => ({
  place: { ...read, sequence: event.sequence },
  event: types.length === 0 || types.includes(event.type) ? event : undefined,
});

type Handed = LedgerEvent & Pick<AgainEvent, "gone">;

/** Events read and not yet given out, and what they weigh. */
function createHand() {
  const events: Handed[] = [];
  let bytes = 0;
  let eventBytes = 0;
  return {
    push: (event: Handed): void => {
      events.push(event);
      bytes += event.payload.length;
    },
    shift: (): Handed | undefined => {
      const event = events.shift();
      bytes -= event?.payload.length ?? 0;
      return event;
    },
    /** Takes note of what a read of so many steps brought. */
    weigh: (steps: number, before: number): void => {
      if (steps > 0) eventBytes = Math.max(eventBytes / 2, (bytes - before) / steps);
    },
    get bytes() {
      return bytes;
    },
    /** What an event weighed of late: large ones are read a few at a time. */
    get eventBytes() {
      return eventBytes;
    },
  };
}

const againKey = (replayId: string, redrive: number, connectionId: string, sequence: bigint): string =>
  `${replayId} ${redrive > 0} ${connectionId}:${sequence}`;
