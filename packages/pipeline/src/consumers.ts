import { type Database, type Queryable, run, withOrganization } from "@tributary/db";
import { leaveReplays } from "./replays.ts";
import type { SideRoad } from "./side-road.ts";

/** What happens to the rest of a connection behind a dead letter. */
export type AfterDeadLetter = "continue" | "hold";

/** Somebody who reads events, and how far they have come. */
export interface ConsumerView {
  readonly name: string;
  readonly road: "http" | "nats";
  /** Full protobuf names; empty means every type. */
  readonly types: readonly string[];
  /** On NATS; "" when it hears everything. */
  readonly filterSubject: string;
  readonly afterDeadLetter: AfterDeadLetter;
  /** Events committed and not settled. */
  readonly lag: number;
  /** When the oldest of them was committed; over HTTP only. */
  readonly oldestAtMs: number | undefined;
  /** Sent and not settled, as far as this process or the broker knows. */
  readonly outstanding: number;
  readonly deadLetters: number;
  readonly connected: boolean;
  readonly lastSeenAtMs: number | undefined;
  readonly createdAtMs: number;
}

/** How far a consumer is behind in one connection. */
export interface ConnectionLag {
  readonly connectionId: string;
  readonly settled: bigint;
  readonly head: bigint;
  /** Whether it waits behind a dead letter. */
  readonly held: boolean;
}

export interface ConsumerWish {
  readonly organizationId: string;
  readonly name: string;
  readonly road: "http" | "nats";
  readonly types: readonly string[];
  readonly afterDeadLetter: AfterDeadLetter;
  /** Where a new one begins. */
  readonly start: "oldest" | "now";
}

/** Who reads an organisation's events. Unknown and foreign names are the same. */
export interface Consumers {
  /** By name. @throws SideRoadAway when the broker does not answer. */
  list(organizationId: string): Promise<readonly ConsumerView[]>;
  /** @param road absent: HTTP if there is one of that name, otherwise NATS. */
  get(
    organizationId: string,
    name: string,
    road?: "http" | "nats",
  ): Promise<{ readonly consumer: ConsumerView; readonly behind: readonly ConnectionLag[] } | undefined>;
  /** Makes it unless it stands. @throws ConsumerDiffers when it stands otherwise. */
  create(wish: ConsumerWish): Promise<{ readonly consumer: ConsumerView; readonly created: boolean }>;
  /** Changes one over HTTP, on purpose. @returns undefined when there is none. */
  update(
    organizationId: string,
    name: string,
    change: { readonly types: readonly string[]; readonly afterDeadLetter?: AfterDeadLetter },
  ): Promise<ConsumerView | undefined>;
  /**
   * With its positions and dead letters; its stream ends, and replays that were for it alone fail.
   * @returns whether there was one.
   */
  remove(organizationId: string, name: string, road: "http" | "nats"): Promise<boolean>;
}

/** A consumer of that name stands, and is not what was asked for. Nothing was changed. */
export class ConsumerDiffers extends Error {
  readonly code = "consumer_differs";
  constructor(differences: readonly string[]) {
    super(`consumer_differs: ${differences.join("; ")}`);
  }
}

/** There is no broker to make such a consumer on, or it cannot do what was asked. */
export class ConsumerUnsupported extends Error {
  readonly code = "consumer_unsupported";
  constructor(why: string) {
    super(`consumer_unsupported: ${why}`);
  }
}

/** Consumers of one organisation over HTTP; each costs a look at what is to be sent again, and a target of each replay. */
export const CONSUMERS_MAX = 1_000;

/** There are as many as there may be. Nothing was made. */
export class ConsumerLimit extends Error {
  readonly code = "limit_reached";
  constructor() {
    super(`limit_reached: an organisation has at most ${CONSUMERS_MAX} consumers: remove one that nobody uses`);
  }
}

