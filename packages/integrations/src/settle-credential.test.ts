import { asOwner } from "@tributary/db/testing";
import { type Database, migrate, openPglite } from "@tributary/db";
import { migrations as pipelineTables } from "@tributary/pipeline";
import type { CredentialScope } from "@tributary/vault";
import { eq } from "drizzle-orm";
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { migrations } from "./migrations.ts";
import type { Runtime } from "./runtime.ts";
import { connection, credential } from "./schema.ts";
import { settleCredentials } from "./settle-credential.ts";

let database: Database;
beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [pipelineTables, migrations]);
});
afterAll(() => database.close());

describe("what linking left undone", () => {
  /** A vault that writes down what it is told, and is out of reach while `away`. */
  function recording(away = false) {
    const told: string[] = [];
    const say = (what: string) => async (scope: CredentialScope) => {
      if (away) throw new Error("unreachable");
      told.push(`${what} ${scope.organizationId} ${scope.owner.id} ${scope.credentialId}`);
      return 1;
    };
    const vault = { accept: say("accept"), forget: say("forget") };
    return { told, runtime: { database, vault, now: () => new Date() } as unknown as Runtime };
  }
  async function linked(replaces: string[], createdAt: Date): Promise<{ id: string; credentialId: string }> {
    const [id, credentialId] = [randomUUID(), randomUUID()];
    const common = { organizationId: "acme", integration: "todoist" };
    const owner = { ownerKind: "user", ownerId: "u", accountId: id, accountLabel: "x" } as const;
    await asOwner(database, (tx) =>
      tx
        .insert(connection)
        .values({ ...common, ...owner, id, apiVersion: "v1", state: "connected", backfillFrom: new Date(0) }),
    );
    await asOwner(database, (tx) =>
      tx.insert(credential).values({
        ...common,
        id: credentialId,
        connectionId: id,
        secretIds: {},
        grantedScopes: [],
        meta: { v: "1" },
        replaces,
        createdAt,
      }),
    );
    return { id, credentialId };
  }
  const replacesOf = async (credentialId: string) =>
    (await asOwner(database, (tx) => tx.select().from(credential).where(eq(credential.id, credentialId))))[0]?.replaces;

  it("is done later: the new secrets are kept, and those of every credential before are deleted", async () => {
    const before = [randomUUID(), randomUUID()];
    const { credentialId } = await linked(before, new Date(0));
    const old = await linked([], new Date(0));
    const { told, runtime } = recording();
    await settleCredentials(runtime);
    expect(told).toEqual([`accept acme u ${credentialId}`, ...before.map((one) => `forget acme u ${one}`)]);
    expect(await replacesOf(credentialId)).toEqual([]);
    expect(told.join()).not.toContain(old.credentialId);
  });

  it("is kept in mind while the vault is out of reach", async () => {
    const replaced = randomUUID();
    const { id, credentialId } = await linked([replaced], new Date(0));
    await expect(settleCredentials(recording(true).runtime)).rejects.toThrow("unreachable");
    expect(await replacesOf(credentialId)).toEqual([replaced]);
    const { told, runtime } = recording();
    await settleCredentials(runtime, id);
    expect(told).toHaveLength(2);
  });

  it("is looked for in what was linked within the hour", async () => {
    const { credentialId } = await linked([], new Date());
    const { told, runtime } = recording();
    await settleCredentials(runtime);
    expect(told).toEqual([`accept acme u ${credentialId}`]);
  });
});
