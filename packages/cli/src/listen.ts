import { ConnectError } from "@connectrpc/connect";
import { eventTypes, Start } from "@tributary/contracts";
import type { EventContext, SubscriberError } from "@tributary/subscriber";
import { Command } from "commander";
import { randomBytes } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { asking, failureOf } from "./asking.ts";
import { type CommandContext, CommandFailure, examples, EXIT } from "./command-line.ts";
import { eventType } from "./event-type.ts";
import { type Hub, hubOf, talking } from "./hub.ts";
import { jsonOf } from "./json-of.ts";
import { passingName, strayConsumers } from "./stray-consumers.ts";
import { plain, plainJson } from "./table.ts";

const ANSWER_MS_MAX = 15_000;

interface ListenOptions {
  readonly forwardTo?: string;
  readonly name?: string;
  readonly type?: readonly string[];
  readonly json?: boolean;
}

/**
 * `tributary listen [--forward-to URL]`: every new event as a line, or as a webhook to a program that is being written.
 * Forwarded ones follow Standard Webhooks 1.0 (https://www.standardwebhooks.com): `webhook-id` is the event's id, the
 * signature is over id, time and body, and any answer but a 2xx has the event sent again, in order.
 */
export const listenCommand = (context: CommandContext): Command =>
  talking(new Command("listen"))
    .description("receive events here, as a subscriber does; forward them to a program as signed webhooks")
    .option("--forward-to <url>", "POST each event there, signed as Standard Webhooks say")
    .option("--name <consumer>", "go on where this consumer left off, and keep it; default one for now only")
    .option("--type <name>", "only this type; may be given several times", eventType)
    .addHelpText(
      "after",
      "\nThe signing secret is TRIBUTARY_WEBHOOK_SECRET (whsec_…); without it one is made and\nshown. " +
        "Any answer but a 2xx has the event sent again; what follows it in its\nconnection waits.\n" +
        examples("tributary listen", "tributary listen --forward-to http://127.0.0.1:3000/webhooks --name my-laptop"),
    )
    .action(async (options: ListenOptions, command: Command) => listen(context, options, command));

async function listen(context: CommandContext, options: ListenOptions, command: Command): Promise<void> {
  const hub = hubOf(context, command);
  const json = command.optsWithGlobals()["json"] === true;
  const wanted = options.type ?? [...eventTypes.keys()];
  const forward = options.forwardTo === undefined ? undefined : forwarder(context, options.forwardTo);
  // The broker's client comes with it: whoever lists events need not wait for that.
  const { retry, subscribe } = await import("@tributary/subscriber");
  const name = options.name ?? passingName();
  if (options.name === undefined) await asking(hub, () => begin(context, hub, name, wanted));
  const subscriber = subscribe({
    url: hub.origin,
    token: hub.token,
    name,
    window: 100,
    drainOn: ["SIGINT", "SIGTERM", "SIGHUP"],
    // A program that is being written fails often, and is soon there again; nothing is given up for that.
    afterLastAttempt: "hold",
    backoffMs: { first: 500, longest: 10_000 },
    // What happens to an event is said where it is forwarded.
    log: { info: () => {}, warn: ({ id }, message) => void (id ?? context.stderr.write(`${message}\n`)) },
  });
  for (const type of wanted) {
    const schema = eventTypes.get(type);
    if (schema === undefined) continue;
    subscriber.on(schema, async (message, event) => {
      const body = JSON.stringify(envelope(event, jsonOf(schema, message)));
      const status = await forward?.(event, body);
      if (status === "again") throw retry();
      context.stdout.write(json ? `${plainJson(body)}\n` : `${lineOf(event, status)}\n`);
    });
  }
  try {
    const subscription = await subscriber.start();
    context.stderr.write(`listening to ${hub.origin} as ${name}; Ctrl-C ends it\n`);
    await subscription.done;
  } catch (error) {
    throw ofSubscriber(hub, error);
  } finally {
    if (options.name === undefined) await hub.consumers.removeConsumer({ name }).catch(() => {});
  }
}