export interface ConsumersOptions {
  readonly database: Database;
  /** Absent without a broker. */
  readonly nats?: SideRoad;
  /** Events sent to a consumer over HTTP and not settled, as far as this process knows. */
  readonly outstanding: (organizationId: string, consumer: string) => number;
  /** The organisation whose operator may see consumers on NATS that hear every organisation. */
  readonly operator?: string;
}

const BEHIND_MAX = 20;

export function createConsumers(options: ConsumersOptions): Consumers {
  const { database, nats } = options;
  const read = <T>(organizationId: string, work: (tx: Queryable) => Promise<T>): Promise<T> =>
    withOrganization(database, organizationId, work, "reader");

  async function overHttp(organizationId: string, name?: string): Promise<ConsumerView[]> {
    const params = [organizationId, name ?? null, CONSUMERS_MAX];
    const rows = await read(organizationId, (tx) => run<Row>(tx, HTTP_CONSUMERS, params));
    return rows.map((row) => ({
      name: row.name,
      road: "http",
      types: row.types,
      filterSubject: "",
      afterDeadLetter: row.after_dead_letter,
      lag: Number(row.lag),
      oldestAtMs: row.oldest_ms === null ? undefined : Math.round(row.oldest_ms),
      outstanding: options.outstanding(organizationId, row.name),
      deadLetters: Number(row.dead_letters),
      connected: row.connected,
      lastSeenAtMs: row.seen ? Math.round(row.seen_ms) : undefined,
      createdAtMs: Math.round(row.created_ms),
    }));
  }

  async function overNats(organizationId: string): Promise<ConsumerView[]> {
    if (nats === undefined) return [];
    const known = await nats.consumers(organizationId, organizationId === options.operator);
    const counts = await read(organizationId, (tx) =>
      run<{ consumer: string; letters: bigint }>(tx, NATS_LETTERS, [organizationId]),
    );
    return known.slice(0, CONSUMERS_MAX).map((heard) => ({
      name: heard.name,
      road: "nats",
      types: [],
      filterSubject: heard.filterSubject,
      afterDeadLetter: "continue",
      lag: heard.pending + heard.outstanding,
      oldestAtMs: undefined,
      outstanding: heard.outstanding,
      deadLetters: Number(counts.find(({ consumer }) => consumer === heard.name)?.letters ?? 0),
      connected: heard.connected,
      lastSeenAtMs: heard.lastSeenAtMs,
      createdAtMs: heard.createdAtMs,
    }));
  }

  async function one(organizationId: string, name: string, road?: "http" | "nats"): Promise<ConsumerView | undefined> {
    const [http] = road === "nats" ? [] : await overHttp(organizationId, name);
    if (http !== undefined || road === "http") return http;
    return (await overNats(organizationId)).find((consumer) => consumer.name === name);
  }

  async function certain(organizationId: string, name: string, road: "http" | "nats"): Promise<ConsumerView> {
    const consumer = await one(organizationId, name, road);
    if (consumer === undefined) throw new Error("the consumer is gone again");
    return consumer;
  }

  async function create(wish: ConsumerWish): Promise<{ consumer: ConsumerView; created: boolean }> {
    const { organizationId, name, road } = wish;
    if (road === "nats") {
      if (nats === undefined) throw new ConsumerUnsupported("this hub has no broker");
      if (wish.types.length > 0 || wish.afterDeadLetter === "hold" || wish.start === "now")
        throw new ConsumerUnsupported("on NATS a consumer hears all types from the oldest event on and is never held");
      const created = await nats.createConsumer(organizationId, name);
      return { consumer: await certain(organizationId, name, road), created };
    }
    const types = [...new Set(wish.types)].toSorted();
    const created = await withOrganization(database, organizationId, async (tx) => {
      const made = await run(tx, CREATE, [organizationId, name, types, wish.afterDeadLetter]);
      if (made.length === 0) await mustHaveRoom(tx, organizationId, name);
      if (made.length > 0 && wish.start === "now") await run(tx, START_NOW, [organizationId, name]);
      return made.length > 0;
    });
    const consumer = await certain(organizationId, name, road);
    const differences = [
      ...typeDifferences(consumer.types, types),
      ...(consumer.afterDeadLetter === wish.afterDeadLetter
        ? []
        : [`after a dead letter it is set to ${consumer.afterDeadLetter}`]),
    ];
    if (differences.length > 0) throw new ConsumerDiffers(differences);
    return { consumer, created };
  }

  return {
    list: async (organizationId) =>
      [...(await overHttp(organizationId)), ...(await overNats(organizationId))].toSorted((a, b) =>
        a.name === b.name ? (a.road < b.road ? -1 : 1) : a.name < b.name ? -1 : 1,
      ),
    get: async (organizationId, name, road) => {
      const consumer = await one(organizationId, name, road);
      if (consumer === undefined) return undefined;
      if (consumer.road === "nats") return { consumer, behind: [] };
      const params = [organizationId, name, BEHIND_MAX];
      return { consumer, behind: await read(organizationId, (tx) => run<ConnectionLag>(tx, BEHIND, params)) };
    },
    create,
    update: async (organizationId, name, { types, afterDeadLetter }) => {
      const params = [organizationId, name, [...new Set(types)].toSorted(), afterDeadLetter ?? null];
      await withOrganization(database, organizationId, (tx) => run(tx, UPDATE, params));
      return one(organizationId, name, "http");
    },
    remove: async (organizationId, name, road) => {
      if ((await one(organizationId, name, road)) === undefined) return false;
      if (road === "nats" && !(await nats?.removeConsumer(organizationId, name))) return false;
      await withOrganization(database, organizationId, async (tx) => {
        await run(tx, REMOVE_LETTERS, [organizationId, name, road]);
        await leaveReplays(tx, organizationId, name, road);
        if (road === "nats") return;
        await run(tx, REMOVE_POSITIONS, [organizationId, name]);
        await run(tx, REMOVE_CONSUMER, [organizationId, name]);
      });
      return true;
    },
  };
}

