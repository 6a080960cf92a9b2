import type { Timestamp } from "@bufbuild/protobuf/wkt";
import {
  GetReplayResponseSchema,
  ListReplaysResponseSchema,
  ReplayState,
  type ReplayStatus,
} from "@tributary/contracts";
import { Command } from "commander";
import { type CommandContext, report, ReportedFailure } from "./command-line.ts";
import { eventType } from "./event-type.ts";
import { asking, type Hub, hubOf, talking } from "./hub.ts";
import { jsonOf } from "./json-of.ts";
import { ago, count, inOrder, several, shown } from "./moment.ts";
import { table } from "./table.ts";

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

const MISSING = { next: "`tributary events replay ls` lists replays." };
const MISSING_TARGET = { next: "`tributary consumers ls` lists consumers, `tributary events ls` connections." };

/** `tributary events replay [ls | show | cancel]`: deliver again what is retained. */
export const replayCommand = (context: CommandContext): Command =>
  start(context).addCommand(list(context)).addCommand(show(context)).addCommand(cancel(context));

const start = (context: CommandContext): Command =>
  talking(new Command("replay"))
    .description("deliver retained events again, with the same ids, beside the live ones; follows it to its end")
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
        MISSING_TARGET,
      );
      if (replay === undefined) throw new Error("the hub answered without a replay");
      const last = options.wait ? await follow(context, hub, replay) : replay;
      tell(context, command, last);
      if (last.state === ReplayState.FAILED || last.state === ReplayState.CANCELLED) throw new ReportedFailure();
    });

/** Shows progress as it comes; the replay goes on when this ends. */
async function follow(context: CommandContext, hub: Hub, started: ReplayStatus): Promise<ReplayStatus> {
  let last = started;
  await asking(hub, async () => {
    for await (const { replay } of hub.events.watchReplay({ id: started.id })) {
      if (replay === undefined) continue;
      last = replay;
      context.stderr.write(`${progress(replay)}\n`);
    }
  });
  return last;
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
  const targets = replay.targets.map(({ consumer, done, ended }) => [
    consumer === "" ? "(NATS)" : consumer,
    String(done),
    ended ? "all" : "",
  ]);
  report(context, command, json as object, [
    progress(replay),
    ...(replay.reason === "" ? [] : [`reason: ${replay.reason}`]),
    ...(targets.length === 0 ? [] : table(["TO", "EVENTS", ""], targets)),
  ]);
}

const list = (context: CommandContext): Command =>
  talking(new Command("ls"))
    .description("replays of the last 30 days, the newest first")
    .action(async (_options: object, command: Command) => {
      const hub = hubOf(context, command);
      const answer = await asking(hub, () => hub.events.listReplays({ pageSize: 200 }));
      const { replays = [] } = jsonOf(ListReplaysResponseSchema, answer);
      const rows = answer.replays.map(({ id, state, consumer, done, total, createdAt }) => [
        id,
        stateName(state),
        consumer === "" ? "(all)" : consumer,
        `${done} of ${total}`,
        shown(createdAt),
      ]);
      const lines = table(["ID", "STATE", "TO", "EVENTS", "STARTED"], rows);
      report(context, command, { replays }, rows.length === 0 ? ["There are no replays."] : lines);
    });

const show = (context: CommandContext): Command =>
  talking(new Command("show"))
    .description("how one stands")
    .argument("<id>")
    .action(async (id: string, _options: object, command: Command) => {
      const hub = hubOf(context, command);
      const { replay } = await asking(hub, () => hub.events.getReplay({ id }), MISSING);
      if (replay !== undefined) tell(context, command, replay);
    });

const cancel = (context: CommandContext): Command =>
  talking(new Command("cancel"))
    .description("end one; what was delivered stays delivered")
    .argument("<id>")
    .action(async (id: string, _options: object, command: Command) => {
      const hub = hubOf(context, command);
      const { replay } = await asking(hub, () => hub.events.cancelReplay({ id }), MISSING);
      if (replay !== undefined) tell(context, command, replay);
    });
