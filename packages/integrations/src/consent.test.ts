import { TaskChangedSchema } from "@tributary/contracts";
import { type Database, migrate, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { append, migrations as pipelineTables } from "@tributary/pipeline";
import { type Connector, oauth2 } from "@tributary/sdk";
import type { ConsentFlow, Grant, RenewalOutcome } from "@tributary/vault";
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { beginConsent, finishConsent } from "./consent.ts";
import { migrations } from "./migrations.ts";
import { createRegistry } from "./registry.ts";
import { renewCredentials } from "./renew-credentials.ts";
import type { Runtime } from "./runtime.ts";
import { connection, credential } from "./schema.ts";

let database: Database;
beforeAll(async () => {
  database = await openPglite();
  await migrate(database, [pipelineTables, migrations]);
});
afterAll(() => database.close());
beforeEach(() =>
  asOwner(database, async (tx) => {
    for (const table of ["credential", "connection"]) await run(tx, `DELETE FROM integrations.${table}`);
  }),
);

const words = (text: string) => ({ en: text, pl: text });
const scope = (id: string, required: boolean) => ({ id, required, label: words(id), why: words(id) });
const SPEC = { authorizationUrl: "https://p.example.com/authorize", tokenUrl: "https://p.example.com/token" };
const OWNER = { kind: "user", id: "user-1" } as const;
const PERSON = { userId: "user-1", sessionHash: "5e55" };

interface Told {
  readonly accepted: string[];
  readonly forgotten: string[];
  readonly begun: unknown[];
  identified: number;
}

/** The real way of consent over a vault that grants what it is told to. */
function staged(granted: readonly string[], outcomes: RenewalOutcome[] = []): { runtime: Runtime; told: Told } {
  const told: Told = { accepted: [], forgotten: [], begun: [], identified: 0 };
  const grant: Grant = { secretIds: { access_token: randomUUID() }, scopes: granted, expiresAt: undefined };
  const flow: ConsentFlow = {
    flowId: randomUUID(),
    scope: { organizationId: "acme", integration: "tasks", owner: OWNER, credentialId: randomUUID() },
    connectionId: randomUUID(),
    contextId: "tasks",
    code: "code",
  };
  const connector = {
    id: "tasks",
    scopes: [scope("read", true), scope("write", false)],
    manifest: {
      name: "Tasks",
      hosts: ["p.example.com"],
      owner: "user",
      events: [TaskChangedSchema],
      apiVersions: [{ id: "1", default: true }],
    },
    ...oauth2(SPEC, async () => {
      told.identified++;
      return { id: "account-1", label: "me" };
    }),
  } as unknown as Connector;
  const vault = {
    beginConsent: async (request: unknown) => {
      told.begun.push(request);
      return { url: "https://p.example.com/authorize", flowId: flow.flowId, expiresAt: new Date() };
    },
    takeFlow: async () => flow,
    redeem: async () => grant,
    accept: async ({ credentialId }: { credentialId: string }) => void told.accepted.push(credentialId),
    forget: async ({ credentialId }: { credentialId: string }) => told.forgotten.push(credentialId),
    open: () => ({}),
    renewDue: async () => outcomes.splice(0),
  };
  const silent = { info: () => {}, warn: () => {}, error: () => {} };
  const runtime = {
    database,
    vault,
    registry: createRegistry([connector]),
    append,
    committed: () => {},
    now: () => new Date(),
    uuid: randomUUID,
    random: () => 0.5,
    log: silent,
  } as unknown as Runtime;
  return { runtime, told };
}

const finish = (runtime: Runtime) =>
  finishConsent(runtime, { contextId: "tasks", query: new URLSearchParams(), person: PERSON, organizationId: "acme" });
const rows = () =>
  asOwner(database, async (tx) => ({
    connections: await tx.select().from(connection),
    credentials: await tx.select().from(credential),
  }));

describe("what the person granted", () => {
  it.each([[["write"]], [[]], [["READ", "write"]], [["read:all"]]])(
    "without a required permission (%j) makes no connection: the credential is deleted unused",
    async (granted) => {
      const { runtime, told } = staged(granted);
      await expect(finish(runtime)).rejects.toMatchObject({ code: "scope_insufficient" });
      expect(await rows()).toEqual({ connections: [], credentials: [] });
      expect([told.accepted.length, told.forgotten.length, told.identified]).toEqual([0, 1, 0]);
    },
  );

  it("without an optional permission makes one, and what is missing stays visible", async () => {
    const { runtime, told } = staged(["read"]);
    expect(await finish(runtime)).toMatchObject({ kind: "partial" });
    const { connections, credentials } = await rows();
    expect(connections).toMatchObject([{ state: "syncing" }]);
    expect(credentials).toMatchObject([{ grantedScopes: ["read"] }]);
    expect([told.accepted.length, told.forgotten.length]).toEqual([1, 0]);
  });

  it.each([[["read", "write"]], [["write", "read", "more"]]])("in full (%j) is kept as it is", async (granted) => {
    const { runtime } = staged(granted);
    expect(await finish(runtime)).toMatchObject({ kind: "linked" });
    expect((await rows()).credentials).toMatchObject([{ grantedScopes: granted }]);
  });

  it("is asked for at the tenant's own address", async () => {
    const { runtime, told } = staged([]);
    const values = { subdomain: "acme" };
    await beginConsent(runtime, { organizationId: "acme", owner: OWNER, person: PERSON, integration: "tasks", values });
    expect(told.begun).toMatchObject([{ values }]);
  });
});

describe("a renewal in the background", () => {
  async function linked(outcome: RenewalOutcome["outcome"]) {
    const first = staged(["read", "write"]);
    await finish(first.runtime);
    const [held] = (await rows()).credentials;
    const of = { organizationId: "acme", integration: "tasks", owner: OWNER, credentialId: held?.id ?? "" };
    await asOwner(database, (tx) => tx.update(connection).set({ state: "connected", dueAt: new Date() }));
    return staged([], [{ scope: of, outcome }]);
  }
  const state = async () => {
    const [row] = (await rows()).connections;
    return [row?.state, row?.reasonCode, row?.dueAt === null];
  };

  it.each([
    ["renewed", "connected", null, false],
    ["postponed", "connected", null, false],
    ["gone", "connected", null, false],
    ["reauth_required", "expired", "reauth_required", true],
    ["oauth_client_invalid", "error", "oauth_client_invalid", false],
    ["credential_integrity_error", "error", "credential_integrity_error", false],
  ] as const)("that ends in %s leaves the connection %s", async (outcome, expected, reason, resting) => {
    const { runtime } = await linked(outcome);
    expect(await renewCredentials(runtime)).toBe(outcome === "renewed" ? 1 : 0);
    expect(await state()).toEqual([expected, reason, resting]);
  });

  it.each(["paused", "disconnected"] as const)("changes nothing of a connection that is %s", async (resting) => {
    const { runtime } = await linked("reauth_required");
    await asOwner(database, (tx) => tx.update(connection).set({ state: resting }));
    await renewCredentials(runtime);
    expect((await state())[0]).toBe(resting);
  });

  it("of a credential that nothing is linked with is nobody's news", async () => {
    const { runtime } = await linked("reauth_required");
    await asOwner(database, (tx) => run(tx, "DELETE FROM integrations.credential"));
    await renewCredentials(runtime);
    expect((await state())[0]).toBe("connected");
  });
});
