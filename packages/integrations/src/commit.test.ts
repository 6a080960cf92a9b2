import { toBinary } from "@bufbuild/protobuf";
import {
  eventId,
  TaskChangedSchema,
  TaskCompletedSchema,
  TaskDeletedSchema,
  TaskReopenedSchema,
} from "@tributary/contracts";
import { type Database, migrate, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { append, type EventBatch, lastConnectionEvents, migrations as pipelineTables } from "@tributary/pipeline";
import { type Signal, signal } from "@tributary/sdk";
import fc from "fast-check";
import { createHash, randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { commit } from "./commit.ts";
import type { Lease } from "./lease.ts";
import { migrations } from "./migrations.ts";
import type { Runtime } from "./runtime.ts";

let database: Database;
beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [pipelineTables, migrations]);
});
afterAll(() => database.close());

const CONNECTION = `
INSERT INTO integrations.connection (id, organization_id, integration, owner_kind, owner_id, account_id, account_label,
  api_version, state, backfill_from, lease_token, lease_until)
VALUES ($1::uuid, 'acme', 'todoist', 'user', 'u', $1::text, 'x', 'v1', 'connected', now(), 1, now() + interval '1 h')`;
const CREDENTIAL = `
INSERT INTO integrations.credential (id, connection_id, organization_id, integration, secret_ids, granted_scopes, meta)
VALUES ($1, $2, 'acme', 'todoist', '{}', '{}', '{"v": "1"}')`;

async function held(): Promise<Lease> {
  const [connectionId, credentialId] = [randomUUID(), randomUUID()];
  await asOwner(database, (tx) => run(tx, CONNECTION, [connectionId]));
  await asOwner(database, (tx) => run(tx, CREDENTIAL, [credentialId, connectionId]));
  return { connectionId, credentialId, organizationId: "acme", integration: "todoist", token: 1, leaseSeconds: 3_600 };
}

interface Published {
  readonly sequence: bigint;
  readonly id: string;
  readonly type: string;
  readonly objectKey: string;
  readonly timeMs: number;
  readonly payload: string;
}

/** The rules of a commit, one signal after the other and without a database. */
function createModel(connectionId: string) {
  const known = new Map<string, { readonly mark: string; readonly type: string; readonly counter: number }>();
  const published: Published[] = [];
  return {
    published,
    take: ({ schema, message, id, revision, transition, occurredAt }: Signal): void => {
      const objectKey = `task/${id}`;
      const bytes = toBinary(schema, message);
      const state = revision === undefined ? createHash("sha256").update(bytes).digest("hex") : `=${revision}`;
      const mark = `${schema.typeName} ${state}`;
      const before = known.get(objectKey);
      if (before?.mark === mark) return;
      const counter = (before?.counter ?? 0) + 1;
      known.set(objectKey, { mark, type: schema.typeName, counter });
      const type = transition?.from.typeName === before?.type ? transition?.as.typeName : undefined;
      published.push({
        sequence: BigInt(published.length + 1),
        id: eventId(connectionId, type ?? schema.typeName, objectKey, revision ?? String(counter)),
        type: type ?? schema.typeName,
        objectKey,
        timeMs: occurredAt.getTime(),
        payload: Buffer.from(bytes).toString("hex"),
      });
    },
  };
}

const texts = fc.oneof(fc.constantFrom("a", "b", "\0", "\ud800", "ż🐈"), fc.string({ unit: "binary", maxLength: 30 }));
const ids = fc.constantFrom("1", "2", "3", '"\\', "ż\n\u2028", "x".repeat(512));
const dates = fc.date({ min: new Date("0001-01-01"), max: new Date("9999-12-31"), noInvalidDate: true });
const signals: fc.Arbitrary<Signal> = fc
  .record({ kind: fc.constantFrom("changed", "completed", "deleted"), id: ids, title: texts, occurredAt: dates })
  .chain(({ kind, id, title, occurredAt }) =>
    fc.option(fc.constantFrom("", "r1", "r2", "\0"), { nil: undefined, freq: 2 }).map((revision) => {
      const common = { id, occurredAt, ...(revision === undefined ? {} : { revision }) };
      // An empty message has no bytes at all.
      const data = title === "" ? {} : { task: { id, title } };
      if (kind === "deleted") return signal(TaskDeletedSchema, { ...common, data: { taskId: id } });
      if (kind === "completed") return signal(TaskCompletedSchema, { ...common, data });
      const transition = { from: TaskCompletedSchema, as: TaskReopenedSchema };
      return signal(TaskChangedSchema, { ...common, data, transition });
    }),
  );

describe("a commit", () => {
  it("decides, numbers and names as the rules say, however the signals are cut into batches", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(signals, { maxLength: 12 }), { maxLength: 6 }), async (batches) => {
        const lease = await held();
        const model = createModel(lease.connectionId);
        const told: EventBatch[] = [];
        const firsts: bigint[] = [];
        const committed: Runtime["committed"] = (batch, first) => void (told.push(batch), firsts.push(first));
        const runtime = { database, append, committed } as unknown as Runtime;
        for (const batch of batches) {
          const before = model.published.length;
          for (const one of batch) model.take(one);
          const events = model.published.length - before;
          expect(
            await commit(runtime, { lease, signals: batch, cursor: { before }, backfill: false, traceparent: "" }),
          ).toEqual({ events, unchanged: batch.length - events });
        }
        const stored = await asOwner(database, (tx) => lastConnectionEvents(tx, "acme", lease.connectionId, 1_000));
        expect(stored.toReversed().map(({ sequence, ...event }) => asPublished(sequence, event))).toEqual(
          model.published,
        );
        // What was told is what was stored.
        const heard = told.flatMap(({ events }, index) =>
          events.map((event, n) => asPublished((firsts[index] ?? 0n) + BigInt(n), event)),
        );
        expect(heard).toEqual(model.published);
      }),
      { numRuns: 60 },
    );
  });
});

function asPublished(sequence: bigint, event: EventBatch["events"][number]): Published {
  const { id, type, objectKey, timeMs, payload } = event;
  return { sequence, id, type, objectKey, timeMs, payload: Buffer.from(payload).toString("hex") };
}
