import {
  beginConsent,
  createIngress,
  finishConsent,
  listClients,
  putClient,
  removeClient,
} from "@tributary/integrations";
import { asOwner, run } from "@tributary/db";
import { pressConsent, type SandboxClient } from "@tributary/sandbox";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { CANARY } from "./canary.ts";
import { type Member, memberOf } from "./consent-road.ts";
import { read } from "./drive.ts";
import { openStage, type Stage } from "./stage.ts";
import { sample, sampleAdapter } from "./testing/sample-connector.ts";
import { sampleProvider } from "./testing/sample-provider.ts";

/** What the simulated provider knows; an organisation registers its own application there. */
const known: SandboxClient[] = [];
const emulator: typeof sampleProvider = {
  ...sampleProvider,
  start: (options) => {
    known.push(...(options.clients ?? []));
    return sampleProvider.start({ ...options, clients: known });
  },
};
let stage: Stage;
beforeAll(async () => {
  stage = await openStage(sample, emulator, sampleAdapter);
});
afterAll(() => stage.close());
beforeEach(async () => {
  known.splice(1);
  await stage.fresh();
});

const OWN = { clientId: "own-application", clientSecret: `${CANARY}own-secret` };

/** Puts a client and registers its redirect address at the provider. @returns its context. */
async function bring({ caller }: Member): Promise<string> {
  const { organizationId } = caller;
  const place = { organizationId, integration: "sample", actor: "ada" };
  const { contextId, redirectUri } = await putClient(stage.runtime, { ...place, ...OWN });
  known.push({ ...OWN, redirectUris: [redirectUri] });
  return contextId;
}

/** Links through the provider's own page. @returns the context that the browser came back to, and what became of it. */
async function link({ caller, person }: Member) {
  const { organizationId, owner } = caller;
  const begun = await beginConsent(stage.runtime, { organizationId, owner, person, integration: "sample" });
  if (begun.kind !== "redirect") throw new Error("no redirect");
  const back = await pressConsent(begun.url, { decision: "allow", account: "7" });
  const contextId = decodeURIComponent(back.pathname.split("/").at(-1) ?? "");
  const answer = { contextId, query: back.searchParams, person, organizationId };
  return { contextId, finished: await finishConsent(stage.runtime, answer) };
}

/** Something changes at the provider, which tells every application. @returns the deliveries, by client. */
function announced() {
  stage.person.add();
  const sent = stage.control.deliveries.sent.slice(-known.length);
  return new Map(known.map(({ clientId }, index) => [clientId, sent[index]]));
}
const deliver = (contextId: string, delivery: ReturnType<typeof announced> extends Map<string, infer D> ? D : never) =>
  createIngress(stage.runtime).receive({
    contextId,
    integration: "sample",
    headers: new Headers(delivery?.headers),
    body: Buffer.from(delivery?.body ?? ""),
  });

it("an organisation's own client links an account, and only its own secret signs for it", async () => {
  const [acme, globex] = [memberOf(stage, "acme"), memberOf(stage, "globex")];
  const own = await bring(acme);
  const [ours, theirs] = [await link(acme), await link(globex)];
  // The same account of the provider, by two applications, for two organisations.
  expect([ours.contextId, theirs.contextId]).toEqual([own, "sample"]);
  for (const [member, { finished }] of [
    [acme, ours],
    [globex, theirs],
  ] as const)
    expect((await read(stage, { member, id: finished.connectionId })).events).toBeGreaterThan(0);

  const sent = announced();
  const [byOwn, byDeployment] = [sent.get(OWN.clientId), sent.get("conformance")];
  // One secret is not good at the other's address, in either direction.
  await expect(deliver(own, byDeployment)).rejects.toMatchObject({ code: "invalid_signature" });
  await expect(deliver("sample", byOwn)).rejects.toMatchObject({ code: "invalid_signature" });
  // It wakes the connection of its own organisation, and not the other's of the same account.
  expect(await deliver(own, byOwn)).toBe(1);
  const awake = await asOwner(stage.database, (tx) =>
    run<{ organization: string }>(tx, "SELECT organization_id AS organization FROM integrations.connection WHERE wake"),
  );
  expect(awake).toEqual([{ organization: "org-acme" }]);
  expect((await read(stage, { member: acme, id: ours.finished.connectionId })).events).toBe(1);

  await stage.lookForLeaks();
  expect([...stage.leaks]).toEqual([]);
});

it("a client that was removed links nobody, and the deployment's takes its place", async () => {
  const acme = memberOf(stage, "acme");
  const contextId = await bring(acme);
  const { organizationId } = acme.caller;
  await removeClient(stage.runtime, { organizationId, integration: "sample", contextId, actor: "ada" });
  expect(await listClients(stage.runtime, organizationId, "sample")).toEqual([]);
  expect((await link(acme)).contextId).toBe("sample");
});
