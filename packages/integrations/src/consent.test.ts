import { TaskChangedSchema } from "@tributary/contracts";
import { type Database, migrate, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { append, migrations as pipelineTables } from "@tributary/pipeline";
import { type Connector, oauth2, type OAuth2Spec } from "@tributary/sdk";
import type { ConsentFlow, Grant, RenewalOutcome } from "@tributary/vault";
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
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
const PER_TENANT = { ...SPEC, tokenUrl: "https://{subdomain}.p.example.com/token" };
const OWNER = { kind: "user", id: "user-1" } as const;
const PERSON = { userId: "user-1", sessionHash: "5e55" };

const BEGIN = { organizationId: "acme", owner: OWNER, person: PERSON, integration: "tasks" } as const;

interface Told {
  readonly accepted: string[];
  readonly forgotten: string[];
  readonly begun: unknown[];
  /** What was asked of the provider and of the vault to be rid of the credential, in order. */
  readonly ended: string[];
  readonly warned: unknown[];
  identified: number;
}

interface Staging {
  readonly outcomes?: RenewalOutcome[];
  readonly spec?: OAuth2Spec;
  readonly revoke?: () => Promise<unknown>;
}

/** The real way of consent over a vault that grants what it is told to. */
function staged(
  granted: readonly string[],
  { outcomes = [], spec = SPEC, revoke = async () => "revoked" }: Staging = {},
): { runtime: Runtime; told: Told } {
  const told: Told = { accepted: [], forgotten: [], begun: [], ended: [], warned: [], identified: 0 };
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
    ...oauth2(spec, async () => {
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
    forget: async ({ credentialId }: { credentialId: string }) => {
      told.ended.push("forgotten");
      told.forgotten.push(credentialId);
    },
    open: (_scope: unknown, { purpose }: { purpose: string }) => ({
      revoke: () => {
        told.ended.push(purpose);
        return revoke();
      },
    }),
    renewDue: async () => outcomes.splice(0),
  };
  const silent = { info: () => {}, warn: (fields: unknown) => told.warned.push(fields), error: () => {} };
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
    const { runtime, told } = staged([], { spec: PER_TENANT });
    const values = { subdomain: "acme" };
    await beginConsent(runtime, { ...BEGIN, values });
    expect(told.begun).toMatchObject([{ values }]);
  });

  it.each([
    [undefined, "oauth_config_incomplete", "/values/subdomain", "required"],
    [{}, "oauth_config_incomplete", "/values/subdomain", "required"],
    [{ subdomain: "" }, "oauth_config_incomplete", "/values/subdomain", "required"],
    [{ subdomain: ["acme"] }, "validation_failed", "/values/subdomain", "invalid_type"],
    [{ subdomain: "acme", other: "x" }, "validation_failed", "/values", "unrecognized_keys"],
    [JSON.parse('{"__proto__":"x"}') as object, "validation_failed", "/values", "unrecognized_keys"],
  ])("is not asked for at an address that was entered as %j", async (values, code, path, reason) => {
    const { runtime, told } = staged([], { spec: PER_TENANT });
    await expect(
      beginConsent(runtime, { ...BEGIN, ...(values === undefined ? {} : { values: { ...values } }) }),
    ).rejects.toMatchObject({ code, issues: [{ path, reason }] });
    expect(told.begun).toEqual([]);
  });
});

describe("a consent that is refused for a missing permission", () => {
  afterEach(() => vi.restoreAllMocks());

  it("is withdrawn at the provider before its secrets are forgotten", async () => {
    const { runtime, told } = staged(["write"]);
    await expect(finish(runtime)).rejects.toMatchObject({ code: "scope_insufficient" });
    expect([told.ended, told.warned]).toEqual([["revoke", "forgotten"], []]);
  });

  it.each([
    ["refuses", () => Promise.reject(new Error("canary"))] as const,
    [
      "throws",
      () => {
        throw new Error("canary");
      },
    ] as const,
  ])("is forgotten all the same when the provider %s, and nothing of the answer is logged", async (_, revoke) => {
    const { runtime, told } = staged(["write"], { revoke });
    await expect(finish(runtime)).rejects.toMatchObject({ code: "scope_insufficient" });
    expect(told.ended).toEqual(["revoke", "forgotten"]);
    expect(told.warned).toEqual([{ integration: "tasks", error: "Error" }]);
  });

  it("is forgotten after ten seconds when the provider never answers", async () => {
    const timeout = AbortSignal.timeout.bind(AbortSignal);
    const bounds: number[] = [];
    vi.spyOn(AbortSignal, "timeout").mockImplementation((ms) => {
      bounds.push(ms);
      return timeout(ms === 10_000 ? 20 : ms);
    });
    const { runtime, told } = staged(["write"], { revoke: () => new Promise(() => {}) });
    await expect(finish(runtime)).rejects.toMatchObject({ code: "scope_insufficient" });
    expect([told.ended, told.warned]).toEqual([
      ["revoke", "forgotten"],
      [{ integration: "tasks", error: "TimeoutError" }],
    ]);
    expect(bounds).toContain(10_000);
  });

  it("is only forgotten when the person has linked an account there: the provider may end that link as well", async () => {
    await finish(staged(["read", "write"]).runtime);
    const { runtime, told } = staged(["write"]);
    await expect(finish(runtime)).rejects.toMatchObject({ code: "scope_insufficient" });
    expect(told.ended).toEqual(["forgotten"]);
    expect((await rows()).connections).toHaveLength(1);
    // A link that has ended is none.
    await asOwner(database, (tx) => tx.update(connection).set({ state: "disconnected", dueAt: null }));
    const again = staged(["write"]);
    await expect(finish(again.runtime)).rejects.toMatchObject({ code: "scope_insufficient" });
    expect(again.told.ended).toEqual(["revoke", "forgotten"]);
  });
});

it("an account that is linked twice at the same time is one connection, and both are told that it is linked", async () => {
  const [one, other] = [staged(["read", "write"]), staged(["read", "write"])];
  const outcomes = await Promise.all([finish(one.runtime), finish(other.runtime)]);
  expect(outcomes.map(({ kind }) => kind).toSorted()).toEqual(["already", "linked"]);
  expect(new Set(outcomes.map(({ connectionId }) => connectionId)).size).toBe(1);
  const { connections, credentials } = await rows();
  expect([connections.length, credentials.length]).toEqual([1, 1]);
});

describe("a renewal in the background", () => {
  async function linked(outcome: RenewalOutcome["outcome"]) {
    const first = staged(["read", "write"]);
    await finish(first.runtime);
    const [held] = (await rows()).credentials;
    const of = { organizationId: "acme", integration: "tasks", owner: OWNER, credentialId: held?.id ?? "" };
    await asOwner(database, (tx) => tx.update(connection).set({ state: "connected", dueAt: new Date() }));
    return staged([], { outcomes: [{ scope: of, outcome }] });
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
