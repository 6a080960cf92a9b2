import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Priority, TaskChangedSchema, TaskSchema } from "@tributary/contracts";
import { type Database, migrate, openPglite, openPostgres, run } from "@tributary/db";
import { asOwner, startPrivatePostgres } from "@tributary/db/testing";
import { append, createHandOff, ensurePartitions, migrations as pipelineTables } from "@tributary/pipeline";
import { type Signal, signal } from "@tributary/sdk";
import { createHash, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { commit } from "../src/commit.ts";
import { migrations, type Runtime } from "../src/index.ts";
import type { Lease } from "../src/lease.ts";

/**
 * The commit against its ceiling: one statement that locks the cursor's row, upserts `object_state` by hash, inserts
 * what is new into the ledger with its sequences and moves the head, with bytes that were made before the clock ran. One
 * connection, one writer, 500 signals at a time, default durability; ours and the ceiling take turns batch by batch on
 * the same tables, so that both meet the same noise.
 */
export type Phase = "new" | "unchanged" | "changed";
/** Embedded is PGlite, on disk as the hub has it: both sides share its one connection. */
export type Mode = "cluster" | "embedded";

const BATCH = 500;
const BATCHES = 16;
const occurredAt = new Date("2026-11-21T09:30:00Z");

export const commitBench = (phase: Phase, mode: Mode = "cluster") => ({
  name: `pipeline/commit-${phase}${mode === "embedded" ? "-embedded" : ""}`,
  unit: "rows/s",
  goal: { of: "ratio", atLeast: 0.5 } as const,
  run: () => measureCommit(phase, mode),
  /** Every run starts a server of its own. */
  repeats: 3,
});

async function measureCommit(phase: Phase, mode: Mode): Promise<{ ours: number; ceiling: number }> {
  const { database, owner, unconfine, close } = mode === "cluster" ? await openCluster() : await openEmbedded();
  const handOff = await createHandOff({ database, process: randomUUID() });
  try {
    await migrate(database, [pipelineTables, migrations]);
    await ensurePartitions(database, new Date());
    await unconfine();
    const runtime = { database, append, committed: handOff.committed } as unknown as Runtime;
    const ours = commits(runtime, await connected(database));
    const bare = statements(owner, await connected(database));
    const first = batchesOf(1);
    if (phase !== "new") await both(ours, bare, first, BATCH);
    const [signals, events] =
      phase === "new" ? [first, BATCH] : phase === "unchanged" ? [first, 0] : [batchesOf(2), BATCH];
    return await both(ours, bare, signals, events);
  } finally {
    await handOff.stop();
    await close();
  }
}

interface Opened {
  readonly database: Database;
  /** For the ceiling: no role, no policy, and no transaction around its statement. */
  readonly owner: Database;
  /** After the migrations, which confine the process to a role that reads nothing. */
  unconfine(): Promise<void>;
  close(): Promise<void>;
}

async function openCluster(): Promise<Opened> {
  const server = await startPrivatePostgres();
  const database = openPostgres({ url: server.url });
  const owner = openPostgres({ url: server.url });
  const close = async (): Promise<void> => {
    await database.close();
    await owner.close();
    await server.stop();
  };
  return { database, owner, unconfine: async () => {}, close };
}

async function openEmbedded(): Promise<Opened> {
  const folder = mkdtempSync(join(tmpdir(), "tributary-embedded-"));
  const database = await openPglite({ dataDir: join(folder, "database") });
  const close = async (): Promise<void> => {
    await database.close();
    rmSync(folder, { recursive: true, force: true });
  };
  // Our transactions take their role themselves; what is outside of them has the login's.
  const unconfine = async (): Promise<void> => void (await database.pglite.exec("RESET ROLE"));
  return { database, owner: database, unconfine, close };
}

/** @returns what to time, after everything that may be made beforehand was made. It answers how many events were new. */
type Prepare = (signals: readonly Signal[], turn: number) => () => Promise<number>;

async function both(ours: Prepare, bare: Prepare, batches: readonly Signal[][], expected: number) {
  const ms = { ours: 0, bare: 0 };
  for (const [turn, signals] of batches.entries()) {
    for (const [who, prepare] of turn % 2 === 0 ? SIDES(ours, bare) : SIDES(ours, bare).toReversed()) {
      const work = prepare(signals, turn);
      const start = performance.now();
      const events = await work();
      ms[who] += performance.now() - start;
      if (events !== expected) throw new Error(`${who} made ${events} events and not ${expected}`);
    }
  }
  const rows = batches.length * BATCH * 1000;
  return { ours: rows / ms.ours, ceiling: rows / ms.bare };
}

const SIDES = (ours: Prepare, bare: Prepare) => [["ours", ours] as const, ["bare", bare] as const];

/** Other titles of the same length with each version, so that all payloads have one length: 300 bytes. */
export function batchesOf(version: number): Signal[][] {
  return Array.from({ length: BATCHES }, (_, batch) =>
    Array.from({ length: BATCH }, (_signal, index) => {
      const id = `6X7rM8997g${String(batch * BATCH + index).padStart(6, "0")}`;
      const task = create(TaskSchema, {
        id,
        title: `Water the plants on the balcony, number ${id}, version ${version}`,
        description: "Two litres each; the basil needs less. ".repeat(3),
        priority: Priority.HIGH,
        labels: ["home", "weekly"],
        projectId: "6Jf8VQXxpwv56VQ7",
        createdAt: timestampFromDate(new Date("2026-11-01T08:00:00Z")),
        updatedAt: timestampFromDate(occurredAt),
      });
      return signal(TaskChangedSchema, { id, occurredAt, data: { task } });
    }),
  );
}

export async function connected(database: Database): Promise<Lease> {
  const [connectionId, credentialId] = [randomUUID(), randomUUID()];
  await asOwner(database, (tx) => run(tx, CONNECTION, [connectionId]));
  await asOwner(database, (tx) => run(tx, CREDENTIAL, [credentialId, connectionId]));
  await asOwner(database, (tx) => run(tx, POSITION, [connectionId]));
  return {
    connectionId,
    credentialId,
    organizationId: "acme",
    integration: "todoist",
    token: 1,
    leaseSeconds: 60,
  };
}

const CONNECTION = `
INSERT INTO integrations.connection (id, organization_id, integration, owner_kind, owner_id, account_id, account_label,
  api_version, state, backfill_from, lease_token, lease_until)
VALUES ($1::uuid, 'acme', 'todoist', 'user', 'u', $1::text, 'x', 'v1', 'connected', now(), 1, now() + interval '60 s')`;

const CREDENTIAL = `
INSERT INTO integrations.credential (id, connection_id, organization_id, integration, secret_ids, granted_scopes, meta)
VALUES ($1, $2, 'acme', 'todoist', '{}', '{}', '{"v": "1"}')`;

const POSITION = `
INSERT INTO pipeline.position (connection_id, organization_id, head, day) VALUES ($1, 'acme', 0, current_date)`;

const commits =
  (runtime: Runtime, lease: Lease): Prepare =>
  (signals, turn) =>
  async () => {
    const cursor = { sync: `token-${turn}` };
    return (await commit(runtime, { lease, signals, cursor, backfill: false, traceparent: "" })).events;
  };

/** Ids and object keys have one length each, so that everything is cut by its number. */
export const BARE = `
WITH held AS (
  UPDATE integrations.credential SET meta = jsonb_build_object('v', '1', 'cursor', $2::jsonb), version = version + 1
  WHERE connection_id = $1 RETURNING connection_id
), incoming AS MATERIALIZED (
  SELECT n, substr($3::bytea, n * 16 + 1, 16) AS key, substr($4::bytea, n * 16 + 1, 16) AS mark
  FROM held, generate_series(0, $5::int - 1) AS n
), written AS (
  INSERT INTO integrations.object_state AS o (connection_id, key, organization_id, revision, mark, type)
  SELECT $1, key, 'acme', 1, mark, $6 FROM incoming
  ON CONFLICT (connection_id, key) DO UPDATE SET revision = o.revision + 1, mark = excluded.mark, type = excluded.type
  WHERE o.mark <> excluded.mark
  RETURNING o.key
), numbered AS (
  SELECT i.n, row_number() OVER (ORDER BY i.n) AS place FROM written w JOIN incoming i ON i.key = w.key
), taken AS (
  UPDATE pipeline.position p SET head = head + c.events
  FROM (SELECT count(*) AS events FROM numbered) c WHERE connection_id = $1
  RETURNING head - c.events AS base, c.events
), logged AS (
  INSERT INTO pipeline.event (day, connection_id, sequence, organization_id, connector, id, type, subject, object_key,
    time, backfill, traceparent, committed_at, payload)
  SELECT (now() AT TIME ZONE 'UTC')::date, $1, base + place, 'acme', 'todoist',
    convert_from(substr($7::bytea, n * 22 + 1, 22), 'UTF8'), $6, 'evt.v1.acme.todoist.task.changed',
    convert_from(substr($8::bytea, n * 21 + 1, 21), 'UTF8'), now(), false, '', now(),
    substr($9::bytea, n * $10::int + 1, $10::int)
  FROM numbered, taken
)
SELECT events FROM taken`;

export const statements =
  (owner: Database, { connectionId }: Lease): Prepare =>
  (signals, turn) => {
    const payloads = signals.map(({ message }) => toBinary(TaskChangedSchema, message as never));
    const bytes = payloads[0]?.length ?? 0;
    if (payloads.some(({ length }) => length !== bytes)) throw new Error("payloads differ in length");
    const digest = (text: string) => createHash("sha256").update(text).digest();
    const keys = Buffer.concat(signals.map(({ id }) => digest(id).subarray(0, 16)));
    const marks = Buffer.concat(payloads.map((each) => createHash("sha256").update(each).digest().subarray(0, 16)));
    const ids = Buffer.from(
      signals.map(({ id }) => digest(`${id} ${turn}`).toString("base64url").slice(0, 22)).join(""),
    );
    const objectKeys = Buffer.from(signals.map(({ id }) => `task/${id}`).join(""));
    const cursor = JSON.stringify({ sync: `token-${turn}` });
    const params = [connectionId, cursor, keys, marks, signals.length, TaskChangedSchema.typeName, ids, objectKeys];
    const all = [...params, Buffer.concat(payloads), bytes];
    return async () => Number((await run<{ events: bigint }>(owner.query, BARE, all))[0]?.events);
  };
