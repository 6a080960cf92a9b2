import { deed } from "./town.ts";
import { call, link, livingConnections, newAct, perform } from "./people.ts";
import { FAULTS } from "./front.ts";
import { handOver } from "./webhooks.ts";
import type { Gate } from "./turns.ts";
import { ORGANIZATIONS, type World } from "./world.ts";

/** What may happen in a turn, and how likely each is. */
const TURNS = {
  step: 74,
  deed: 9,
  api: 4,
  webhook: 3,
  time: 4,
  provider: 0.5,
  kill: 0.2,
  freeze: 1,
  subscriber: 0.6,
};

/** One turn: something is let through, or something happens. */
export async function playTurn(world: World): Promise<void> {
  const { dice } = world;
  if (world.seats.length < world.seatsMax) await world.openSeat();
  for (const organizationId of ORGANIZATIONS)
    if (world.subscribers.every((one) => one.organizationId !== organizationId)) world.follow(organizationId);
  const waiting = world.turns.gates.filter(({ process }) => !process.frozen);
  const still = world.seats.some(({ process }) => process.frozen);
  const kind = dice.weighted({
    ...TURNS,
    step: waiting.length > 0 ? TURNS.step : 0,
    // What stood still is to be overtaken.
    time: still ? 3 * TURNS.time : TURNS.time,
  });
  await HAPPENINGS[kind](world, waiting);
  await settled(world, dice.below(5) + 1);
}

/** Waits until everything has come to a stand, and writes down what changed at the provider. */
export async function settled(world: World, ms: number): Promise<void> {
  await world.turns.settle();
  world.town.record();
  for (const seat of world.seats) if (seat.process.dead) world.killHub(seat);
  for (const one of world.subscribers) if (one.process.dead) world.killSubscriber(one, world.dice.chance(0.7));
  world.advance(ms);
  await world.turns.settle();
  world.counts.turns++;
}

const DATABASE_FATES = { live: 600, "die at": 2, "die before": 1, "die after": 2, "lost before": 1, "lost after": 1 };
/** Where the runtime says that it is at a step, more goes wrong: there it has something to lose. */
const STEP_FATES = {
  live: 60,
  stall: 12,
  "die at": 6,
  "die before": 6,
  "die after": 8,
  "lost before": 2,
  "lost after": 3,
};
const REQUEST_FATES = { pass: 55, slow: 15, fault: 30 };

async function step(world: World, waiting: readonly Gate[]): Promise<void> {
  const { dice, open, counts, tell } = world;
  const gate = dice.pick(waiting);
  const fate =
    gate.kind === "transaction" ? databaseFate(world, gate) : gate.kind === "request" ? requestFate(world) : "pass";
  if (fate === "stall") {
    gate.process.frozen = true;
    tell(`${gate.process.name} stands still`, gate.what);
    return;
  }
  if (fate.startsWith("lost")) counts.losses++;
  tell(`${gate.process.name}: ${gate.kind}${fate === "live" || fate === "pass" ? "" : `, ${fate}`}`, gate.what);
  await open(gate, fate);
}

function databaseFate({ dice }: World, { near }: Gate): string {
  const chosen: string = near === undefined ? dice.weighted(DATABASE_FATES) : dice.weighted(STEP_FATES);
  // A statement that the transaction does not come to leaves it alive.
  return chosen === "die at" ? `die at ${1 + dice.below(6)}` : chosen;
}

function requestFate({ dice, counts }: World): string {
  const chosen = dice.weighted(REQUEST_FATES);
  if (chosen !== "fault") return chosen;
  counts.faults++;
  return dice.pick(FAULTS);
}

function act(world: World): void {
  const { account, caller } = world.dice.pick(world.members);
  world.tell(`${caller.name} ${deed(account, world.dice)}`);
}

/** Somebody calls a hub. Who has no connection links an account; who has one does something with it. */
async function api(world: World): Promise<void> {
  const { dice } = world;
  const [hub, member] = [world.hubs().length === 0 ? undefined : dice.pick(world.hubs()), dice.pick(world.members)];
  if (hub === undefined) return;
  const { caller } = member;
  const living = await livingConnections(world, member);
  if (living.length === 0) return link(world, hub, member);
  const one = dice.pick(living);
  const { connections } = hub;
  const kind = dice.weighted({ act: 8, again: 3, pause: 1, resume: 3, sync: 1, relink: 2, disconnect: 0.5 });
  if (kind === "act") {
    const asked = newAct(world, member, one);
    perform(world, hub, member, asked);
    // An impatient caller, at another hub perhaps.
    if (dice.chance(0.5)) perform(world, dice.pick(world.hubs()), member, asked);
  } else if (kind === "again") {
    if (member.acts.length > 0) perform(world, hub, member, dice.pick(member.acts));
  } else if (kind === "relink") link(world, hub, member, one.id);
  else
    call(world, hub, `${caller.name} wants ${kind} of ${one.id.slice(0, 8)}`, async () => {
      if (kind === "disconnect") await connections.disconnect(caller, one.id, { deleteEvents: false });
      else await connections[kind](caller, one.id);
    });
}

/** At the provider, without anybody at our side having a part in it. */
function provider(world: World): void {
  const { dice } = world;
  const account = dice.pick(world.members).account;
  const { control } = account.emulator;
  const kind = dice.weighted({ cursors: 2, tokens: 3, consent: 1 });
  world.tell(`the provider ends all ${kind} of account ${account.index}`);
  if (kind === "cursors") control.world.expireSyncTokens();
  else if (kind === "tokens") control.oauth?.tokens.expire();
  else {
    account.revoked = true;
    control.oauth?.tokens.revoke();
  }
}

function time(world: World): void {
  const ms = { moment: 800, minute: 130_000, poll: 320_000, hour: 3_700_000 };
  const kind = world.dice.weighted({ moment: 8, minute: 4, poll: 3, hour: 0.5 });
  world.tell(`a ${kind} passes`);
  world.advance(Math.ceil(ms[kind] * (0.5 + world.dice.random() / 2)));
}

function kill(world: World): void {
  if (world.seats.length > 0) world.killHub(world.dice.pick(world.seats));
}

/** Stops a hub as SIGSTOP does, or lets one go on. */
function freeze(world: World): void {
  if (world.seats.length === 0) return;
  const still = world.seats.filter(({ process }) => process.frozen);
  const { process } = world.dice.pick(still.length > 0 ? still : world.seats);
  process.frozen = !process.frozen;
  world.tell(`${process.name} ${process.frozen ? "stands still" : "goes on"}`);
}

function subscriber(world: World): void {
  if (world.subscribers.length > 0) world.killSubscriber(world.dice.pick(world.subscribers), world.dice.chance(0.7));
}

type Happening = (world: World, waiting: readonly Gate[]) => void | Promise<void>;

const HAPPENINGS: Readonly<Record<keyof typeof TURNS, Happening>> = {
  step,
  deed: act,
  api,
  webhook: handOver,
  time,
  provider,
  kill,
  freeze,
  subscriber,
};
