import {
  AfterDeadLetter,
  type Consumer,
  CreateConsumerResponseSchema,
  GetConsumerResponseSchema,
  ListConsumersResponseSchema,
  Road,
  Start,
  UpdateConsumerResponseSchema,
} from "@tributary/contracts";
import { Command, Option } from "commander";
import { asking } from "./asking.ts";
import { type CommandContext, CommandFailure, examples, EXIT, report } from "./command-line.ts";
import { eventType } from "./event-type.ts";
import { hubOf, talking } from "./hub.ts";
import { jsonOf } from "./json-of.ts";
import { shown } from "./moment.ts";
import { table } from "./table.ts";

/** `tributary consumers ls | lag | create | update | rm`: who reads, and how far each has come. */
export const consumersCommand = (context: CommandContext): Command =>
  new Command("consumers")
    .description("who reads events, and how far each has come")
    .addCommand(list(context))
    .addCommand(lag(context))
    .addCommand(create(context))
    .addCommand(update(context))
    .addCommand(remove(context));

const ROADS: Readonly<Record<string, Road>> = { http: Road.HTTP, nats: Road.NATS };
const roadOption = (): Option =>
  new Option("--road <road>", "the way it reads by; default http, where there is one").choices(Object.keys(ROADS));
const roadOf = (name: string | undefined): Road => ROADS[name ?? ""] ?? Road.UNSPECIFIED;

const roadName = (road: Road): string => Object.entries(ROADS).find(([, one]) => one === road)?.[0] ?? "-";

const MISSING = { what: "consumer of that name", next: "`tributary consumers ls` lists consumers and their roads." };

const MISSING_OVER_HTTP = {
  what: "consumer of that name over http",
  next: `${MISSING.next} --road nats removes one there.`,
};

const HEADINGS = ["NAME", "ROAD", "LAG", "OLDEST", "OUTSTANDING", "DEAD", "CONNECTED", "LAST SEEN", "TYPES"];
const row = (one: Consumer): readonly string[] => [
  one.name,
  roadName(one.road),
  String(one.lag),
  shown(one.oldestAt),
  String(one.outstanding),
  String(one.deadLetters),
  one.connected ? "yes" : "no",
  shown(one.lastSeenAt),
  one.types.length === 0 ? "all" : one.types.length > 2 ? `${one.types.length} types` : one.types.join(" "),
];

const list = (context: CommandContext): Command =>
  talking(new Command("ls"))
    .description("list consumers by name, with how far each is behind")
    .action(async (_options: object, command: Command) => {
      const hub = hubOf(context, command);
      const answer = await asking(hub, () => hub.consumers.listConsumers({}));
      const lines = table(HEADINGS, answer.consumers.map(row));
      const { consumers = [] } = jsonOf(ListConsumersResponseSchema, answer);
      report(context, command, { consumers }, answer.consumers.length === 0 ? ["Nobody reads events yet."] : lines);
    });

const lag = (context: CommandContext): Command =>
  talking(new Command("lag"))
    .description("show one consumer, with the connections in which it is furthest behind")
    .argument("<name>")
    .addOption(roadOption())
    .action(async (name: string, { road }: { readonly road?: string }, command: Command) => {
      const hub = hubOf(context, command);
      const answer = await asking(hub, () => hub.consumers.getConsumer({ name, road: roadOf(road) }), MISSING);
      const behind = answer.connections.map(({ connectionId, settled, head, held }) => [
        connectionId,
        String(settled),
        String(head),
        String(head - settled),
        held ? "behind a dead letter" : "",
      ]);
      report(context, command, jsonOf(GetConsumerResponseSchema, answer), [
        ...table(HEADINGS, answer.consumer === undefined ? [] : [row(answer.consumer)]),
        ...(behind.length === 0 ? [] : ["", ...table(["CONNECTION", "SETTLED", "HEAD", "LAG", "HELD"], behind)]),
      ]);
    });

interface CreateOptions {
  readonly road?: string;
  readonly type?: readonly string[];
  readonly start: string;
  readonly afterDeadLetter: string;
}

const POLICIES = { continue: AfterDeadLetter.CONTINUE, hold: AfterDeadLetter.HOLD } as const;
const policyOption = (): Option =>
  new Option("--after-dead-letter <policy>", "what happens to the rest of a connection behind a dead letter").choices(
    Object.keys(POLICIES),
  );
