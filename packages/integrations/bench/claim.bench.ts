import { acrossOrganizations, type Database, migrate, openPostgres, run, runLast } from "@tributary/db";
import { asOwner, startPrivatePostgres } from "@tributary/db/testing";
import { migrations as pipelineTables } from "@tributary/pipeline";
import { migrations } from "../src/index.ts";
import { claimDue } from "../src/lease.ts";
import { fillConnections } from "./fill-connections.ts";

/**
 * One claim of 500, as the scheduler does it, in milliseconds; 1 % of the connections are due, of 100 organisations. The
 * ceiling is an UPDATE of the 500 oldest by the same index in one round trip, without turns between organisations, without
 * the credential's id and past every policy. 50,000 connections, or as many as BENCH_CONNECTIONS says, up to a million:
 * then it fills one server (some minutes) and says what the process's memory did.
 */
const CONNECTIONS = 50_000;
const CONNECTIONS_MAX = 1_000_000;
const CLAIMED = 500;
const ROUNDS = 6;

export default {
  name: "integrations/claim",
  unit: "ms",
  goal: { of: "ours", atMost: 20 },
  /** Every run fills a server of its own. */
  repeats: process.env["BENCH_CONNECTIONS"] === undefined ? 3 : 1,
  async run({ warmUp, log }: { readonly warmUp: boolean; log(line: string): void }) {
    const wished = Number(process.env["BENCH_CONNECTIONS"] ?? CONNECTIONS);
    const connections = warmUp ? CONNECTIONS : Math.min(CONNECTIONS_MAX, Math.max(CONNECTIONS, wished));
    const server = await startPrivatePostgres();
    const database = openPostgres({ url: server.url });
    try {
      await migrate(database, [pipelineTables, migrations]);
      await fillConnections(database, connections, connections / 100);
      const ours: number[] = [];
      const ceiling: number[] = [];
      const claim = (): Promise<number> =>
        acrossOrganizations(database, "scheduler", async (tx) => (await claimDue(tx, CLAIMED)).length);
      const bare = (): Promise<number> => asOwner(database, async (tx) => (await runLast(tx, BARE, [CLAIMED])).length);
      const rss = process.memoryUsage.rss();
      for (let round = 0; round < ROUNDS; round++) {
        ours.push(await timed(database, claim));
        ceiling.push(await timed(database, bare));
      }
      const grown = (process.memoryUsage.rss() - rss) / 2 ** 20;
      if (connections !== CONNECTIONS)
        log(
          `${connections} connections, claims of ${ours.map((ms) => ms.toFixed(1)).join(", ")} ms; RSS ${grown.toFixed(1)} MiB more`,
        );
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
  if (claimed !== CLAIMED) throw new Error(`${claimed} connections were claimed`);
  await asOwner(database, (tx) => run(tx, RELEASE));
  return ms;
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
