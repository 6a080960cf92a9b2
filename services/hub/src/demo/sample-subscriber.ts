import { eventTypes } from "@tributary/contracts";
import { asOwner, type Database, type Queryable, run } from "@tributary/db";
import { type Inbox, subscribe } from "@tributary/subscriber";
import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "../config.ts";
import type { Hub } from "../hub.ts";

/** A service of somebody's own, as small as can be: writes down every event it is handed, exactly once. */
export interface SampleSubscriber {
  totals(): Promise<{
    readonly published: number;
    readonly delivered: number;
    readonly duplicates: number;
    readonly deadLetters: number;
  }>;
  /** Resolves when an event of a type about an object, later than a sequence, has been handled. */
  until(type: string, objectKey: string, after: bigint, waitMs: number): Promise<void>;
  /** Tells of each event from now on, in a line. */
  follow(tell: (line: string) => void): void;
  /** From the start of this process to the first event in a handler; null while there was none. */
  firstEventMs(): number | null;
  stop(): Promise<void>;
}

const NAME = "sample";
const TABLES = [
  "CREATE SCHEMA IF NOT EXISTS sample",
  "CREATE TABLE IF NOT EXISTS sample.inbox (event_id text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())",
  `CREATE TABLE IF NOT EXISTS sample.effect (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id text NOT NULL,
    type text NOT NULL, object_key text NOT NULL, connection_id uuid NOT NULL, sequence bigint NOT NULL)`,
] as const;

/** Subscribes over NATS when there is a broker, else over HTTP; the code is the same. */
export async function startSampleSubscriber(hub: Hub, config: Config): Promise<SampleSubscriber> {
  const { database } = hub;
  await asOwner(database, async (tx) => {
    for (const statement of TABLES) await run(tx, statement);
  });
  let firstEventMs: number | null = null;
  let onEvent: (line: string) => void = () => {};
  const subscriber = subscribe<Queryable>({
    url: config.natsUrl ?? hub.origin,
    name: NAME,
    organization: config.organizationId,
    ...(config.natsUrl === undefined ? { token: hub.localKey } : {}),
    inbox: inboxOn(hub.database),
  });
  for (const schema of eventTypes.values())
    subscriber.on(schema, async (event, { tx, id, type, objectKey, connectionId, sequence }) => {
      firstEventMs ??= Math.round(performance.now());
      onEvent(describe(type, event, objectKey));
      await run(tx, EFFECT, [id, type, objectKey, connectionId, sequence]);
    });
  const subscription = await subscriber.start();
  return {
    totals: async () => {
      const [row] = await asOwner(database, (tx) =>
        run<Record<"published" | "delivered" | "duplicates" | "dead", bigint>>(tx, TOTALS, [
          config.organizationId,
          NAME,
        ]),
      );
      return {
        published: Number(row?.published),
        delivered: Number(row?.delivered),
        duplicates: Number(row?.duplicates),
        deadLetters: Number(row?.dead) + (config.natsUrl === undefined ? 0 : subscription.stats().deadLetters),
      };
    },
    until: async (type, objectKey, after, waitMs) => {
      const deadline = performance.now() + waitMs;
      while (performance.now() < deadline) {
        if ((await asOwner(database, (tx) => run(tx, SEEN, [type, objectKey, after]))).length > 0) return;
        await sleep(20);
      }
      throw new Error(`no ${type} came within ${waitMs / 1000} s`);
    },
    follow: (tell) => {
      onEvent = tell;
    },
    firstEventMs: () => firstEventMs,
    stop: () => subscription.stop(),
  };
}

/** "TaskCompleted  Water the ferns": the simulated account is nobody's, so its titles may be shown. */
function describe(type: string, event: object, objectKey: string): string {
  const task = "task" in event ? (event.task as { readonly title?: string } | undefined) : undefined;
  return `→ ${type.slice(type.lastIndexOf(".") + 1)}  ${task?.title ?? objectKey}`;
}

/** The effect and the inbox row in one transaction: that is all there is to exactly once. */
const inboxOn = (database: Database): Inbox<Queryable> => ({
  once: (eventId, effect) =>
    asOwner(database, async (tx) => {
      const fresh = await run(
        tx,
        "INSERT INTO sample.inbox (event_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING event_id",
        [eventId],
      );
      if (fresh.length === 0) return false;
      await effect(tx);
      return true;
    }),
});

const EFFECT =
  "INSERT INTO sample.effect (event_id, type, object_key, connection_id, sequence) VALUES ($1, $2, $3, $4, $5)";
const SEEN = "SELECT 1 FROM sample.effect WHERE type = $1 AND object_key = $2 AND sequence > $3 LIMIT 1";
const TOTALS = `
SELECT (SELECT coalesce(sum(head), 0) FROM pipeline.position WHERE organization_id = $1)::bigint AS published,
  (SELECT count(DISTINCT event_id) FROM sample.effect) AS delivered,
  (SELECT count(*) - count(DISTINCT event_id) FROM sample.effect) AS duplicates,
  (SELECT count(*) FROM pipeline.dead_letter WHERE organization_id = $1 AND consumer = $2) AS dead`;
