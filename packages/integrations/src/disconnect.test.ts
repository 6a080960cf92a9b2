import { type Database, migrate, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { append, migrations as pipelineTables } from "@tributary/pipeline";
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { disconnect } from "./disconnect.ts";
import { migrations } from "./migrations.ts";
import type { Runtime } from "./runtime.ts";
import { connection, type ConnectionRow, credential } from "./schema.ts";

let database: Database;
beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [pipelineTables, migrations]);
});
afterAll(() => database.close());

const ORGANIZATION = { organizationId: "acme", integration: "tasks" };

/** A connection with three events. */
async function linked(): Promise<ConnectionRow> {
  const id = randomUUID();
  const event = { type: "t", subject: "s", objectKey: "o/1", timeMs: 0, payload: new Uint8Array() };
  return asOwner(database, async (tx) => {
    const owner = { ownerKind: "user", ownerId: "mia", accountLabel: "mia", accountId: id } as const;
    const begun = { apiVersion: "1", state: "connected", backfillFrom: new Date(0) } as const;
    const [row] = await tx
      .insert(connection)
      .values({ ...ORGANIZATION, ...owner, ...begun, id })
      .returning();
    await tx.insert(credential).values({
      ...ORGANIZATION,
      id: randomUUID(),
      connectionId: id,
      secretIds: {},
      grantedScopes: [],
      meta: { v: "1" },
    });
    await append(tx, {
      organizationId: "acme",
      connectionId: id,
      connector: "tasks",
      backfill: false,
      traceparent: "",
      events: ["a", "b", "c"].map((name) => ({ ...event, id: name })),
    });
    return row as ConnectionRow;
  });
}

const connector = {
  auth: {},
  manifest: { hosts: [], rateLimit: { requests: 1, perMs: 1, scope: "connection" } },
  revoke: async () => {},
};
const staged = (): Runtime =>
  ({
    database,
    append,
    registry: { get: () => connector },
    vault: { open: () => ({}), forget: async () => 1 },
    committed: () => {},
    uuid: randomUUID,
    now: () => new Date(),
    log: { info: () => {}, warn: () => {}, error: () => {} },
  }) as unknown as Runtime;

it.each([
  [true, { erased: 3n, kept: [4n] }],
  [false, { erased: 0n, kept: [1n, 2n, 3n, 4n] }],
])(
  "with the events deleted: %s, the ledger has what is kept and the end, and how far was erased",
  async (all, left) => {
    const row = await linked();
    const receipt = await disconnect(staged(), row, { deleteEvents: all });
    expect(receipt).toMatchObject({ eventsDeleted: all ? 3 : 0, eventsKept: all ? 0 : 3 });
    const [position] = await asOwner(database, (tx) =>
      run<{ erased: bigint; kept: bigint[] }>(
        tx,
        `SELECT erased, ARRAY(SELECT sequence FROM pipeline.event e WHERE e.connection_id = p.connection_id ORDER BY 1) AS kept
       FROM pipeline.position p WHERE connection_id = $1`,
        [row.id],
      ),
    );
    expect({ erased: position?.erased, kept: position?.kept.map(BigInt) }).toEqual(left);
  },
);
