import { acrossOrganizations, asOwner, type Database, run as runSql } from "@tributary/db";
import { claimDue, createRegistry, createThrottle, type RunResult, syncRun } from "@tributary/integrations";
import { eventsAfter } from "@tributary/pipeline";
import type { Connector, Json } from "@tributary/sdk";
import { must } from "./check.ts";
import type { Linked } from "./consent-road.ts";
import type { Stage } from "./stage.ts";
import { watch } from "./watch.ts";

/** An event that was published of a connection. */
export interface SeenEvent {
  readonly id: string;
  /** Full protobuf name. */
  readonly type: string;
  readonly objectKey: string;
  /** Hexadecimal. */
  readonly payload: string;
}

export interface Drive {
  /** Instead of the connector as it is. */
  readonly connector?: Connector;
  readonly database?: Database;
  readonly shutdown?: AbortSignal;
}

/** What waiting would do: the connection comes due, and the lease of a worker that died runs out. */
const DUE_NOW = `UPDATE integrations.connection SET due_at = 'epoch', lease_until = NULL WHERE id = $1 AND organization_id = $2`;

/** One run of a connection, claimed and settled as the scheduler does it. */
export async function drive(stage: Stage, linked: Linked, { connector, database, shutdown }: Drive = {}) {
  const { organizationId } = linked.member.caller;
  await asOwner(stage.database, (tx) => runSql(tx, DUE_NOW, [linked.id, organizationId]));
  const [lease] = await acrossOrganizations(stage.database, "scheduler", (tx) => claimDue(tx, 1));
  if (lease?.connectionId !== linked.id) throw new Error("another connection was due");
  const runtime = {
    ...stage.runtime,
    ...(connector === undefined ? {} : { registry: createRegistry([watch(connector, stage.witness)]) }),
    ...(database === undefined ? {} : { database }),
  };
  const throttle = createThrottle(() => stage.control.clock.now().getTime());
  return syncRun(runtime, throttle, lease, shutdown ?? new AbortController().signal);
}

/** A run that has to end well. */
export async function read(stage: Stage, linked: Linked): Promise<RunResult> {
  const result = await drive(stage, linked);
  must(
    result.outcome === "ok",
    `a run without any fault ended as "${result.outcome}"${lastWords(stage)}`,
    "make fetchSignals come to its end against the emulator before anything else",
  );
  return result;
}

const lastWords = ({ witness }: Stage): string => {
  const error = witness.errors.at(-1);
  return error instanceof Error ? `: ${error.name}: ${error.message.slice(0, 300)}` : "";
};

const EVENTS_MAX = 10_000;

/** What the connector said, in the order of publication; what the runtime said of the connection is left out. */
export async function eventsOf({ database, connector }: Stage, { id, member }: Linked): Promise<SeenEvent[]> {
  const from = { organizationId: member.caller.organizationId, connectionId: id };
  const types = connector.manifest.events.map(({ typeName }) => typeName);
  const steps = await asOwner(database, (tx) => eventsAfter(tx, from, { sequence: 0n }, types, EVENTS_MAX));
  return steps.flatMap(({ event }) =>
    event === undefined
      ? []
      : [
          {
            id: event.id,
            type: event.type,
            objectKey: event.objectKey,
            payload: Buffer.from(event.payload).toString("hex"),
          },
        ],
  );
}

/** The types of what was published about one object, in order. @param id as in the connector's `signal(…, { id })`. */
export const storyOf = (events: readonly SeenEvent[], id: string): string[] =>
  events.filter(({ objectKey }) => objectKey.slice(objectKey.indexOf("/") + 1) === id).map(({ type }) => type);

const CURSOR = `SELECT meta -> 'cursor' AS cursor FROM integrations.credential WHERE connection_id = $1`;

export async function cursorOf({ database }: Stage, { id }: Linked): Promise<string> {
  const [row] = await asOwner(database, (tx) => runSql<{ cursor: Json }>(tx, CURSOR, [id]));
  return JSON.stringify(row?.cursor ?? null);
}

const DROP_CURSOR = `UPDATE integrations.credential SET meta = '{"v":"1"}' WHERE connection_id = $1`;

/** What the runtime does after CursorExpired, by hand. */
export const dropCursor = async ({ database }: Stage, { id }: Linked): Promise<void> =>
  void (await asOwner(database, (tx) => runSql(tx, DROP_CURSOR, [id])));

export const stateOf = async ({ connections }: Stage, { id, member }: Linked): Promise<string> =>
  (await connections.get(member.caller, id)).row.state;

/** What an object's subscribers saw, by object: order between objects is not promised, within one it is. */
export function byObject(events: readonly SeenEvent[]): ReadonlyMap<string, string> {
  const stories = new Map<string, string>();
  for (const { objectKey, type, payload } of events)
    stories.set(objectKey, `${stories.get(objectKey) ?? ""}${type} ${payload}\n`);
  return stories;
}

/** @throws ConformanceFailure when an object has another story than in the reference. */
export function mustBeSame(
  events: readonly SeenEvent[],
  reference: readonly SeenEvent[],
  when: string,
  advice: string,
): void {
  const [seen, expected] = [byObject(events), byObject(reference)];
  const lost = [...expected.keys()].filter((key) => !seen.has(key));
  const invented = [...seen.keys()].filter((key) => !expected.has(key));
  const different = [...expected.keys()].filter((key) => seen.has(key) && seen.get(key) !== expected.get(key));
  const repeated = events.length - new Set(events.map(({ id }) => id)).size;
  must(
    lost.length + invented.length + different.length + repeated === 0,
    `${when}: ${lost.length} objects lost, ${invented.length} invented, ${different.length} with another story, ${repeated} events twice ` +
      `(of ${expected.size} objects)${[...lost, ...invented, ...different]
        .slice(0, 3)
        .map((key) => `\n  ${key}`)
        .join("")}`,
    advice,
  );
}
