import { type Database, migrate, openPostgres, run } from "@tributary/db";
import { asOwner, startPrivatePostgres } from "@tributary/db/testing";
import { migrations as pipelineTables } from "@tributary/pipeline";
import { migrations } from "../src/index.ts";
import { claimDue } from "../src/lease.ts";
import { fillConnections } from "./fill-connections.ts";

/**
 * One claim of 500 out of 50,000 connections of which 1 % are due, in milliseconds; 100 organisations. The ceiling is an
 * UPDATE of the 500 oldest by the same index, without turns between organisations and without the credential's id.
 */
const CONNECTIONS = 50_000;
const DUE = 500;
const ROUNDS = 6;

export default {
  name: "integrations/claim",
  unit: "ms",
  goal: { of: "ours", atMost: 20 },
  /** Every run fills a server of its own. */
  repeats: 3,
  async run() {
    const server = await startPrivatePostgres();
    const database = openPostgres({ url: server.url });
    try {
      await migrate(database, [pipelineTables, migrations]);
      await fillConnections(database, CONNECTIONS, DUE);
      const ours: number[] = [];
      const ceiling: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        ours.push(await timed(database, async () => (await asOwner(database, (tx) => claimDue(tx, DUE))).length));
        ceiling.push(await timed(database, async () => (await asOwner(database, (tx) => run(tx, BARE, [DUE]))).length));
      }
      return { ours: median(ours), ceiling: median(ceiling) };
    } finally {
      await database.close();
      await server.stop();
    }
  },
};

const BARE = `
UPDATE integrations.connection
SET lease_token = lease_token + 1, lease_until = now() + interval '60 s', due_at = now() + interval '60 s', wake = false
WHERE id IN (
  SELECT id FROM integrations.connection WHERE due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
RETURNING id, organization_id, integration, lease_token`;

const RELEASE = `
UPDATE integrations.connection SET due_at = now() - interval '1 s', lease_until = NULL WHERE lease_until IS NOT NULL`;

async function timed(database: Database, claim: () => Promise<number>): Promise<number> {
  const start = performance.now();
  const claimed = await claim();
  const ms = performance.now() - start;
  if (claimed !== DUE) throw new Error(`${claimed} connections were claimed`);
  await asOwner(database, (tx) => run(tx, RELEASE));
  return ms;
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
