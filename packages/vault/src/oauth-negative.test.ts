import { format, inspect } from "node:util";
import { type Database, openPglite, run } from "@tributary/db";
import { asOwner } from "@tributary/db/testing";
import { afterAll, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { CLIENT, type FakeProvider, json, startFakeProvider } from "./testing/fake-provider.ts";
import { consentRequest, type Harness, ME, PERSON, SCOPE, SPEC, startHarness } from "./testing/harness.ts";
import { NEGATIVE_MODULES, type NegativeModule, TOLERATED_QUIRKS } from "./testing/negative-modules.ts";
import type { Vault } from "./vault.ts";

let database: Database;
let provider: FakeProvider;
let harness: Harness;
/** Waits 250 ms for an answer. Whatever else happens has the ten seconds of every vault, on a busy machine too. */
let hasty: Vault;
const written: string[] = [];
beforeAll(async () => {
  database = await openPglite();
  provider = await startFakeProvider();
  harness = await startHarness(database, provider);
  hasty = await harness.another({ limits: { tokenRequestMs: 250 } });
  for (const stream of [process.stdout, process.stderr])
    vi.spyOn(stream, "write").mockImplementation((chunk) => written.push(String(chunk)) > 0);
  for (const method of ["log", "info", "warn", "error", "debug"] as const)
    vi.spyOn(console, method).mockImplementation((...values) => void written.push(format(...values)));
});
afterAll(async () => {
  vi.restoreAllMocks();
  harness.stop();
  await provider.stop();
  await database.close();
});
beforeEach(async () => {
  await asOwner(database, (tx) => run(tx, "DELETE FROM vault.credential_grant"));
  provider.forgetRefresh();
  for (const list of [provider.tokenFaults, provider.tokenRequests, written]) list.length = 0;
});

/** What is stored of credentials, without what a lease leaves behind. */
const stored = () =>
  asOwner(database, (tx) =>
    run(
      tx,
      `SELECT g.generation, g.scopes, g.accepted_at, s.field, s.revision, s.nonce, s.ciphertext, s.sealed
       FROM vault.credential_grant g JOIN vault.secret s USING (organization_id, credential_id) ORDER BY s.field, s.revision`,
    ),
  );

async function link({
  at,
  spec: change,
  query,
  answer,
  endless,
}: NegativeModule): Promise<{ state: string; work: Promise<unknown> }> {
  const vault = endless === true ? hasty : harness.vault;
  const { url } = await vault.beginConsent(consentRequest({ spec: { ...SPEC, ...change } }));
  const back = provider.consent(url);
  const state = back.get("state") ?? "";
  query?.(back);
  if (at === "exchange" && answer !== undefined) provider.tokenFaults.push({ answer });
  const callback = { contextId: "tasks", query: back, person: PERSON, organizationId: SCOPE.organizationId };
  const work = vault.takeFlow(callback).then((flow) => vault.redeem(flow, flow.code));
  return { state, work };
}

async function renew({ answer, endless }: NegativeModule): Promise<{ state: string; work: Promise<unknown> }> {
  await harness.link();
  provider.tokenRequests.length = 0;
  provider.expireAccess();
  // As many as could be asked for, and one more.
  if (answer !== undefined) provider.tokenFaults.push({ answer }, { answer }, { answer }, { answer });
  const vault = endless === true ? hasty : harness.vault;
  return { state: "canary", work: vault.open(SCOPE, harness.use()).fetch(ME) };
}

it("knows more than sixty ways in which a provider goes wrong, none of them twice", () => {
  expect(NEGATIVE_MODULES.length).toBeGreaterThanOrEqual(150);
  expect(new Set(NEGATIVE_MODULES.map(({ at, wrong }) => `${at}: ${wrong}`)).size).toBe(NEGATIVE_MODULES.length);
});

it.each(NEGATIVE_MODULES)("$at with $wrong is $code after $tokenRequests token requests", async (module) => {
  const { state, work } = module.at === "renewal" ? await renew(module) : await link(module);
  const before = await stored();
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toMatchObject({ name: "VaultError", code: module.code });
  expect(provider.tokenRequests).toHaveLength(module.tokenRequests);
  expect(await stored()).toEqual(before);
  expect(before).toHaveLength(module.at === "renewal" ? 2 : 0);

  const said = [
    inspect(error, { depth: 10, showHidden: true, maxArrayLength: null, maxStringLength: null }),
    JSON.stringify(error),
    String((error as Error).stack),
    ...written,
  ].join("\n");
  const verifiers = provider.tokenRequests.map((params) => params.get("code_verifier") ?? "canary");
  const secrets = ["canary", state, CLIENT.clientSecret, ...provider.issued.slice(-20), ...verifiers];
  expect(secrets.filter((secret) => said.includes(secret))).toEqual([]);
});

it.each(TOLERATED_QUIRKS)("an exchange and a renewal with $quirk go well", async ({ answer, life, scopes }) => {
  const expected = {
    scopes,
    expiresAt: life === "unknown" ? undefined : new Date(Date.UTC(2026, 10, 21, 10, 0, life)),
  };
  provider.tokenFaults.push({ answer });
  expect(await harness.link()).toMatchObject(expected);
  await harness.vault.forget(SCOPE);

  await harness.link();
  provider.expireAccess();
  provider.tokenFaults.push({ answer });
  // The planted token opens nothing, so the connector sees the 401; what counts is that it was stored.
  expect((await harness.vault.open(SCOPE, harness.use()).fetch(ME)).status).toBe(401);
  expect(await harness.vault.describe(SCOPE)).toMatchObject(expected);
  expect(await generation()).toEqual([{ generation: 2n }]);
});

const generation = () => asOwner(database, (tx) => run(tx, "SELECT generation FROM vault.credential_grant"));

it("survives all of them: the next consent and the next renewal go well", async () => {
  await harness.link();
  provider.expireAccess();
  provider.tokenFaults.push({ answer: json(503, {}) });
  await expect(harness.vault.open(SCOPE, harness.use()).fetch(ME)).rejects.toMatchObject({
    code: "provider_unavailable",
  });
  expect((await harness.vault.open(SCOPE, harness.use()).fetch(ME)).status).toBe(200);
});
