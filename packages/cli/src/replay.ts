import type { Timestamp } from "@bufbuild/protobuf/wkt";
import {
  GetReplayResponseSchema,
  ListReplaysResponseSchema,
  ReplayState,
  type ReplayStatus,
  Road,
} from "@tributary/contracts";
import { Command } from "commander";
import { asking, type Missing } from "./asking.ts";
import { type CommandContext, CommandFailure, examples, report, ReportedFailure } from "./command-line.ts";
import { eventType } from "./event-type.ts";
import { type Hub, hubOf, talking, UNHURRIED } from "./hub.ts";
import { jsonOf } from "./json-of.ts";
import { ago, count, inOrder, several, shown } from "./moment.ts";
import { LISTED_MAX, listed, onward } from "./pages.ts";
import { table } from "./table.ts";
import { untilSignal } from "./until-signal.ts";

interface StartOptions {
  readonly to?: string;
  readonly type?: readonly string[];
  readonly connection?: readonly string[];
  readonly from?: Timestamp;
  readonly until?: Timestamp;
  readonly rate?: number;
  readonly key?: string;
  readonly wait: boolean;
}

const MISSING = { what: "replay by that id", next: "`tributary events replay ls` lists replays." };
const MISSING_CONSUMER = { what: "consumer of that name", next: "`tributary consumers ls` lists consumers." };
const MISSING_CONNECTION = { what: "connection by that id", next: "`tributary events ls` shows connections." };

/** The hub says the same whichever it was. */
function missingOf({ to, connection }: StartOptions): Missing {
  if (connection === undefined) return MISSING_CONSUMER;
  if (to === undefined) return MISSING_CONNECTION;
  return {
    what: "such consumer or no such connection",
    next: `${MISSING_CONSUMER.next} ${MISSING_CONNECTION.next}`,
  };
}

/** `tributary events replay [ls | show | cancel]`: deliver again what is retained. */
export const replayCommand = (context: CommandContext): Command =>
  start(context).addCommand(list(context)).addCommand(show(context)).addCommand(cancel(context));

const start = (context: CommandContext): Command =>
  talking(new Command("replay"))
    .description(
      "deliver retained events again, by time, type and connection, with the same ids; follows it to its end",
    )
    .option("--to <consumer>", "only to this consumer; default all")
    .option("--type <name>", "only this type; may be given several times", eventType)
    .option("--connection <id>", "only this connection; may be given several times", several)
    .option(
      "--from <time>",
      "committed at or after: 30m, 12h, 7d, or ISO 8601; default as far back as events are kept",
      ago(context),
    )
    .option("--until <time>", "committed before; default now", ago(context))
    .option("--rate <n>", "events a second at most; default the hub's setting", count(100_000))
    .option("--key <key>", "asking twice with one key starts one replay")
    .option("--no-wait", "do not follow it")
    .addHelpText(
      "after",
      "\nNo provider is asked. Live events go on beside it. It ends with 0\nonce every consumer has had all of it.\n" +
        examples(
          "tributary events replay --to billing --from 2h",
          "tributary events replay --type tributary.task.v1.TaskCompleted --rate 100 --no-wait",
        ),
    )
    .action(async (options: StartOptions, command: Command) => {
      const hub = hubOf(context, command);
      const { from, until } = options;
      inOrder(from, until);
      const { replay } = await asking(
        hub,
        () =>
          hub.events.replay({
            ...(from === undefined ? {} : { from }),
            ...(until === undefined ? {} : { until }),
            consumer: options.to ?? "",
            types: [...(options.type ?? [])],
            connectionIds: [...(options.connection ?? [])],
            eventsPerSecond: options.rate ?? 0,
            idempotencyKey: options.key ?? "",
          }),
        missingOf(options),
      );
      if (replay === undefined) throw new Error("the hub answered without a replay");
      const last = options.wait ? await follow(context, hub, replay) : replay;
      tell(context, command, last);
      const came = last.state === ReplayState.DONE || (!options.wait && last.state === ReplayState.RUNNING);
      if (!came) throw new ReportedFailure();
    });

/** Shows progress as it comes. The replay goes on when this ends, and whoever ends it is told so. */
async function follow(context: CommandContext, hub: Hub, started: ReplayStatus): Promise<ReplayStatus> {
  const { id } = started;
  let last = started;
  let line = "";
  const say = (text: string): void => {
    if (text !== line) context.stderr.write(`${text}\n`);
    line = text;
  };
  const left = await untilSignal(async (signal) => {
    try {
      await sayWhoIsAway(context, hub, started);
      await asking(hub, async () => {
        for await (const { replay } of hub.events.watchReplay({ id }, { signal, timeoutMs: UNHURRIED })) {
          last = replay ?? last;
          // The end is the result, and that is on standard output.
          if (last.state === ReplayState.RUNNING) say(progress(last));
        }
      });
      return false;
    } catch (error) {
      if (signal.aborted) return true;
      if (error instanceof CommandFailure) throw new CommandFailure(error.exitCode, `${error.message}\n${goesOn(id)}`);
      throw error;
    }
  });
  if (left) context.stderr.write(`${goesOn(id)}\n`);
  return last;
}

