import { asOwner, run } from "@tributary/db";
import { beginConsent } from "@tributary/integrations";
import { pressConsent } from "@tributary/sandbox";
import type { Connector } from "@tributary/sdk";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { finish, memberOf } from "./consent-road.ts";
import { openStage, type Stage } from "./stage.ts";
import { sample, sampleAdapter } from "./testing/sample-connector.ts";
import { sampleProvider } from "./testing/sample-provider.ts";

const words = { en: "Everything else", pl: "Wszystko inne" };
/** Needs more than the provider will be asked for. */
const demanding: Connector = {
  ...sample,
  scopes: [...sample.scopes, { id: "rest", required: true, label: words, why: words }],
};

let stage: Stage;
beforeAll(async () => {
  stage = await openStage(demanding, sampleProvider, sampleAdapter);
});
afterAll(() => stage.close());
beforeEach(() => stage.fresh());

/** The person unticks a permission. */
async function consentToLess(name: string): Promise<void> {
  const member = memberOf(stage, name);
  const { organizationId, owner } = member.caller;
  const begun = await beginConsent(stage.runtime, {
    organizationId,
    owner,
    person: member.person,
    integration: "sample",
  });
  const url = new URL(begun.kind === "redirect" ? begun.url : "");
  url.searchParams.set("scope", "notes");
  const back = await pressConsent(url.href, { decision: "allow", account: "7" });
  await finish(stage, member, back);
}
const live = () => stage.control.oauth?.tokens.live;
const issued = () => stage.control.journal.counted("tokens.issued");
const stored = () =>
  asOwner(stage.database, async (tx) => [
    ...(await run(tx, "SELECT id FROM vault.secret")),
    ...(await run(tx, "SELECT id FROM integrations.connection")),
  ]);

it("a consent without a required permission leaves nothing here, and no access at the provider", async () => {
  await expect(consentToLess("a")).rejects.toMatchObject({ code: "scope_insufficient" });
  expect([issued(), live(), await stored()]).toEqual([1, 0, []]);
});

it("a provider that does not confirm keeps its grant, and nothing here", async () => {
  stage.control.faults.add({ match: { path: "/revoke" }, status: 503 });
  await expect(consentToLess("a")).rejects.toMatchObject({ code: "scope_insufficient" });
  expect([issued(), live(), await stored()]).toEqual([1, 1, []]);
  expect(stage.said).toMatchObject([{ integration: "sample" }]);
  await stage.lookForLeaks();
  expect([...stage.leaks]).toEqual([]);
});
