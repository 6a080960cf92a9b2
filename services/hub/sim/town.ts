import { emulators } from "@tributary/connectors/emulators";
import { CANARY } from "@tributary/conformance";
import { createClock, type RunningEmulator, type SandboxClient } from "@tributary/sandbox";
import { BEGIN_MS } from "./sim-database.ts";
import type { Dice } from "./dice.ts";

type World = Awaited<ReturnType<typeof emulators.todoist.start>>["control"]["world"];
export type TaskState = ReturnType<World["task"]>;

/** One person's account at the simulated Todoist: a world of its own, and everything that was ever true there. */
export interface Account {
  readonly index: number;
  readonly id: string;
  readonly emulator: RunningEmulator<World>;
  /** The states that its tasks were in, oldest first. */
  readonly history: { readonly id: string; readonly state: TaskState; readonly deleted: boolean }[];
  /** Titles by which tasks are told apart were given so often. */
  titles: number;
  /** The provider has ended a consent: the person took it back, the hub did, or a crash or a lost answer made a token come twice. */
  revoked: boolean;
  /** The provider has replaced a refresh token, and nobody has stored the new one yet. */
  rotating: boolean;
  /** Deliveries that were handed over or lost. */
  delivered: number;
}

export interface Town {
  readonly accounts: readonly Account[];
  readonly client: SandboxClient;
  /** What the provider saw that must not be. */
  readonly problems: string[];
  nowMs(): number;
  advance(ms: number): void;
  /** Writes down what changed since the last call. */
  record(): void;
  stop(): Promise<void>;
}

export const ORIGINS = emulators.todoist.origins;
export const PUBLIC_ORIGIN = "https://hub.example.com";
const ACCOUNTS = 3;
const DAY_MS = 86_400_000;

/** Every token says whose it is, to whoever stands in front of the emulators. */
export const accountOfToken = (text: string): number | undefined => {
  const found = new RegExp(`${CANARY}(\\d)-`).exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
};

export async function openTown(dice: Dice): Promise<Town> {
  const clock = createClock(() => BEGIN_MS);
  const client: SandboxClient = {
    clientId: "simulation",
    clientSecret: `${CANARY}client-secret`,
    redirectUris: [`${PUBLIC_ORIGIN}/api/integrations/oauth/callback/todoist`],
  };
  const accounts: Account[] = [];
  for (let index = 0; index < ACCOUNTS; index++) {
    const id = `4800000${index}`;
    const emulator = await emulators.todoist.start({
      port: 0,
      clock,
      clients: [client],
      account: { id, name: `Person ${index}`, email: `person${index}@example.com` },
      seed: "empty",
      tokenPrefix: `${CANARY}${index}-`,
      // Nobody listens: deliveries are kept back, and the simulation hands them over as it likes.
      webhookUrl: "http://127.0.0.1:9/webhooks",
      environment: {},
    });
    emulator.control.deliveries.lose(Infinity);
    const account = { index, id, emulator, history: [], titles: 0, revoked: false, rotating: false };
    accounts.push({ ...account, delivered: 0 });
  }
  const recorded = new Map<Account, number>(accounts.map((account) => [account, 0]));
  const town: Town = {
    accounts,
    client,
    problems: [],
    nowMs: () => clock.now().getTime(),
    advance: (ms) => clock.advance(ms),
    record: () => {
      for (const account of accounts) {
        const { items: tasks } = account.emulator.control.world;
        for (const { id, value, deleted } of tasks.changedSince(recorded.get(account) ?? 0))
          account.history.push({ id, state: value, deleted });
        recorded.set(account, tasks.sequence);
      }
    },
    stop: async () => {
      await Promise.all(accounts.map(({ emulator }) => emulator.stop()));
    },
  };
  for (const account of accounts) furnish(town, account, dice);
  return town;
}

/** What was there before anybody linked it: open tasks, and some that were completed days ago. */
function furnish(town: Town, account: Account, dice: Dice): void {
  const { world } = account.emulator.control;
  const tasks = 1 + dice.below(4);
  for (let n = 0; n < tasks; n++) {
    const daysAgo = (days: number): Date => new Date(town.nowMs() - days * DAY_MS - n);
    const { id } = world.add({ content: newTitle(account) }, daysAgo(12));
    town.record();
    if (dice.chance(0.4)) world.complete(id, daysAgo(dice.below(10) + 1));
    town.record();
  }
}

export const newTitle = (account: Account): string => `Title ${++account.titles}`;

const DEEDS = { add: 2, change: 4, complete: 3, reopen: 3, remove: 1 };

/** Somebody does something at the provider. @returns what, for the story. */
export function deed(account: Account, dice: Dice): string {
  const { world } = account.emulator.control;
  const kind = dice.weighted(DEEDS);
  // A completed task that is renamed says so to nobody: its completion is the same one.
  const eligible = world.tasks().filter(({ checked }) => kind === "remove" || checked === (kind === "reopen"));
  if (kind === "add" || eligible.length === 0) {
    const { id } = world.add({ content: newTitle(account) });
    return `adds ${id}`;
  }
  // People are at one thing for a while: what matters is what happens to it before it was told of.
  const { id } = (dice.chance(0.6) ? eligible.at(-1) : undefined) ?? dice.pick(eligible);
  if (kind === "change") world.update(id, { content: newTitle(account) });
  if (kind === "complete") world.close(id);
  if (kind === "reopen") world.reopen(id);
  if (kind === "remove") world.remove(id);
  return `${kind}s ${id}`;
}
