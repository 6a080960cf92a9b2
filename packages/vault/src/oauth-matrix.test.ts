import { type Database, openPglite } from "@tributary/db";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CLIENT, type FakeProvider, startFakeProvider } from "./testing/fake-provider.ts";
import { type Harness, startHarness } from "./testing/harness.ts";
import type { ConsentCallback, Vault } from "./vault.ts";

/** Two of everything that a consent is bound to. The first of each began it. */
const PEOPLE = ["person-1", "person-2"] as const;
const BROWSERS = ["browser-1", "browser-2"] as const;
const PROVIDERS = ["tasks", "calendar"] as const;
const ORGANIZATIONS = ["acme", "globex"] as const;

const COMBINATIONS = BROWSERS.flatMap((browser) =>
  PEOPLE.flatMap((person) =>
    PROVIDERS.flatMap((provider) =>
      ORGANIZATIONS.map((organization) => ({
        browser,
        person,
        provider,
        organization,
        allowed: `${browser} ${person} ${provider} ${organization}` === "browser-1 person-1 tasks acme",
      })),
    ),
  ),
);

let database: Database;
const providers = new Map<string, FakeProvider>();
let harness: Harness;
let vault: Vault;
beforeAll(async () => {
  database = await openPglite();
  for (const name of PROVIDERS) providers.set(name, await startFakeProvider());
  harness = await startHarness(database, providers.get("tasks")!);
  vault = await harness.another({
    clients: PROVIDERS.map((name) => ({ contextId: name, integration: name, ...CLIENT })),
    origins: new Map([...providers].map(([name, { origin }]) => [`https://${name}.example.com`, origin])),
  });
});
afterAll(async () => {
  harness.stop();
  for (const provider of providers.values()) await provider.stop();
  await database.close();
});

const person = (userId: string, browser: string) => ({ userId, sessionHash: `session of ${userId} in ${browser}` });

async function begin(provider: string, organizationId: string, who: { userId: string; sessionHash: string }) {
  const { url } = await vault.beginConsent({
    scope: {
      organizationId,
      integration: provider,
      owner: { kind: "user", id: who.userId },
      credentialId: `credential of ${who.userId} at ${provider} in ${organizationId}`,
    },
    person: who,
    spec: {
      authorizationUrl: `https://${provider}.example.com/oauth/authorize`,
      tokenUrl: `https://${provider}.example.com/oauth/token`,
    },
    scopes: [],
    connectionId: "connection-1",
  });
  return url;
}

const requests = () => [...providers.values()].map(({ tokenRequests }) => tokenRequests.length);
const finish = async (callback: ConsentCallback) => {
  const flow = await vault.takeFlow(callback);
  return vault.redeem(flow, flow.code);
};

describe("a consent that person-1 began in browser-1, for tasks, in acme", () => {
  it("is one of sixteen", () => {
    expect(COMBINATIONS).toHaveLength(16);
    expect(COMBINATIONS.filter(({ allowed }) => allowed)).toHaveLength(1);
  });

  /** Comes back as somebody in some browser; everybody has a consent of their own under way, and none is taken for another. */
  async function comeBack({ browser, person: userId, provider, organization }: (typeof COMBINATIONS)[number]) {
    const url = await begin("tasks", "acme", person("person-1", "browser-1"));
    const who = person(userId, browser);
    const own = await begin(provider, organization, who);
    const query = providers.get("tasks")!.consent(url);
    const callback: ConsentCallback = { contextId: provider, query, person: who, organizationId: organization };
    return { callback, own: { ...callback, query: providers.get(provider)!.consent(own) }, before: requests() };
  }

  it.each(COMBINATIONS.filter(({ allowed }) => allowed))(
    "is taken from $browser, $person, $provider, $organization",
    async (combination) => {
      const { callback, before } = await comeBack(combination);
      await expect(finish(callback)).resolves.toHaveProperty("secretIds.access_token");
      expect(requests()).toEqual([(before[0] ?? 0) + 1, before[1]]);
    },
  );

  it.each(COMBINATIONS.filter(({ allowed }) => !allowed))(
    "is refused from $browser, $person, $provider, $organization, and nothing is sent",
    async (combination) => {
      const { callback, own, before } = await comeBack(combination);
      await expect(finish(callback)).rejects.toMatchObject({ code: "oauth_session_mismatch" });
      // Tried once, it is over, for its owner too; the other's own consent is not touched.
      const owner = { contextId: "tasks", person: person("person-1", "browser-1"), organizationId: "acme" };
      await expect(finish({ ...callback, ...owner })).rejects.toMatchObject({ code: "oauth_state_invalid" });
      expect(requests()).toEqual(before);
      await expect(finish(own)).resolves.toBeDefined();
    },
  );
});

describe("a code of one provider", () => {
  it("that is played to another's callback is sent to nobody (mix-up)", async () => {
    const who = person("person-1", "browser-1");
    const [mine, theirs] = [await begin("tasks", "acme", who), await begin("calendar", "acme", who)];
    const before = requests();
    // The attacker's authorization server answers with its own code, under the state that belongs to the honest one.
    const query = providers.get("calendar")!.consent(theirs);
    query.set("state", new URL(mine).searchParams.get("state") ?? "");
    await expect(finish({ contextId: "calendar", query, person: who, organizationId: "acme" })).rejects.toMatchObject({
      code: "oauth_session_mismatch",
    });
    expect(requests()).toEqual(before);
  });

  it("that is injected under the right state goes to the provider that the consent began at, and is refused", async () => {
    const who = person("person-1", "browser-1");
    const [mine, theirs] = [await begin("tasks", "acme", who), await begin("calendar", "acme", who)];
    const before = requests();
    const query = providers.get("tasks")!.consent(mine);
    query.set("code", providers.get("calendar")!.consent(theirs).get("code") ?? "");
    await expect(finish({ contextId: "tasks", query, person: who, organizationId: "acme" })).rejects.toMatchObject({
      code: "oauth_exchange_rejected",
    });
    expect(requests()).toEqual([(before[0] ?? 0) + 1, before[1]]);
  });
});
