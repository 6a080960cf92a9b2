import { type Database, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type FakeProvider, type Fault, startFakeProvider } from "./testing/fake-provider.ts";
import { type Harness, ME, SCOPE, startHarness } from "./testing/harness.ts";
import type { RenewalOutcome } from "./vault.ts";

let database: Database;
let provider: FakeProvider;
let harness: Harness;
beforeAll(async () => {
  database = await openPglite();
  provider = await startFakeProvider();
  harness = await startHarness(database, provider);
});
afterAll(async () => {
  harness.stop();
  await provider.stop();
  await database.close();
});
beforeEach(async () => {
  await asOwner(database, (tx) => run(tx, "DELETE FROM vault.credential_grant"));
  provider.forgetRefresh();
  provider.tokenFaults.length = 0;
  Object.assign(provider.settings, { rotate: true, expiresIn: 3600, holdMs: 0 });
  harness.clock.now = new Date("2026-11-21T10:00:00Z");
  await harness.link();
  provider.tokenRequests.length = 0;
  harness.clock.now = new Date("2026-11-21T10:56:00Z");
});

/** A process that can be killed: from then on it does nothing more, and nobody hears of it. */
function mortal() {
  const dead = Promise.withResolvers<void>();
  let state: "alive" | "dead" | "dies when it has stored" = "alive";
  const die = (): void => {
    state = "dead";
    dead.resolve();
  };
  const never = new Promise<never>(() => {});
  const transaction: Database["transaction"] = async (work) => {
    if (state === "dead") return never;
    const result = await database.transaction(work);
    if (state === "dies when it has stored" && (await generation()) === 2n) die();
    // Killed while it waited: the answer reaches nobody.
    return (state as string) === "dead" ? never : result;
  };
  const killable = Object.create(database, { transaction: { value: transaction } }) as Database;
  return {
    database: killable,
    dead: dead.promise,
    die,
    dieWhenStored: () => void (state = "dies when it has stored"),
  };
}

async function generation(): Promise<bigint | undefined> {
  const [row] = await asOwner(database, (tx) =>
    run<{ generation: bigint }>(tx, "SELECT generation FROM vault.credential_grant"),
  );
  return row?.generation;
}

type Mortal = ReturnType<typeof mortal>;
interface DropPoint {
  readonly at: string;
  /** What happens to the one token request of the process that is killed. */
  readonly fault: (process: Mortal) => Fault;
  /** What the next process ends with, and how many requests reached the provider altogether. */
  readonly withGrace: readonly [RenewalOutcome["outcome"] | "done", number];
  readonly without: readonly [RenewalOutcome["outcome"] | "done", number];
}

const POINTS: readonly DropPoint[] = [
  {
    at: "before the provider sees the request",
    // The lease and the intent are written; of the request nothing arrives.
    fault: ({ die }) => ({ answer: die }),
    withGrace: ["renewed", 2],
    without: ["renewed", 2],
  },
  {
    at: "after the provider rotated the token, before it answers",
    fault: ({ die }) => ({ late: true, answer: die }),
    withGrace: ["renewed", 2],
    without: ["reauth_required", 2],
  },
  {
    at: "in the middle of the answer",
    fault: ({ die }) => ({
      late: true,
      answer: (response) => {
        response.writeHead(200, { "content-type": "application/json", "content-length": "500" });
        response.write('{"access_token":', die);
      },
    }),
    withGrace: ["renewed", 2],
    without: ["reauth_required", 2],
  },
  {
    at: "with the answer in hand, before it is stored",
    fault: ({ die }) => ({ late: true, answer: (_, real) => (die(), real()) }),
    withGrace: ["renewed", 2],
    without: ["reauth_required", 2],
  },
  {
    at: "when it was stored, before anybody hears of it",
    fault: ({ dieWhenStored }) => ({ late: true, answer: (_, real) => (dieWhenStored(), real()) }),
    withGrace: ["done", 1],
    without: ["done", 1],
  },
];

/** It waits for an answer longer than any test: a process that was killed does not try again. */
const lifeOf = (process: Mortal) => ({ database: process.database, limits: { tokenRequestMs: 600_000 } });

const CASES = POINTS.flatMap((point) => [
  { ...point, provider: "grace", graceUses: 1, expected: point.withGrace },
  { ...point, provider: "no grace", graceUses: 0, expected: point.without },
]);

describe("a process that dies while it renews", () => {
  it.each(CASES)("$at ($provider) ends in $expected.0 within one cycle", async ({ fault, graceUses, expected }) => {
    provider.settings.graceUses = graceUses;
    const process = mortal();
    const vault = await harness.another(lifeOf(process));
    provider.tokenFaults.push(fault(process));
    void vault.renewDue(10);
    await process.dead;
    expect(provider.tokenRequests).toHaveLength(1);
    await new Promise((resolve) => setTimeout(resolve, 20));

    // Its claim and its lease run out.
    harness.clock.now = new Date("2026-11-21T10:58:30Z");
    await asOwner(database, (tx) =>
      run(tx, "UPDATE vault.credential_grant SET lease_until = now() - interval '1 second'"),
    );
    const [outcome, requests] = expected;
    const cycle = async () => (await harness.vault.renewDue(10)).map((one) => one.outcome);
    expect(await cycle()).toEqual(outcome === "done" ? [] : [outcome]);
    expect(provider.tokenRequests).toHaveLength(requests);

    // Whatever it came to is the end of it.
    for (let again = 0; again < 3; again++) {
      expect(await cycle()).toEqual([]);
      harness.clock.now = new Date(harness.clock.now.getTime() + 300_000);
    }
    expect(provider.tokenRequests).toHaveLength(requests);
    if (outcome === "reauth_required") return;
    expect((await harness.vault.open(SCOPE, harness.use()).fetch(ME)).status).toBe(200);
    expect(provider.tokenRequests).toHaveLength(requests);
  });

  it("stores nothing by halves", async () => {
    for (const { fault } of POINTS) {
      await asOwner(database, (tx) => run(tx, "DELETE FROM vault.credential_grant"));
      harness.clock.now = new Date("2026-11-21T10:00:00Z");
      await harness.link();
      harness.clock.now = new Date("2026-11-21T10:56:00Z");
      const process = mortal();
      const vault = await harness.another(lifeOf(process));
      provider.tokenFaults.push(fault(process));
      void vault.renewDue(10);
      await process.dead;
      await new Promise((resolve) => setTimeout(resolve, 50));
      const rows = await asOwner(database, (tx) =>
        run<{ whole: boolean }>(
          tx,
          `SELECT g.generation = max(s.revision) AND count(*) FILTER (WHERE s.revision = g.generation) = 2 AS whole
           FROM vault.credential_grant g JOIN vault.secret s USING (organization_id, credential_id) GROUP BY g.generation`,
        ),
      );
      expect(rows).toEqual([{ whole: true }]);
    }
  });
});

describe("a lease that a dead process left", () => {
  it("before it sent anything is taken over, and one request is enough", async () => {
    await asOwner(database, (tx) =>
      run(
        tx,
        "UPDATE vault.credential_grant SET lease_token = lease_token + 1, lease_until = now() - interval '1 second', intent_at = now()",
      ),
    );
    expect((await harness.vault.renewDue(10)).map(({ outcome }) => outcome)).toEqual(["renewed"]);
    expect(provider.tokenRequests).toHaveLength(1);
  });
});
