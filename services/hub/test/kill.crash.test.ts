import { asOwner, freePorts } from "@tributary/db/testing";
import { openPglite, run } from "@tributary/db";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { runDemoProcess } from "./demo-process.ts";

const folders: string[] = [];
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

/**
 * Each chain is one data folder: the demo is started on it and killed again and again, each time at another point, and
 * at last runs to its end. The first chain dies in linking and in the first reading, the later ones further on, the
 * last at moments that the clock chooses: shares of the time that a whole run takes on this machine.
 */
const CHAINS: readonly (readonly ({ readonly step: number } | { readonly share: number })[])[] = [
  [{ step: 1 }, { step: 2 }, { step: 3 }, { step: 4 }, { step: 5 }, { step: 6 }, { step: 7 }],
  [{ step: 8 }, { step: 9 }, { step: 3 }, { step: 2 }, { step: 6 }, { step: 1 }],
  [{ step: 12 }, { step: 5 }, { step: 8 }, { step: 4 }, { step: 10 }, { step: 7 }],
  [{ share: 0.3 }, { share: 0.5 }, { share: 0.7 }, { share: 0.4 }, { share: 0.6 }, { share: 0.9 }],
];

interface Result {
  readonly published: number;
  readonly delivered: number;
  readonly duplicates: number;
  readonly deadLetters: number;
}

describe("the demo, killed with SIGKILL and started again", () => {
  let kills = 0;
  /** What the last run to the end took. */
  let wholeMs = 3_000;

  it.each(CHAINS.map((chain, index) => [index + 1, chain] as const))(
    "loses nothing and does nothing twice: chain %i",
    async (_number, chain) => {
      const folder = mkdtempSync(join(tmpdir(), "tributary-kill-"));
      folders.push(folder);
      const port = await freePorts(3);
      const env = {
        TRIBUTARY_DATA_DIR: folder,
        TRIBUTARY_PORT: String(port),
        TRIBUTARY_SANDBOX_PORT: String(port + 1),
      };
      for (const point of chain) {
        const ended = await runDemoProcess(
          "step" in point
            ? { env, killAtStep: point.step }
            : { env, signalAfter: { signal: "SIGKILL", ms: point.share * wholeMs } },
        );
        if (ended.signal === "SIGKILL") kills += 1;
        // On warm data a demo has fewer steps: one that was not reached means that the run came to its end.
        expect([ended.code, ended.signal], ended.stderr).toEqual(
          ended.signal === "SIGKILL" ? [null, "SIGKILL"] : [0, null],
        );
      }
      const startedAt = performance.now();
      const last = await runDemoProcess({ env });
      wholeMs = performance.now() - startedAt;
      expect(last.code, last.stderr).toBe(0);
      const result = JSON.parse(last.stdout.trim().split("\n").at(-1) ?? "") as Result;
      expect(result).toMatchObject({ duplicates: 0, deadLetters: 0 });
      expect(result.published).toBeGreaterThanOrEqual(20);
      expect(result.delivered).toBe(result.published);
      await checkLedger(folder);
    },
  );

  it("was really killed at twenty points at least", () => {
    expect(kills).toBeGreaterThanOrEqual(20);
  });
});

/** Looks past what the demo says of itself, into what is on the disk. */
async function checkLedger(folder: string): Promise<void> {
  const database = await openPglite({ dataDir: join(folder, "database") });
  try {
    const ask = <T>(text: string): Promise<T[]> => asOwner(database, (tx) => run<T>(tx, text));
    expect(await ask("SELECT id FROM pipeline.event GROUP BY id HAVING count(*) > 1"), "no event id twice").toEqual([]);
    const gaps = await ask(
      "SELECT connection_id FROM pipeline.event GROUP BY connection_id HAVING max(sequence) <> count(*) OR min(sequence) <> 1",
    );
    expect(gaps, "no gap in a connection's sequence").toEqual([]);
    const tasks = await ask<{ tasks: bigint }>(
      "SELECT count(DISTINCT object_key) AS tasks FROM pipeline.event WHERE object_key LIKE 'task/%'",
    );
    expect(Number(tasks[0]?.tasks), "every task of the sample account").toBeGreaterThanOrEqual(29);
    const again =
      "SELECT object_key FROM pipeline.event WHERE backfill AND object_key LIKE 'task/%' GROUP BY connection_id, object_key, type HAVING count(*) > 1";
    expect(await ask(again), "nothing of the history published again").toEqual([]);
    const undelivered =
      "SELECT e.id FROM pipeline.event e LEFT JOIN sample.effect f ON f.event_id = e.id WHERE f.event_id IS NULL";
    expect(await ask(undelivered), "every event had its effect").toEqual([]);
    expect(
      await ask("SELECT event_id FROM sample.effect GROUP BY event_id HAVING count(*) > 1"),
      "no effect twice",
    ).toEqual([]);
    const leases = await ask("SELECT id FROM integrations.connection WHERE lease_until IS NOT NULL");
    expect(leases, "every lease given back").toEqual([]);
  } finally {
    await database.close();
  }
}
