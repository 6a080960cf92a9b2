import { fromBinary } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { canariesInTables, holdsCanaryInside } from "@tributary/conformance";
import {
  ConnectionState,
  ConnectionStateChangedSchema,
  TaskChangedSchema,
  TaskCompletedSchema,
  TaskDeletedSchema,
  TaskReopenedSchema,
} from "@tributary/contracts";
import type { Member } from "./people.ts";
import type { Account, TaskState } from "./town.ts";
import type { World } from "./world.ts";

/** An event, or the effect of one. */
export interface Row {
  readonly connectionId: string;
  readonly sequence: bigint;
  readonly id: string;
  readonly type: string;
  readonly objectKey: string;
  readonly payload: Uint8Array;
}

const ROW = `connection_id AS "connectionId", sequence, type, object_key AS "objectKey", payload`;
const EVENTS = `SELECT id, ${ROW} FROM pipeline.event ORDER BY connection_id, sequence`;
const EFFECTS = `SELECT event_id AS id, ${ROW} FROM sim.effect ORDER BY number`;

export const eventsOf = (world: World): Promise<Row[]> => world.ask<Row>(EVENTS);
export const effectsOf = (world: World): Promise<Row[]> => world.ask<Row>(EFFECTS);

/** Looks at everything that is left of a seed. @returns what is wrong, a sentence each. */
export async function check(world: World): Promise<string[]> {
  const [events, effects] = [await eventsOf(world), await effectsOf(world)];
  world.counts.effects = effects.length;
  return [
    ...ledger(await heads(world), events),
    ...onceEach(events, effects),
    ...(await objects(world, effects)),
    ...(await leftovers(world)),
    ...(await credentials(world, events)),
    ...acts(world.members),
    ...(await canaries(world, events)),
  ];
}

const HEADS = "SELECT connection_id AS id, head FROM pipeline.position";
const heads = (world: World) => world.ask<{ id: string; head: bigint }>(HEADS);

/** Sequences without gaps from 1, ids that are there once. */
function ledger(known: readonly { readonly id: string; readonly head: bigint }[], events: readonly Row[]): string[] {
  const problems = known.flatMap(({ id, head }) => {
    const own = events.filter(({ connectionId }) => connectionId === id);
    const gap = own.findIndex(({ sequence }, index) => sequence !== BigInt(index + 1));
    if (gap >= 0) return [`connection ${id}: there is a gap at sequence ${gap + 1}`];
    return BigInt(own.length) === head ? [] : [`connection ${id}: ${own.length} events, and a head of ${head}`];
  });
  const twice = events.length - new Set(events.map(({ id }) => id)).size;
  return twice === 0 ? problems : [...problems, `${twice} events share their id with another`];
}

/** Each event has one effect, and the effects of a connection have its order. */
function onceEach(events: readonly Row[], effects: readonly Row[]): string[] {
  const had = new Map<string, bigint>();
  const seen = new Set<string>();
  const problems: string[] = [];
  for (const { connectionId, sequence, id, type } of effects) {
    if (seen.has(id)) problems.push(`duplicate: ${type} ${connectionId} ${sequence} took effect again`);
    else if (sequence <= (had.get(connectionId) ?? 0n))
      problems.push(`out of order: ${type} ${connectionId} ${sequence}`);
    seen.add(id);
    had.set(connectionId, sequence);
  }
  for (const { connectionId, sequence, id, type } of events)
    if (!seen.has(id)) problems.push(`lost: ${type} ${connectionId} ${sequence} had no effect`);
  return problems;
}

const CONNECTIONS = `
SELECT c.id, c.owner_id AS owner, c.state, EXISTS (
  SELECT 1 FROM integrations.run r WHERE r.connection_id = c.id AND r.outcome = 'cursor_expired') AS forgot
FROM integrations.connection c`;

interface Followed {
  readonly id: string;
  readonly owner: string;
  readonly state: string;
  /** The provider had forgotten its cursor: what was deleted meanwhile is not told. */
  readonly forgot: boolean;
}

/** Task by task: the effects are states that the provider was in, in its order, and the last of them is the last. */
async function objects(world: World, effects: readonly Row[]): Promise<string[]> {
  const problems: string[] = [];
  for (const connection of await world.ask<Followed>(CONNECTIONS)) {
    const account = world.members.find(({ caller }) => caller.owner.id === connection.owner)?.account;
    if (account === undefined) throw new Error("a connection of nobody");
    const own = effects.filter(({ connectionId }) => connectionId === connection.id);
    const tasks = new Map<string, Row[]>();
    for (const row of own) {
      const [kind, id] = row.objectKey.split("/");
      if (kind === "task" && id !== undefined) tasks.set(id, [...(tasks.get(id) ?? []), row]);
    }
    const everyTask = new Set([...account.history.map(({ id }) => id), ...tasks.keys()]);
    for (const id of everyTask)
      problems.push(
        ...oneTask(connection, account, id, tasks.get(id) ?? []).map((what) => `${connection.id}: ${what}`),
      );
  }
  return problems;
}