const policyOf = (name: string): AfterDeadLetter => (name === "hold" ? POLICIES.hold : POLICIES.continue);

const create = (context: CommandContext): Command =>
  talking(new Command("create"))
    .description("make a consumer before its subscriber first comes; asking again changes nothing")
    .argument("<name>", "1 to 64 of a-z, 0-9 and hyphen")
    .addOption(roadOption())
    .option("--type <name>", "only this type; may be given several times", eventType)
    .addOption(new Option("--start <where>", "where it begins").choices(["oldest", "now"]).default("oldest"))
    .addOption(policyOption().default("continue"))
    .addHelpText(
      "after",
      examples("tributary consumers create billing --type tributary.task.v1.TaskCompleted --after-dead-letter hold"),
    )
    .action(async (name: string, options: CreateOptions, command: Command) => {
      const hub = hubOf(context, command);
      const answer = await asking(hub, () =>
        hub.consumers.createConsumer({
          name,
          road: roadOf(options.road),
          types: [...(options.type ?? [])],
          start: options.start === "now" ? Start.NOW : Start.OLDEST,
          afterDeadLetter: policyOf(options.afterDeadLetter),
        }),
      ).catch((error: unknown) => {
        throw withNext(error, name);
      });
      const line = answer.created ? `The consumer ${name} was made.` : `The consumer ${name} was there already.`;
      report(context, command, jsonOf(CreateConsumerResponseSchema, answer), [line]);
    });

/** What can be done about it, where the hub does not know by which command. */
function withNext(error: unknown, name: string): unknown {
  if (!(error instanceof CommandFailure)) return error;
  const next = NEXT.find(([said]) => error.message.includes(said))?.[1](name);
  return next === undefined ? error : new CommandFailure(error.exitCode, `${error.message}; ${next}`);
}

const NEXT: readonly (readonly [string, (name: string) => string])[] = [
  ["this hub has no broker", () => "NATS_URL names one where the hub is started"],
  ["consumer_differs", (name) => `\`tributary consumers update ${name}\` changes it on purpose`],
];

interface UpdateOptions {
  readonly type?: readonly string[];
  readonly allTypes?: boolean;
  readonly afterDeadLetter?: string;
}

const update = (context: CommandContext): Command =>
  talking(new Command("update"))
    .description("change a consumer over HTTP on purpose; what is not given stays as it is")
    .argument("<name>")
    .option("--type <name>", "only this type from now on; may be given several times", eventType)
    .option("--all-types", "every type from now on")
    .addOption(policyOption())
    .addHelpText(
      "after",
      "\nA subscriber that asks for other types than its consumer has is refused: change\nboth.\n" +
        examples("tributary consumers update billing --after-dead-letter hold"),
    )
    .action(async (name: string, options: UpdateOptions, command: Command) => {
      const hub = hubOf(context, command);
      const { type, allTypes = false, afterDeadLetter } = options;
      if (type !== undefined && allTypes) throw new CommandFailure(EXIT.usage, "either --type or --all-types");
      if (type === undefined && !allTypes && afterDeadLetter === undefined)
        throw new CommandFailure(EXIT.usage, "nothing to change: --type, --all-types or --after-dead-letter");
      const answer = await asking(
        hub,
        async () => {
          const { consumer } = await hub.consumers.getConsumer({ name, road: Road.HTTP });
          const types = [...(allTypes ? [] : (type ?? consumer?.types ?? []))];
          const policy = afterDeadLetter === undefined ? AfterDeadLetter.UNSPECIFIED : policyOf(afterDeadLetter);
          return hub.consumers.updateConsumer({ name, types, afterDeadLetter: policy });
        },
        MISSING,
      );
      report(context, command, jsonOf(UpdateConsumerResponseSchema, answer), [`The consumer ${name} was changed.`]);
    });

const remove = (context: CommandContext): Command =>
  talking(new Command("rm"))
    .description("remove a consumer with its positions and dead letters; replays that were for it alone fail")
    .argument("<name>")
    .addOption(roadOption())
    .action(async (name: string, { road }: { readonly road?: string }, command: Command) => {
      const hub = hubOf(context, command);
      const missing = road === undefined ? MISSING_OVER_HTTP : MISSING;
      await asking(hub, () => hub.consumers.removeConsumer({ name, road: roadOf(road) }), missing);
      report(context, command, { removed: name }, [`The consumer ${name} was removed.`]);
    });
