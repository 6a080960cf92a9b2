import { Command } from "commander";
import { setTimeout as sleep } from "node:timers/promises";
import { fetchFrom } from "./asking.ts";
import { type CommandContext, CommandFailure, examples, EXIT } from "./command-line.ts";
import { eventType } from "./event-type.ts";
import { type Hub, hubOf, talking } from "./hub.ts";
import { untilSignal } from "./until-signal.ts";
import { type ServerSentEvent, serverSentEvents } from "./sse.ts";
import { plain, plainJson } from "./table.ts";

const AGAIN_MS = 1_000;

interface TailOptions {
  readonly type?: readonly string[];
  readonly connection?: string;
}

/** `tributary tail`: new events as they come, for looking on. Nobody's position moves; a lost line is taken up again. */
export const tailCommand = (context: CommandContext): Command =>
  talking(new Command("tail"))
    .description("look on as events come, without being a consumer; with --json each is one line of JSON")
    .option("--type <name>", "only this type; may be given several times", eventType)
    .option("--connection <id>", "only this connection")
    .addHelpText("after", examples("tributary tail", "tributary tail --json | jq .data"))
    .action(async (options: TailOptions, command: Command) => {
      const hub = hubOf(context, command);
      const json = command.optsWithGlobals()["json"] === true;
      await untilSignal(async (signal) => {
        for await (const event of follow(context, hub, options, signal))
          context.stdout.write(`${json ? plainJson(event.data) : lineOf(event)}\n`);
      });
    });

async function* follow(
  { stderr }: CommandContext,
  hub: Hub,
  { type = [], connection }: TailOptions,
  signal: AbortSignal,
): AsyncGenerator<ServerSentEvent> {
  const query = new URLSearchParams(type.map((one) => ["type", one]));
  if (connection !== undefined) query.set("connection", connection);
  let lastId = "";
  for (let connected = false; !signal.aborted;) {
    try {
      const headers = { accept: "text/event-stream", ...(lastId === "" ? {} : { "last-event-id": lastId }) };
      const { body } = await fetchFrom(hub, `/api/events/stream?${query}`, { headers, signal });
      if (!connected) stderr.write(`looking on at ${hub.origin}; Ctrl-C ends it\n`);
      connected = true;
      for await (const event of body === null ? [] : serverSentEvents(body)) {
        lastId = event.id === "" ? lastId : event.id;
        yield event;
      }
    } catch (error) {
      if (signal.aborted) return;
      // A hub that goes away is waited for, and taken up behind the last event. One that was never there is not.
      const refused = error instanceof CommandFailure && error.exitCode !== EXIT.unreachable;
      if (refused || !connected) throw error;
    }
    if (signal.aborted) return;
    stderr.write("the stream ended; connecting again\n");
    await sleep(AGAIN_MS, undefined, { signal }).catch(() => {});
  }
}

function lineOf({ data }: ServerSentEvent): string {
  const event = JSON.parse(data) as Readonly<Record<string, unknown>>;
  const said = (name: string): string => {
    const value = event[name];
    return typeof value === "string" || typeof value === "number" ? plain(String(value)) : "";
  };
  return `${said("time")}  ${said("type")}  ${said("objectKey")}  ${said("connectionId")}#${said("sequence")}`;
}