/** Called when none was made. @throws ConsumerLimit unless that is because one of that name stands. */
export async function mustHaveRoom(tx: Queryable, organizationId: string, name: string): Promise<void> {
  if ((await run(tx, STANDS, [organizationId, name])).length === 0) throw new ConsumerLimit();
}

const STANDS = "SELECT FROM pipeline.consumer WHERE organization_id = $1 AND name = $2";

/**
 * Whether an organisation may have a consumer of this name: one that stands already, or one more. Of those that come at
 * the same moment a few more than the bound may be made.
 */
export const HAS_ROOM = `
((SELECT count(*) FROM pipeline.consumer WHERE organization_id = $1) < ${CONSUMERS_MAX}
  OR EXISTS (SELECT FROM pipeline.consumer WHERE organization_id = $1 AND name = $2))`;

/** In what two sets of types differ, in words; empty when they are the same. */
export function typeDifferences(is: readonly string[], wanted: readonly string[]): readonly string[] {
  const every = (types: readonly string[]): readonly string[] => (types.length === 0 ? ["every type"] : types);
  const more = every(is).filter((type) => !every(wanted).includes(type));
  const fewer = every(wanted).filter((type) => !every(is).includes(type));
  return [
    ...(fewer.length > 0 ? [`it does not read ${fewer.join(", ")}`] : []),
    ...(more.length > 0 ? [`it reads ${more.join(", ")} as well`] : []),
  ].map((text) => (fewer.length > 0 && more.length > 0 ? text.replace(" as well", " instead") : text));
}

interface Row {
  readonly name: string;
  readonly types: readonly string[];
  readonly after_dead_letter: AfterDeadLetter;
  readonly connected: boolean;
  readonly seen: boolean;
  readonly seen_ms: number;
  readonly created_ms: number;
  readonly lag: bigint;
  readonly oldest_ms: number | null;
  readonly dead_letters: bigint;
}