const goesOn = (id: string): string =>
  `the replay goes on: \`tributary events replay show ${id}\` says how it stands, ` +
  `\`tributary events replay cancel ${id}\` ends it`;

/** A replay waits for whoever is away: its progress alone would not say why it stands still. */
async function sayWhoIsAway(context: CommandContext, hub: Hub, { targets }: ReplayStatus): Promise<void> {
  const { consumers } = await hub.consumers.listConsumers({}).catch(() => ({ consumers: [] }));
  const away = targets.filter(
    (target) =>
      target.road === Road.HTTP &&
      consumers.some(({ name, road, connected }) => name === target.consumer && road === Road.HTTP && !connected),
  );
  if (away.length > 0)
    context.stderr.write(`not connected, and waited for: ${away.map(({ consumer }) => consumer).join(", ")}\n`);
}

const progress = ({ id, done, total, state }: ReplayStatus): string =>
  `replay ${id}: ${done} of ${total === 0n && state === ReplayState.RUNNING ? "?" : total} events, ${stateName(state)}`;

const STATES = [
  [ReplayState.RUNNING, "running"],
  [ReplayState.DONE, "done"],
  [ReplayState.CANCELLED, "cancelled"],
  [ReplayState.FAILED, "failed"],
] as const;
const stateName = (state: ReplayState): string => STATES.find(([one]) => one === state)?.[1] ?? "unknown";

function tell(context: CommandContext, command: Command, replay: ReplayStatus): void {
  const { replay: json = {} } = jsonOf(GetReplayResponseSchema, {
    $typeName: "tributary.api.v1.GetReplayResponse",
    replay,
  });
  const targets = replay.targets.map(({ consumer, road, done, ended }) => [
    consumer === "" ? "(all)" : consumer,
    road === Road.HTTP ? "http" : "nats",
    String(done),
    ended ? (road === Road.HTTP ? "settled" : "published") : "not at its end",
  ]);
  report(context, command, json as object, [
    progress(replay),
    ...(replay.reason === "" ? [] : [REASONS[replay.reason] ?? `reason: ${replay.reason}`]),
    ...(targets.length === 0 ? [] : table(["TO", "ROAD", "EVENTS", ""], targets)),
  ]);
}

const REASONS: Readonly<Record<string, string>> = {
  consumer_removed: "The consumer that it was for was removed.",
  expired: "It had not come to its end within 7 days.",
};

interface ListOptions {
  readonly limit: number;
  readonly page?: string;
}

const list = (context: CommandContext): Command =>
  talking(new Command("ls"))
    .description("list replays of the last 30 days, the newest first")
    .option("--limit <n>", "at most so many", count(LISTED_MAX), 50)
    .option("--page <token>", "go on where a listing ended; it names the token")
    .action(async (options: ListOptions, command: Command) => {
      const hub = hubOf(context, command);
      const { found, nextPageToken } = await asking(hub, () =>
        listed(options, async (place) => {
          const page = await hub.events.listReplays(place);
          return { found: page.replays, nextPageToken: page.nextPageToken };
        }),
      );
      const rows = found.map(({ id, state, consumer, done, total, createdAt }) => [
        id,
        stateName(state),
        consumer === "" ? "(all)" : consumer,
        `${done} of ${total}`,
        shown(createdAt),
      ]);
      const all = { $typeName: "tributary.api.v1.ListReplaysResponse" as const, replays: [...found], nextPageToken };
      const json = { ...jsonOf(ListReplaysResponseSchema, all), more: nextPageToken !== "" };
      const lines = [...table(["ID", "STATE", "TO", "EVENTS", "STARTED"], rows), ...onward(nextPageToken)];
      report(context, command, json, rows.length === 0 ? ["There are no replays."] : lines);
    });

const show = (context: CommandContext): Command =>
  talking(new Command("show"))
    .description("show how a replay stands, and with each consumer")
    .argument("<id>", "as `tributary events replay ls` lists it")
    .action(async (id: string, _options: object, command: Command) => {
      const hub = hubOf(context, command);
      const { replay } = await asking(hub, () => hub.events.getReplay({ id }), MISSING);
      if (replay !== undefined) tell(context, command, replay);
    });

const cancel = (context: CommandContext): Command =>
  talking(new Command("cancel"))
    .description("end a replay; what was delivered stays delivered")
    .argument("<id>", "as `tributary events replay ls` lists it")
    .action(async (id: string, _options: object, command: Command) => {
      const hub = hubOf(context, command);
      const { replay } = await asking(hub, () => hub.events.cancelReplay({ id }), MISSING);
      if (replay !== undefined) tell(context, command, replay);
    });
