import { DeadLetterState, GetDeadLetterResponseSchema, ListDeadLettersResponseSchema } from "@tributary/contracts";
import { Command } from "commander";
import { asking } from "./asking.ts";
import { type CommandContext, CommandFailure, examples, EXIT, report } from "./command-line.ts";
import { oneEventType } from "./event-type.ts";
import { type Hub, hubOf, talking, UNHURRIED } from "./hub.ts";
import { jsonOf } from "./json-of.ts";
import { count, shown } from "./moment.ts";
import { LISTED_MAX, listed, onward } from "./pages.ts";
import { plainJson, table } from "./table.ts";

/** `tributary dlq ls | show | redrive | drop`: events that a consumer gave up on. */
export const deadLettersCommand = (context: CommandContext): Command =>
  new Command("dlq")
    .description("dead letters: events that a consumer gave up on")
    .addCommand(list(context))
    .addCommand(show(context))
    .addCommand(redrive(context))
    .addCommand(drop(context));

const MISSING = { what: "dead letter by that id", next: "`tributary dlq ls` lists dead letters." };
const MISSING_CONSUMER = { what: "consumer of that name", next: "`tributary consumers ls` lists consumers." };

interface Which {
  readonly consumer?: string;
  readonly type?: string;
}

interface ListOptions extends Which {
  readonly limit: number;
  readonly page?: string;
}

const STATES: Readonly<Record<number, string>> = {
  [DeadLetterState.DEAD]: "dead",
  [DeadLetterState.REDRIVING]: "on its way",
};
const HEADINGS = ["ID", "CONSUMER", "TYPE", "DIED", "TRIES", "REDRIVES", "STATE", "REASON"];

const list = (context: CommandContext): Command =>
  talking(new Command("ls"))
    .description("list dead letters, the newest first")
    .option("--consumer <name>", "only this consumer's")
    .option("--type <name>", "only this type", oneEventType)
    .option("--limit <n>", "at most so many", count(LISTED_MAX), 50)
    .option("--page <token>", "go on where a listing with the same options ended; it names the token")
    .action(async (options: ListOptions, command: Command) => {
      const hub = hubOf(context, command);
      const { consumer = "", type = "" } = options;
      const { found, nextPageToken } = await asking(hub, () =>
        listed(options, async (place) => {
          const page = await hub.deadLetters.listDeadLetters({ consumer, type, ...place });
          return { found: page.deadLetters, nextPageToken: page.nextPageToken };
        }),
      );
      const rows = found.map((one) => [
        one.id,
        one.consumer,
        one.type,
        shown(one.diedAt),
        one.attempts === 0 ? "-" : String(one.attempts),
        String(one.redrives),
        STATES[one.state] ?? "unknown",
        one.reason,
      ]);
      const all = {
        $typeName: "tributary.api.v1.ListDeadLettersResponse" as const,
        deadLetters: [...found],
        nextPageToken,
      };
      const json = { ...jsonOf(ListDeadLettersResponseSchema, all), more: nextPageToken !== "" };
      const nothing = consumer === "" && type === "" ? "There are no dead letters." : "There are no such dead letters.";
      report(
        context,
        command,
        json,
        rows.length === 0 ? [nothing] : [...table(HEADINGS, rows), ...onward(nextPageToken)],
      );
    });

const show = (context: CommandContext): Command =>
  talking(new Command("show"))
    .description("show one dead letter with its payload, as JSON")
    .argument("<id>", "as `tributary dlq ls` lists it")
    .option("--personal-data", "show fields that carry personal data")
    .action(async (id: string, options: { readonly personalData?: boolean }, command: Command) => {
      const hub = hubOf(context, command);
      const personalData = options.personalData ?? false;
      const answer = await asking(hub, () => hub.deadLetters.getDeadLetter({ id, personalData }), MISSING);
      const json = jsonOf(GetDeadLetterResponseSchema, answer);
      report(context, command, json, [plainJson(JSON.stringify(json, null, 2))]);
    });

/** @throws CommandFailure usage, unless it is one by its id, or a consumer's. */
function which(id: string | undefined, { consumer = "", type = "" }: Which) {
  if ((id === undefined) === (consumer === ""))
    throw new CommandFailure(EXIT.usage, "give the id of one dead letter, or --consumer for all of a consumer's");
  if (id !== undefined && type !== "") throw new CommandFailure(EXIT.usage, "--type goes with --consumer");
  return { id: id ?? "", consumer, type };
}

const redrive = (context: CommandContext): Command =>
  talking(new Command("redrive"))
    .description("deliver dead letters again, to the consumer that gave up: one by its id, or all of a consumer's")
    .argument("[id]", "of one dead letter, as `tributary dlq ls` lists it")
    .option("--consumer <name>", "all of this consumer's")
    .option("--type <name>", "with --consumer: only this type", oneEventType)
    .addHelpText(
      "after",
      "\nThe events keep their ids and are marked. One that is given up again is a dead letter\nagain.\n" +
        examples(
          "tributary dlq redrive --consumer billing",
          "tributary dlq redrive --consumer billing --type tributary.task.v1.TaskCompleted",
        ),
    )
    .action(async (id: string | undefined, options: Which, command: Command) => {
      const hub = hubOf(context, command);
      const wish = which(id, options);
      const redriven = await each(hub, wish, async () => {
        const answer = await hub.deadLetters.redriveDeadLetters(wish, { timeoutMs: UNHURRIED });
        return { count: answer.redriven, more: answer.more };
      });
      const look = `\`tributary dlq ls${wish.consumer === "" ? "" : ` --consumer ${wish.consumer}`}\` shows what is left.`;
      const line = redriven === 0 ? "There was nothing to redrive." : `${redriven} on the way again; ${look}`;
      report(context, command, { redriven }, [line]);
    });

const drop = (context: CommandContext): Command =>
  talking(new Command("drop"))
    .description("give dead letters up for good: one by its id, or all of a consumer's")
    .argument("[id]", "of one dead letter, as `tributary dlq ls` lists it")
    .requiredOption("--reason <text>", "why; it is logged, so no personal data")
    .option("--consumer <name>", "all of this consumer's")
    .option("--type <name>", "with --consumer: only this type", oneEventType)
    .addHelpText(
      "after",
      "\nIt cannot be undone. A connection that waited behind one goes on.\n" +
        examples('tributary dlq drop --consumer billing --reason "customer left, INC-4711"'),
    )
    .action(async (id: string | undefined, options: Which & { readonly reason: string }, command: Command) => {
      const hub = hubOf(context, command);
      const wish = { ...which(id, options), reason: options.reason };
      const dropped = await each(hub, wish, async () => {
        const answer = await hub.deadLetters.dropDeadLetters(wish, { timeoutMs: UNHURRIED });
        return { count: answer.dropped, more: answer.more };
      });
      report(context, command, { dropped }, [dropped === 0 ? "There was nothing to drop." : `${dropped} dropped.`]);
    });

/** One call moves so many at most: it is made until nothing moves. @returns how many there were. */
async function each(
  hub: Hub,
  { id }: { readonly id: string },
  move: () => Promise<{ readonly count: number; readonly more: boolean }>,
): Promise<number> {
  let moved = 0;
  for (let more = true; more;) {
    const answer = await asking(hub, move, id === "" ? MISSING_CONSUMER : MISSING);
    moved += answer.count;
    more = answer.more && id === "" && answer.count > 0;
  }
  return moved;
}