/** Lag is what positions say; the oldest is looked for in the 200 connections that have waited longest. */
const HTTP_CONSUMERS = `
SELECT c.name, c.types, c.after_dead_letter, c.holder IS NOT NULL AND c.until > now() AS connected,
  c.last_seen_at > c.created_at OR c.holder IS NOT NULL AS seen, date_part('epoch', c.last_seen_at) * 1000 AS seen_ms,
  date_part('epoch', c.created_at) * 1000 AS created_ms,
  (SELECT coalesce(sum(p.head - coalesce(s.settled, 0)), 0)::bigint FROM pipeline.position p
   LEFT JOIN pipeline.consumer_position s
     ON s.organization_id = $1 AND s.consumer = c.name AND s.connection_id = p.connection_id
   WHERE p.organization_id = $1 AND p.head > coalesce(s.settled, 0)) AS lag,
  (SELECT date_part('epoch', min(e.committed_at)) * 1000 FROM (
     SELECT p.connection_id, coalesce(s.settled, 0) AS settled FROM pipeline.position p
     LEFT JOIN pipeline.consumer_position s
       ON s.organization_id = $1 AND s.consumer = c.name AND s.connection_id = p.connection_id
     WHERE p.organization_id = $1 AND p.head > coalesce(s.settled, 0) ORDER BY p.day, p.connection_id LIMIT 200
   ) AS w CROSS JOIN LATERAL pipeline.events_after(w.connection_id, w.settled, '-infinity', 1) AS e
   WHERE e.organization_id = $1) AS oldest_ms,
  (SELECT count(*) FROM pipeline.dead_letter d
   WHERE d.organization_id = $1 AND d.road = 'http' AND d.consumer = c.name) AS dead_letters
FROM pipeline.consumer c WHERE c.organization_id = $1 AND ($2::text IS NULL OR c.name = $2) ORDER BY c.name LIMIT $3`;

const NATS_LETTERS = `
SELECT consumer, count(*) AS letters FROM pipeline.dead_letter WHERE organization_id = $1 AND road = 'nats' GROUP BY 1`;

const BEHIND = `
SELECT p.connection_id AS "connectionId", coalesce(s.settled, 0) AS settled, p.head,
  EXISTS (SELECT FROM pipeline.consumer c JOIN pipeline.dead_letter d
    ON d.organization_id = $1 AND d.road = 'http' AND d.consumer = $2 AND d.connection_id = p.connection_id AND d.replay_id = ''
    WHERE c.organization_id = $1 AND c.name = $2 AND c.after_dead_letter = 'hold') AS held
FROM pipeline.position p LEFT JOIN pipeline.consumer_position s
  ON s.organization_id = $1 AND s.consumer = $2 AND s.connection_id = p.connection_id
WHERE p.organization_id = $1 AND p.head > coalesce(s.settled, 0)
ORDER BY p.head - coalesce(s.settled, 0) DESC, p.connection_id LIMIT $3`;

const CREATE = `
INSERT INTO pipeline.consumer (organization_id, name, types, after_dead_letter, created_at, last_seen_at, until)
SELECT $1, $2, $3, $4, now(), now(), now() WHERE ${HAS_ROOM} ON CONFLICT DO NOTHING RETURNING name`;

/** What is committed while this runs may be sent or not; what is committed afterwards is. */
const START_NOW = `
INSERT INTO pipeline.consumer_position (organization_id, consumer, connection_id, settled)
SELECT $1, $2, connection_id, head FROM pipeline.position WHERE organization_id = $1 ON CONFLICT DO NOTHING`;

const UPDATE = `
UPDATE pipeline.consumer SET types = $3, after_dead_letter = coalesce($4, after_dead_letter)
WHERE organization_id = $1 AND name = $2`;

const REMOVE_LETTERS = "DELETE FROM pipeline.dead_letter WHERE organization_id = $1 AND consumer = $2 AND road = $3";
const REMOVE_POSITIONS = "DELETE FROM pipeline.consumer_position WHERE organization_id = $1 AND consumer = $2";
const REMOVE_CONSUMER = "DELETE FROM pipeline.consumer WHERE organization_id = $1 AND name = $2";
