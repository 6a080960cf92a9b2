import { Command } from "commander";
import { setTimeout as sleep } from "node:timers/promises";
import { type CommandContext, CommandFailure, EXIT } from "./command-line.ts";
import { eventType } from "./event-type.ts";
import { type Hub, hubOf, talking } from "./hub.ts";
import { type ServerSentEvent, serverSentEvents } from "./sse.ts";
import { plain } from "./table.ts";

const AGAIN_MS = 1_000;

interface TailOptions {
  readonly type?: readonly string[];
  readonly connection?: string;
}

/** `tributary tail`: new events as they come, for looking on. Nobody's position moves; a lost line is taken up again. */
export const tailCommand = (context: CommandContext): Command =>
  talking(new Command("tail"))
    .description("look on as events come; with --json each is one line of JSON")
    .option("--type <name>", "only this type; may be given several times", eventType)
    .option("--connection <id>", "only this connection")
    .action(async (options: TailOptions, command: Command) => {
      const hub = hubOf(context, command);
      const json = command.optsWithGlobals()["json"] === true;
      const ended = new AbortController();
      const end = (): void => ended.abort();
      process.once("SIGINT", end).once("SIGTERM", end);
      try {
        for await (const event of follow(context, hub, options, ended.signal))
          context.stdout.write(`${json ? event.data : lineOf(event)}\n`);
      } finally {
        process.off("SIGINT", end).off("SIGTERM", end);
      }
    });

async function* follow(
  { stderr }: CommandContext,
  hub: Hub,
  { type = [], connection }: TailOptions,
  signal: AbortSignal,
): AsyncGenerator<ServerSentEvent> {
  const url = new URL("/api/events/stream", hub.origin);
  for (const one of type) url.searchParams.append("type", one);
  if (connection !== undefined) url.searchParams.set("connection", connection);
  let lastId = "";
  for (let connected = false; !signal.aborted;) {
    const answer = await open(hub, url, lastId, signal);
    if (answer?.body == null) {
      if (signal.aborted) return;
      if (!connected) throw new CommandFailure(EXIT.unreachable, `no hub answers at ${hub.origin}`);
      stderr.write("the stream ended; connecting again\n");
      await sleep(AGAIN_MS, undefined, { signal }).catch(() => {});
      continue;
    }
    if (!connected) stderr.write(`looking on at ${hub.origin}; Ctrl-C ends it\n`);
    connected = true;
    try {
      for await (const event of serverSentEvents(answer.body)) {
        lastId = event.id === "" ? lastId : event.id;
        yield event;
      }
    } catch {
      // The line was cut; it is taken up behind the last event.
    }
  }
}

/** @returns undefined when nobody answers. @throws CommandFailure when the hub refuses. */
async function open(hub: Hub, url: URL, lastId: string, signal: AbortSignal): Promise<Response | undefined> {
  const headers = {
    authorization: `Bearer ${hub.token}`,
    accept: "text/event-stream",
    ...(lastId === "" ? {} : { "last-event-id": lastId }),
  };
  const answer = await fetch(url, { headers, signal, redirect: "manual" }).catch(() => undefined);
  if (answer === undefined || answer.ok) return answer;
  const { error = "failed", message = "" } = (await answer.json().catch(() => ({}))) as Record<string, string>;
  const exit = answer.status === 401 || answer.status === 403 ? EXIT.notAllowed : REFUSED[answer.status];
  if (exit === undefined && answer.status >= 500) return undefined;
  throw new CommandFailure(exit ?? EXIT.failed, message === "" ? error : `${error}: ${message}`);
}

const REFUSED: Readonly<Record<number, number>> = { 400: EXIT.usage, 422: EXIT.usage };

function lineOf({ data }: ServerSentEvent): string {
  const event = JSON.parse(data) as Readonly<Record<string, unknown>>;
  const said = (name: string): string => {
    const value = event[name];
    return typeof value === "string" || typeof value === "number" ? plain(String(value)) : "";
  };
  return `${said("time")}  ${said("type")}  ${said("objectKey")}  ${said("connectionId")}#${said("sequence")}`;
}
