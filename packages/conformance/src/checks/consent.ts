import { asOwner, run } from "@tributary/db";
import { type Check, codeOf, must } from "../check.ts";
import { consent, finish, type Member, memberOf } from "../consent-road.ts";
import type { Stage } from "../stage.ts";

const STORED = `
SELECT (SELECT count(*) FROM integrations.connection) + (SELECT count(*) FROM integrations.credential)
  + (SELECT count(*) FROM vault.secret) AS count`;

const stored = async ({ database }: Stage): Promise<number> =>
  Number((await asOwner(database, (tx) => run<{ count: bigint }>(tx, STORED)))[0]?.count ?? 0n);

/** @returns the code that the attempt was refused with. */
async function refusal(stage: Stage, member: Member, back: URL): Promise<string> {
  const error: unknown = await finish(stage, member, back).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  stage.said.push(error);
  return codeOf(error);
}

async function mustStoreNothing(stage: Stage, refused: string, expected: string, what: string): Promise<void> {
  must(
    refused === expected,
    `${what} ended as "${refused}" instead of "${expected}"`,
    "let errors of `state.redeem(code)` and of the provider leave finishOAuth as they are",
  );
  must(
    (await stored(stage)) === 0,
    `${what} left rows behind`,
    "finishOAuth must fail when the code cannot be redeemed",
  );
}

const roundTrip: Check = {
  name: "consent ends in a connection with the provider's account",
  run: async (stage) => {
    const member = memberOf(stage, "a");
    const outcome = await finish(stage, member, await consent(stage, member));
    must(
      outcome.kind === "linked",
      `the connection was made as "${outcome.kind}"`,
      "ask in `scopes` for scopes that the provider has, and keep those it may withhold optional",
    );
    const { row } = await stage.connections.get(member.caller, outcome.connectionId);
    must(
      row.accountId === stage.person.accountId,
      "finishOAuth named another account than the one that consented",
      "return the provider's own stable id of the account, read with the fresh credential",
    );
    must(row.accountLabel !== "", "the account has no label", "return what the person recognises: an address, a name");
    const again = await finish(stage, member, await consent(stage, member));
    must(
      again.kind === "already" && again.connectionId === outcome.connectionId,
      "linking the same account twice made two connections",
      "return the same account id for the same account, every time",
    );
  },
};

const wrongCode: Check = {
  name: "a wrong code stores nothing",
  run: async (stage) => {
    const member = memberOf(stage, "a");
    const back = await consent(stage, member);
    back.searchParams.set("code", `${back.searchParams.get("code") ?? ""}-wrong`);
    await mustStoreNothing(stage, await refusal(stage, member, back), "oauth_exchange_rejected", "a wrong code");
  },
};

const stateOnce: Check = {
  name: "a state serves once, and only the browser that began",
  run: async (stage) => {
    const [member, other] = [memberOf(stage, "a"), memberOf(stage, "b")];
    const stolen = await consent(stage, member);
    await mustStoreNothing(
      stage,
      await refusal(stage, other, stolen),
      "oauth_session_mismatch",
      "another person's answer",
    );
    const back = await consent(stage, member);
    await finish(stage, member, back);
    const rows = await stored(stage);
    const refused = await refusal(stage, member, back);
    must(
      refused === "oauth_state_invalid" && (await stored(stage)) === rows,
      `an answer that came twice ended as "${refused}"`,
      "leave the state to the runtime",
    );
  },
};

const declined: Check = {
  name: "a declined consent stores nothing",
  run: async (stage) => {
    const member = memberOf(stage, "a");
    const back = await consent(stage, member, "deny");
    await mustStoreNothing(stage, await refusal(stage, member, back), "oauth_denied", "a declined consent");
  },
};

export const consentChecks: readonly Check[] = [roundTrip, wrongCode, stateOnce, declined];