function oneTask({ state, forgot }: Followed, account: Account, id: string, effects: readonly Row[]): string[] {
  const states = account.history.filter((one) => one.id === id);
  let at = -1;
  let before = "";
  for (const effect of effects) {
    const next = states.findIndex((one, index) => index > at && shows(effect, one.state, one.deleted));
    if (next < 0) {
      const known = states.some((one) => shows(effect, one.state, one.deleted));
      return [`task ${id}: ${effect.type} ${effect.sequence} is ${known ? "old or repeated" : "invented"}`];
    }
    const reopened = effect.type === TaskReopenedSchema.typeName;
    const opens = reopened || effect.type === TaskChangedSchema.typeName;
    if (opens && reopened !== (before === TaskCompletedSchema.typeName))
      return [`task ${id}: ${effect.type} ${effect.sequence} follows "${before}"`];
    at = next;
    before = effect.type;
  }
  if (state === "disconnected" || at === states.length - 1) return [];
  // Deleted before anybody looked, or while the cursor was lost.
  if (states.at(-1)?.deleted === true && (effects.length === 0 || forgot)) return [];
  return [`lost: task ${id} ended in a state that had no effect (${at + 1} of ${states.length})`];
}

/** Whether an effect tells of this state. */
function shows({ type, payload }: Row, state: TaskState, deleted: boolean): boolean {
  if (type === TaskDeletedSchema.typeName) return deleted;
  if (deleted) return false;
  const milliseconds = (text: string | null): number => Date.parse(text ?? "");
  if (type === TaskCompletedSchema.typeName) {
    const { task, completedAt } = fromBinary(TaskCompletedSchema, payload);
    const at = completedAt === undefined ? 0 : timestampDate(completedAt).getTime();
    return state.checked && task?.title === state.content && at === milliseconds(state.completed_at);
  }
  const { task } = fromBinary(TaskChangedSchema, payload);
  const at = task?.updatedAt === undefined ? 0 : timestampDate(task.updatedAt).getTime();
  return !state.checked && task?.title === state.content && at === milliseconds(state.updated_at);
}

const LEASES = `SELECT id FROM integrations.connection WHERE lease_until IS NOT NULL`;
const OPEN_RUNS = `SELECT id FROM integrations.run WHERE ended_at IS NULL`;
const BUGS = `SELECT id FROM integrations.run WHERE outcome = 'bug'`;
const GRANT_LEASES = `SELECT credential_id FROM vault.credential_grant WHERE lease_until > now()`;

async function leftovers(world: World): Promise<string[]> {
  const count = async (text: string, what: string): Promise<string[]> => {
    const rows = await world.ask(text);
    return rows.length === 0 ? [] : [`${rows.length} ${what}`];
  };
  return [
    ...(await count(LEASES, "leases of connections were not given back")),
    ...(await count(GRANT_LEASES, "leases of credentials were not given back")),
    ...(await count(OPEN_RUNS, "runs are still open")),
    // A connection to the database that breaks is taken for one, as anything that no class of error stands for.
    ...(world.counts.losses > 0 ? [] : await count(BUGS, "runs ended as a bug")),
  ];
}

/** A connection may only have expired where the provider had ended a consent. */
async function credentials(world: World, events: readonly Row[]): Promise<string[]> {
  const connections = await world.ask<Followed>(CONNECTIONS);
  return events.flatMap(({ type, payload, connectionId }) => {
    if (type !== ConnectionStateChangedSchema.typeName) return [];
    if (fromBinary(ConnectionStateChangedSchema, payload).current !== ConnectionState.EXPIRED) return [];
    const owner = connections.find(({ id }) => id === connectionId)?.owner;
    const account = world.members.find(({ caller }) => caller.owner.id === owner)?.account;
    return account?.revoked === true ? [] : [`${connectionId} expired although the provider had revoked nothing`];
  });
}

/** One effect a key: a task that was made is there once, and what was answered was done. */
function acts(members: readonly Member[]): string[] {
  return members.flatMap(({ acts: asked, account }) =>
    asked.flatMap(({ type, input, answer, key }) => {
      if (type !== "task.create") return [];
      const { title } = input as { title: string };
      const made = new Set(account.history.filter(({ state }) => state.content === title).map(({ id }) => id)).size;
      const right = answer === "ok" ? made === 1 : made <= 1;
      return right ? [] : [`the act ${key} was answered with "${answer}", and had ${made} effects`];
    }),
  );
}

async function canaries({ database, said }: World, events: readonly Row[]): Promise<string[]> {
  const places = await canariesInTables(database);
  if (holdsCanaryInside(said)) places.push("a log line or an error");
  if (holdsCanaryInside(events.map(({ payload }) => Buffer.from(payload).toString()))) places.push("an event");
  return places.map((place) => `a planted secret is in ${place}`);
}
