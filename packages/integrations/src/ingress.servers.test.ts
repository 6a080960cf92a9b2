import { TaskChangedSchema } from "@tributary/contracts";
import { type Database, migrate, openPglite, openPostgres, run } from "@tributary/db";
import { asOwner, type PrivatePostgres, startPrivatePostgres } from "@tributary/db/testing";
import { migrations as pipelineTables } from "@tributary/pipeline";
import type { Connector, Delivery } from "@tributary/sdk";
import type { SignedContext } from "@tributary/vault";
import { createHmac, randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createIngress, type InboundRequest } from "./ingress.ts";
import { migrations } from "./migrations.ts";
import { createRegistry } from "./registry.ts";
import type { Runtime } from "./runtime.ts";

let server: PrivatePostgres;
beforeAll(async () => {
  server = await startPrivatePostgres();
});
afterAll(() => server.stop());

const KEY = "0123456789abcdef";
const sign = (body: Uint8Array): Buffer => createHmac("sha256", KEY).update(body).digest();
const chores = {
  id: "chores",
  scopes: [],
  manifest: { name: "Chores", hosts: ["chores.example"], events: [TaskChangedSchema] },
  webhook: {
    verify: { scheme: "hmac-sha256", header: "x-signature", encoding: "base64", key: "client_secret" },
    deliveryIdHeader: "x-delivery",
    accounts: ({ body }: Delivery) => (body as { accounts: string[] }).accounts,
  },
} as unknown as Connector;

const request = (delivery: string, accounts: readonly string[]): InboundRequest => {
  const body = Buffer.from(JSON.stringify({ accounts }));
  return {
    contextId: "chores",
    integration: "chores",
    headers: new Headers({ "x-signature": sign(body).toString("base64"), "x-delivery": delivery }),
    body,
  };
};

/** Clients by context: the deployment's, two that organisations brought, and one of another integration. */
const CONTEXTS: Readonly<Record<string, SignedContext>> = {
  chores: { integration: "chores", organizationId: undefined },
  "chores.acme": { integration: "chores", organizationId: "acme" },
  "chores.globex": { integration: "chores", organizationId: "globex" },
  other: { integration: "other", organizationId: undefined },
};