/** A new consumer would begin with the oldest event; who listens wants what happens from now on. */
async function begin({ now, stderr }: CommandContext, hub: Hub, name: string, types: readonly string[]): Promise<void> {
  await hub.consumers.createConsumer({ name, types: [...types], start: Start.NOW });
  // A broker that is away has no list to give; who listens over HTTP does not need it.
  const { consumers } = await hub.consumers.listConsumers({}).catch(() => ({ consumers: [] }));
  for (const stray of strayConsumers(consumers, now())) {
    await hub.consumers.removeConsumer({ name: stray }).catch(() => {});
    stderr.write(`removed the consumer ${stray}: a listen that was killed had left it\n`);
  }
}

/** The hub's own words where there are some: then they are said as every command says them. */
function ofSubscriber(hub: Hub, error: unknown): unknown {
  if (!(error instanceof Error) || error.name !== "SubscriberError") return error;
  const { code } = error as SubscriberError;
  if (error.cause instanceof ConnectError && code !== "consumer_differs") return failureOf(hub, error.cause);
  return new CommandFailure(EXIT_OF[code], error.message);
}

const EXIT_OF: Readonly<Record<SubscriberError["code"], number>> = {
  usage: EXIT.usage,
  refused: EXIT.notAllowed,
  unreachable: EXIT.unreachable,
  stream_missing: EXIT.unreachable,
  consumer_differs: EXIT.failed,
};

/** The body of a webhook: what Standard Webhooks recommend (type, timestamp, data), and the event's own attributes. */
const envelope = (event: EventContext, data: unknown): object => ({
  type: event.type,
  timestamp: event.time.toISOString(),
  data,
  id: event.id,
  organizationId: event.organizationId,
  connectionId: event.connectionId,
  connector: event.connector,
  objectKey: event.objectKey,
  sequence: String(event.sequence),
  backfill: event.backfill,
  ...(event.replayId === undefined ? {} : { replayId: event.replayId }),
});

function lineOf({ time, type, objectKey, connectionId, sequence }: EventContext, status: number | undefined): string {
  const parts = [time.toISOString(), type, plain(objectKey), `${connectionId}#${sequence}`];
  return [...parts, ...(status === undefined ? [] : [`-> ${status}`])].join("  ");
}

/** Sends one event. @returns the receiver's status, or "again" after any but a 2xx. */
type Forward = (event: EventContext, body: string) => Promise<number | "again">;

/** @throws CommandFailure usage for an address that is none, config for a secret that is none. */
function forwarder({ env, stderr, now }: CommandContext, url: string): Forward {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new CommandFailure(EXIT.usage, "--forward-to takes an address that begins with http:// or https://");
  const secret = env["TRIBUTARY_WEBHOOK_SECRET"] ?? `whsec_${randomBytes(24).toString("base64")}`;
  const webhook = signer(secret);
  if (env["TRIBUTARY_WEBHOOK_SECRET"] === undefined) stderr.write(`webhooks are signed with ${secret}\n`);
  return async (event, body) => {
    const at = now();
    const headers = {
      "content-type": "application/json",
      "user-agent": "tributary-listen",
      "webhook-id": event.id,
      "webhook-timestamp": String(Math.floor(at.getTime() / 1000)),
      "webhook-signature": webhook.sign(event.id, at, body),
    };
    const late = AbortSignal.timeout(ANSWER_MS_MAX);
    const signal = AbortSignal.any([late, event.signal]);
    const init = { method: "POST", headers, body, signal, redirect: "manual" } as const;
    const answer = await fetch(url, init).catch(() => undefined);
    await answer?.body?.cancel();
    if (answer?.ok === true) return answer.status;
    if (!event.signal.aborted) stderr.write(`${event.id}: ${wrongWith(answer, late)}; it is sent again\n`);
    return "again";
  };
}

function wrongWith(answer: Response | undefined, late: AbortSignal): string {
  if (answer === undefined) return late.aborted ? `no answer within ${ANSWER_MS_MAX / 1_000} s` : "nobody answers";
  const redirected = answer.status >= 300 && answer.status < 400;
  return `answered ${answer.status}${redirected ? ", and no redirect is followed" : ""}`;
}

function signer(secret: string): Webhook {
  try {
    return new Webhook(secret);
  } catch {
    throw new CommandFailure(EXIT.config, "TRIBUTARY_WEBHOOK_SECRET is whsec_ and base64 of 24 to 64 bytes");
  }
}
