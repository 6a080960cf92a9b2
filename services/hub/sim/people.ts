import { type Caller, beginConsent, finishConsent, IntegrationError } from "@tributary/integrations";
import { pressConsent } from "@tributary/sandbox";
import type { Json } from "@tributary/sdk";
import { VaultError } from "@tributary/vault";
import type { HubProcess } from "./hub-process.ts";
import { DatabaseLost } from "./mortal-database.ts";
import { type Account, newTitle, type Town } from "./town.ts";
import type { World } from "./world.ts";

/** Somebody with an account at the provider, in one of the organisations. */
export interface Member {
  readonly account: Account;
  readonly caller: Caller;
  readonly person: { readonly userId: string; readonly sessionHash: string };
  /** What was asked for on their behalf. */
  readonly acts: Act[];
}

/** A write-back under one key, asked for as often as it takes. */
export interface Act {
  readonly key: string;
  readonly type: "task.create" | "task.complete" | "task.reopen";
  readonly input: Json;
  readonly connectionId: string;
  /** "ok", or the code of a refusal that is final; undefined while nobody knows. */
  answer: string | undefined;
  /** How often somebody asked again after the faults had ended. */
  tries: number;
}

export interface LivingConnection {
  readonly id: string;
  readonly state: string;
  readonly dueAt: string | null;
}

/** Two of the first organisation, the others of the second. */
export const membersOf = (town: Town): Member[] =>
  town.accounts.map((account) => {
    const id = `person-${account.index}`;
    const organizationId = account.index < 2 ? "org-a" : "org-b";
    return {
      account,
      caller: { organizationId, owner: { kind: "user", id }, name: id },
      person: { userId: id, sessionHash: `session-${id}` },
      acts: [],
    };
  });

const LIVING = `
SELECT id, state, due_at AS "dueAt" FROM integrations.connection WHERE owner_id = $1 AND state <> 'disconnected'
ORDER BY created_at, id`;

export const livingConnections = (world: World, { caller }: Member): Promise<LivingConnection[]> =>
  world.ask<LivingConnection>(LIVING, [caller.owner.id]);

/** A call that comes in at a hub. What a caller may be told is told; anything else is a bug. */
export function call(world: World, hub: HubProcess, what: string, work: () => Promise<void>): void {
  const said = `${hub.process.name}: ${what}`;
  world.tell(said);
  world.turns.start(hub.process, () =>
    work().then(
      () => world.tell(`${said}: done`),
      (error: unknown) => {
        world.said.push(error);
        const known = error instanceof IntegrationError || error instanceof VaultError || error instanceof DatabaseLost;
        const code = known ? error.code : String(error);
        world.tell(`${said}: ${code}`);
        if (!known && !CONSENT_FAILED.test(code)) world.problems.push(`${what} ended as ${code}`);
      },
    ),
  );
}

/** What a connector throws while somebody waits at the browser goes to the page that shows it. */
const CONSENT_FAILED = /^(Retryable|RateLimited|ReauthRequired|ContractViolation|ClientInvalid)\b/;

/** The whole road of consent, at one hub. @param connectionId to link again. */
export function link(world: World, hub: HubProcess, member: Member, connectionId?: string): void {
  const { caller, person, account } = member;
  const again = connectionId === undefined ? "" : " again";
  call(world, hub, `${caller.name} links${again}`, async () => {
    const challenge = await beginConsent(hub.runtime, {
      organizationId: caller.organizationId,
      owner: caller.owner,
      person,
      integration: "todoist",
      ...(connectionId === undefined ? {} : { connectionId }),
    });
    if (challenge.kind !== "redirect") throw new Error("consent is no redirect");
    const page = new URL(challenge.url);
    const { emulator } = account;
    const back = await pressConsent(`${emulator.origin}${page.pathname}${page.search}`, {
      decision: "allow",
      account: account.id,
    });
    await finishConsent(hub.runtime, {
      contextId: "todoist",
      query: back.searchParams,
      person,
      organizationId: caller.organizationId,
    });
  });
}

/** Something new to ask for; undefined when nothing lends itself to it. */
export function newAct(world: World, { account, acts }: Member, { id: connectionId }: LivingConnection): Act {
  const { dice } = world;
  const open = account.emulator.control.world.tasks().filter(({ checked }) => !checked);
  const done = account.emulator.control.world.tasks().filter(({ checked }) => checked);
  const kind = dice.pick(["task.create", "task.complete", "task.reopen"] as const);
  const tasks = kind === "task.complete" ? open : done;
  const act: Act =
    kind === "task.create" || tasks.length === 0
      ? {
          key: dice.uuid(),
          type: "task.create",
          input: { title: newTitle(account) },
          connectionId,
          answer: undefined,
          tries: 0,
        }
      : { key: dice.uuid(), type: kind, input: { id: dice.pick(tasks).id }, connectionId, answer: undefined, tries: 0 };
  acts.push(act);
  return act;
}

/** Refusals that asking again does not change. */
const FINAL = new Set(["action_rejected", "not_found"]);

export function perform(world: World, hub: HubProcess, { caller }: Member, act: Act): void {
  const { type, input, key: idempotencyKey } = act;
  call(world, hub, `${caller.name} asks for ${type} ${idempotencyKey.slice(0, 8)}`, async () => {
    try {
      await hub.connections.act(caller, act.connectionId, { type, input, idempotencyKey });
      act.answer = "ok";
    } catch (error) {
      if (error instanceof IntegrationError && FINAL.has(error.code)) act.answer = error.code;
      throw error;
    }
  });
}
