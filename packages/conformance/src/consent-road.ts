import { beginConsent, type Caller, type ConsentOutcome, finishConsent } from "@tributary/integrations";
import { pressConsent } from "@tributary/sandbox";
import { ConformanceFailure } from "./check.ts";
import type { Stage } from "./stage.ts";

/** Somebody who links the account. All of them link the one account that the provider simulates. */
export interface Member {
  readonly caller: Caller;
  readonly person: { readonly userId: string; readonly sessionHash: string };
}

/** A connection, and whose it is. */
export interface Linked {
  readonly member: Member;
  readonly id: string;
}

/** @param name letters and digits; another name is another organisation, another person and another session. */
export function memberOf({ connector }: Pick<Stage, "connector">, name: string): Member {
  const kind = connector.manifest.owner;
  const organizationId = `org-${name}`;
  const owner = { kind, id: kind === "user" ? `person-${name}` : organizationId };
  return {
    caller: { organizationId, owner, name },
    person: { userId: `person-${name}`, sessionHash: `session-${name}` },
  };
}

/** Begins consent and presses a button on the provider's page. @returns the URL that the browser is sent to. */
export async function consent(
  stage: Stage,
  { caller, person }: Member,
  decision: "allow" | "deny" = "allow",
  connectionId?: string,
): Promise<URL> {
  const challenge = await beginConsent(stage.runtime, {
    organizationId: caller.organizationId,
    owner: caller.owner,
    person,
    integration: stage.connector.id,
    ...(connectionId === undefined ? {} : { connectionId }),
  });
  if (challenge.kind !== "redirect")
    throw new ConformanceFailure(
      `beginOAuth answered with a ${challenge.kind}`,
      "return what `user.begin()` gives; this kit drives consent by redirect only",
    );
  return pressConsent(challenge.url, { decision, account: stage.person.accountId });
}

/** The browser came back. */
export const finish = (stage: Stage, { caller, person }: Member, back: URL): Promise<ConsentOutcome> =>
  finishConsent(stage.runtime, {
    contextId: stage.connector.id,
    query: back.searchParams,
    person,
    organizationId: caller.organizationId,
  });

/** The whole road of consent. */
export async function link(stage: Stage, name: string, connectionId?: string): Promise<Linked> {
  const member = memberOf(stage, name);
  const { connectionId: id } = await finish(stage, member, await consent(stage, member, "allow", connectionId));
  return { member, id };
}
