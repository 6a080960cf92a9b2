import {
  AfterDeadLetter,
  type Consumer,
  CreateConsumerResponseSchema,
  GetConsumerResponseSchema,
  ListConsumersResponseSchema,
  Road,
  Start,
} from "@tributary/contracts";
import { Command, Option } from "commander";
import { type CommandContext, CommandFailure, report } from "./command-line.ts";
import { eventType } from "./event-type.ts";
import { asking, hubOf, talking } from "./hub.ts";
import { jsonOf } from "./json-of.ts";
import { shown } from "./moment.ts";
import { table } from "./table.ts";

/** `tributary consumers ls | lag | create | rm`: who reads, and how far each has come. */
export const consumersCommand = (context: CommandContext): Command =>
  new Command("consumers")
    .description("who reads events, and how far each has come")
    .addCommand(list(context))
    .addCommand(lag(context))
    .addCommand(create(context))
    .addCommand(remove(context));

const ROADS: Readonly<Record<string, Road>> = { http: Road.HTTP, nats: Road.NATS };
const roadOption = (): Option => new Option("--road <road>", "the way it reads by").choices(Object.keys(ROADS));
const roadOf = (name: string | undefined): Road => ROADS[name ?? ""] ?? Road.UNSPECIFIED;

const roadName = (road: Road): string => Object.entries(ROADS).find(([, one]) => one === road)?.[0] ?? "-";

const MISSING = { next: "`tributary consumers ls` lists consumers and their roads." };

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
    .description("all of them, by name")
    .action(async (_options: object, command: Command) => {
      const hub = hubOf(context, command);
      const answer = await asking(hub, () => hub.consumers.listConsumers({}));
      const lines = table(HEADINGS, answer.consumers.map(row));
      const { consumers = [] } = jsonOf(ListConsumersResponseSchema, answer);
      report(context, command, { consumers }, answer.consumers.length === 0 ? ["Nobody reads events yet."] : lines);
    });

const lag = (context: CommandContext): Command =>
  talking(new Command("lag"))
    .description("one of them, with the connections in which it is furthest behind")
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

/** The end of what a hub without a broker says. */
const NO_BROKER = "this hub has no broker";

interface CreateOptions {
  readonly road?: string;
  readonly type?: readonly string[];
  readonly start: string;
  readonly afterDeadLetter: string;
}

const create = (context: CommandContext): Command =>
  talking(new Command("create"))
    .description("make one before its subscriber first comes; asking again changes nothing")
    .argument("<name>")
    .addOption(roadOption())
    .option("--type <name>", "only this type; may be given several times", eventType)
    .addOption(new Option("--start <where>", "where it begins").choices(["oldest", "now"]).default("oldest"))
    .addOption(
      new Option("--after-dead-letter <policy>", "what happens to the rest of a connection behind a dead letter")
        .choices(["continue", "hold"])
        .default("continue"),
    )
    .action(async (name: string, options: CreateOptions, command: Command) => {
      const hub = hubOf(context, command);
      const answer = await asking(hub, () =>
        hub.consumers.createConsumer({
          name,
          road: roadOf(options.road),
          types: [...(options.type ?? [])],
          start: options.start === "now" ? Start.NOW : Start.OLDEST,
          afterDeadLetter: options.afterDeadLetter === "hold" ? AfterDeadLetter.HOLD : AfterDeadLetter.CONTINUE,
        }),
      ).catch((error: unknown) => {
        throw options.road === "nats" && error instanceof CommandFailure && error.message.endsWith(NO_BROKER)
          ? new CommandFailure(error.exitCode, `${error.message}; NATS_URL names one where the hub is started`)
          : error;
      });
      const line = answer.created ? `The consumer ${name} was made.` : `The consumer ${name} was there already.`;
      report(context, command, jsonOf(CreateConsumerResponseSchema, answer), [line]);
    });

const remove = (context: CommandContext): Command =>
  talking(new Command("rm"))
    .description("remove one with its positions and dead letters")
    .argument("<name>")
    .addOption(roadOption())
    .action(async (name: string, { road }: { readonly road?: string }, command: Command) => {
      const hub = hubOf(context, command);
      await asking(hub, () => hub.consumers.removeConsumer({ name, road: roadOf(road) }), MISSING);
      report(context, command, { removed: name }, [`The consumer ${name} was removed.`]);
    });
