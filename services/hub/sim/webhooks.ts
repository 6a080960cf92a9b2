import type { SentDelivery } from "@tributary/sandbox";
import { call } from "./people.ts";
import type { World } from "./world.ts";

/** Hands a webhook over: once, twice, late, out of order, or not at all; or one that nobody sent. */
export function handOver(world: World): void {
  const { dice } = world;
  const hubs = world.hubs();
  if (hubs.length === 0) return;
  const account = dice.pick(world.members).account;
  const { sent } = account.emulator.control.deliveries;
  if (sent.length === 0) return;
  const kind = dice.weighted({ next: 6, again: 2, lost: 2, forged: 1 });
  const next = sent[account.delivered];
  if (kind === "lost") account.delivered = sent.length;
  if (kind === "lost" || (kind === "next" && next === undefined)) return;
  if (kind === "next") account.delivered++;
  const delivery = kind === "next" && next !== undefined ? next : dice.pick(sent);
  deliver(world, delivery, kind === "forged");
}

function deliver(world: World, { headers, body }: SentDelivery, forged: boolean): void {
  const hub = world.dice.pick(world.hubs());
  const signature = "x-todoist-hmac-sha256";
  const shown = forged ? { ...headers, [signature]: Buffer.alloc(32, 1).toString("base64") } : headers;
  call(world, hub, `a ${forged ? "forged " : ""}webhook`, async () => {
    await hub.ingress.receive({
      contextId: "todoist",
      integration: "todoist",
      headers: new Headers(shown),
      body: new TextEncoder().encode(body),
    });
    if (forged) world.problems.push("a forged webhook was taken in");
  });
}
