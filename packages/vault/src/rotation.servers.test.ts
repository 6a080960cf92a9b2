import { setTimeout as sleep } from "node:timers/promises";
import { type Database, openPostgres, run } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openKeyKeeper } from "./key-keeper.ts";
import { type FakeProvider, startFakeProvider } from "./testing/fake-provider.ts";
import { type Harness, ME, SCOPE, startHarness } from "./testing/harness.ts";
import type { Vault } from "./vault.ts";

/** Two hubs that know of each other only by the database and the key file, and an operator beside them. */
let server: PrivatePostgres;
let databases: Database[];
let provider: FakeProvider;
let harness: Harness;
let hubs: readonly Vault[];
beforeAll(async () => {
  server = await startPrivatePostgres();
  const url = await server.createDatabase();
  databases = Array.from({ length: 3 }, () => openPostgres({ url, connectionsMax: 4 }));
  provider = await startFakeProvider();
  const [first, second] = databases as [Database, Database];
  harness = await startHarness(first, provider);
  hubs = [harness.vault, await harness.another({ database: second })];
});
afterAll(async () => {
  harness.stop();
  await provider.stop();
  await Promise.all(databases.map((database) => database.close()));
  await server.stop();
});

const ROTATIONS = 20;
const PER_SECOND = 50;
const PEOPLE = 10;
const RETIRE_AFTER = "300 milliseconds";

describe("twenty changes of keys, the kinds in turn, under fifty requests a second", () => {
  // Some 15 s on a quiet machine.
  it("fail no request, and lose no renewal to a re-sealing", { timeout: 180_000 }, async () => {
    const people = Array.from({ length: PEOPLE }, (_, n) => ({
      ...SCOPE,
      organizationId: n % 2 === 0 ? "acme" : "globex",
      owner: { kind: "user", id: `user-${n}` } as const,
      credentialId: `credential-${n}`,
    }));
    for (const scope of people) await harness.link({ scope });
    const keeper = await openKeyKeeper({ database: databases[2]!, keys: { file: harness.keyFile }, alone: false });
    const statuses: (number | string)[] = [];
    const pending: Promise<unknown>[] = [];
    const request = async (n: number): Promise<void> => {
      const session = hubs[n % 2]!.open(people[n % PEOPLE]!, harness.use({ correlationId: `run-${n}` }));
      await session.fetch(ME).then(
        ({ status }) => statuses.push(status),
        (error: Error) => statuses.push(error.message),
      );
    };
    const rotating = new AbortController();
    const load = (async () => {
      const startedAt = performance.now();
      for (let n = 0; !rotating.signal.aborted && n < 5000; n++) {
        pending.push(request(n));
        // Now and then the provider wants renewals, which write generations of tokens while keys change. Not while a
        // request is under way: on a busy machine its token would expire twice, which is no fault of ours.
        if (n % (3 * PER_SECOND) === PER_SECOND) {
          await Promise.all(pending.splice(0));
          provider.expireAccess();
        }
        await sleep(Math.max(0, startedAt + ((n + 1) * 1000) / PER_SECOND - performance.now()));
      }
    })();
    let unreadable = 0;
    for (let n = 0; n < ROTATIONS; n++) {
      if (n % 2 === 0) {
        await keeper.addKey();
        unreadable += (await keeper.rotateKek()).unreadable;
      } else {
        unreadable += (await keeper.rotateSubjects()).unreadable;
        // As if the two minutes that an unused pair stays had gone by.
        await asOwner(databases[2]!, (tx) =>
          run(
            tx,
            `UPDATE vault.subject_key SET unused_since = unused_since - interval '2 minutes' WHERE unused_since < now() - interval '${RETIRE_AFTER}'`,
          ),
        );
      }
      await sleep(300);
    }
    rotating.abort();
    await load;
    await Promise.all(pending);
    expect(unreadable).toBe(0);
    expect(statuses.length).toBeGreaterThan(PER_SECOND * 4);
    expect(statuses.filter((status) => status !== 200)).toEqual([]);
    // Whatever was renewed last is what opens, in both hubs: no older value was sealed over it.
    provider.tokenRequests.length = 0;
    for (const [index, scope] of people.entries())
      expect((await hubs[index % 2]!.open(scope, harness.use()).fetch(ME)).status).toBe(200);
    const status = await keeper.status();
    expect(status).toMatchObject({ subjects: PEOPLE, secretsToReseal: 0 });
    expect(status.oldGenerations).toBeLessThan((ROTATIONS / 2) * PEOPLE);
    expect(status.keys.map(({ wraps }) => wraps).toSorted((one, other) => one - other)).toEqual([
      ...Array(ROTATIONS / 2).fill(0),
      expect.any(Number),
    ]);
  });
});

describe("a pair that is being retired", () => {
  it("waits for a writer that holds it, and is kept when that has sealed to it", async () => {
    await harness.link();
    const keeper = await openKeyKeeper({ database: databases[2]!, keys: { file: harness.keyFile }, alone: true });
    const [writer] = databases as [Database];
    const sealedToOld = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    const writing = asOwner(writer, async (tx) => {
      const [key] = await run<{ key_id: string }>(
        tx,
        "SELECT key_id FROM vault.subject_key WHERE owner_id = 'user-1' AND organization_id = 'acme' AND superseded_at IS NULL FOR SHARE",
      );
      await run(
        tx,
        `INSERT INTO vault.secret SELECT gen_random_uuid(), 1, organization_id, credential_id, 'slow', alg, $1, nonce, ciphertext, sealed
        FROM vault.secret WHERE credential_id = $2 AND organization_id = 'acme' AND field = 'access_token'`,
        [key?.key_id, SCOPE.credentialId],
      );
      sealedToOld.resolve();
      await finish.promise;
      return key?.key_id;
    });
    await sealedToOld.promise;
    const rotating = keeper.rotateSubjects();
    await sleep(300);
    finish.resolve();
    const keyId = await writing;
    await rotating;
    const kept = await asOwner(writer, (tx) => run(tx, "SELECT 1 FROM vault.subject_key WHERE key_id = $1", [keyId]));
    expect(kept).toHaveLength(1);
  });
});