describe.each(["pglite", "postgres"] as const)("webhooks, on %s", (engine) => {
  let database: Database;
  let runtime: Runtime;
  beforeAll(async () => {
    database = engine === "pglite" ? await openPglite() : openPostgres({ url: await server.createDatabase() });
    await migrate(database, [pipelineTables, migrations]);
    const vault = {
      verifySignature: async (context: string, _scheme: string, body: Uint8Array, signature: Uint8Array) =>
        sign(body).equals(signature) ? CONTEXTS[context] : undefined,
    };
    runtime = { database, vault, registry: createRegistry([chores]) } as unknown as Runtime;
  });
  afterAll(() => database.close());

  /** A connection at rest: nothing is due for an hour. */
  async function connection(state = "connected"): Promise<string> {
    const account = randomUUID();
    await asOwner(database, (tx) =>
      run(
        tx,
        `INSERT INTO integrations.connection (id, organization_id, integration, owner_kind, owner_id, account_id,
      account_label, api_version, state, backfill_from, due_at) VALUES ($1::text::uuid, 'acme', 'chores', 'user', 'u', $1::text, 'x', 'v1', $2, now(), now() + interval '1 hour')`,
        [account, state],
      ),
    );
    return account;
  }
  const isDue = async (account: string): Promise<boolean> =>
    (
      await asOwner(database, (tx) =>
        run(tx, "SELECT 1 FROM integrations.connection WHERE account_id = $1 AND due_at <= now() AND wake", [account]),
      )
    ).length > 0;

  it("wakes what a delivery concerns, once", async () => {
    const [one, other] = [await connection(), await connection()];
    const ingress = createIngress(runtime);
    expect(await ingress.receive(request("d1", [one]))).toBe(1);
    expect([await isDue(one), await isDue(other)]).toEqual([true, false]);
    await asOwner(database, (tx) =>
      run(tx, "UPDATE integrations.connection SET wake = false, due_at = now() + interval '1 hour'"),
    );
    expect(await ingress.receive(request("d1", [one]))).toBe(0);
    expect(await isDue(one)).toBe(false);
  });

  it("takes a burst in groups: every delivery kept once, every answer given", async () => {
    const accounts = await Promise.all(Array.from({ length: 10 }, () => connection()));
    const ingress = createIngress(runtime);
    const before = (await asOwner(database, (tx) => run(tx, "SELECT 1 FROM integrations.delivery"))).length;
    const answers = await Promise.all(
      Array.from({ length: 400 }, (_, n) => ingress.receive(request(`burst-${n % 200}`, [accounts[n % 10] ?? ""]))),
    );
    expect(answers).toHaveLength(400);
    expect((await asOwner(database, (tx) => run(tx, "SELECT 1 FROM integrations.delivery"))).length - before).toBe(200);
    for (const account of accounts) expect(await isDue(account)).toBe(true);
  });

  it.each(["paused", "expired", "disconnected"])("leaves a connection alone that is %s", async (state) => {
    const account = await connection(state);
    expect(await createIngress(runtime).receive(request(randomUUID(), [account]))).toBe(0);
    expect(await isDue(account)).toBe(false);
  });

  it("wakes an organisation's own connections alone when its own client signed", async () => {
    const account = await connection();
    const ingress = createIngress(runtime);
    const by = (contextId: string) => ingress.receive({ ...request(randomUUID(), [account]), contextId });
    // Whoever brought the client knows its secret, and may sign what he likes.
    expect(await by("chores.globex")).toBe(0);
    expect(await isDue(account)).toBe(false);
    for (const contextId of ["other", "unknown"])
      await expect(by(contextId)).rejects.toMatchObject({ code: "invalid_signature" });
    expect(await by("chores.acme")).toBe(1);
    expect(await isDue(account)).toBe(true);
  });

  it("keeps nothing of a request that is not genuine, or that nobody can read", async () => {
    const account = await connection();
    const genuine = request("forged", [account]);
    const ingress = createIngress(runtime);
    const before = (await asOwner(database, (tx) => run(tx, "SELECT 1 FROM integrations.delivery"))).length;
    await expect(ingress.receive({ ...genuine, body: Buffer.from('{"accounts":[]}') })).rejects.toMatchObject({
      code: "invalid_signature",
    });
    const text = Buffer.from("not json");
    const signed = new Headers({ "x-signature": sign(text).toString("base64") });
    await expect(ingress.receive({ ...genuine, headers: signed, body: text })).rejects.toMatchObject({
      code: "malformed_body",
    });
    await expect(ingress.receive({ ...genuine, integration: "unknown" })).rejects.toMatchObject({ code: "not_found" });
    expect((await asOwner(database, (tx) => run(tx, "SELECT 1 FROM integrations.delivery"))).length).toBe(before);
  });

  it("asks the sender to come again while the database is away, and goes on afterwards", async () => {
    const account = await connection();
    let away = true;
    const flaky: Database = {
      ...database,
      transaction: (work) => (away ? Promise.reject(new Error("connection refused")) : database.transaction(work)),
    };
    const ingress = createIngress({ ...runtime, database: flaky });
    const refused = await Promise.allSettled([
      ingress.receive(request("a1", [account])),
      ingress.receive(request("a2", [account])),
    ]);
    expect(refused.map((one) => one.status === "rejected" && (one.reason as { code: string }).code)).toEqual([
      "temporarily_unavailable",
      "temporarily_unavailable",
    ]);
    away = false;
    expect(await ingress.receive(request("a1", [account]))).toBe(1);
  });
});
