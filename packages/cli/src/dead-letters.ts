import { GetDeadLetterResponseSchema, ListDeadLettersResponseSchema } from "@tributary/contracts";
import { Command } from "commander";
import { type CommandContext, CommandFailure, EXIT, report } from "./command-line.ts";
import { oneEventType } from "./event-type.ts";
import { asking, hubOf, talking } from "./hub.ts";
import { jsonOf } from "./json-of.ts";
import { count, shown } from "./moment.ts";
import { table } from "./table.ts";

/** `tributary dlq ls | show | redrive | drop`: events that a consumer gave up on. */
export const deadLettersCommand = (context: CommandContext): Command =>
  new Command("dlq")
    .description("events that a consumer gave up on")
    .addCommand(list(context))
    .addCommand(show(context))
    .addCommand(redrive(context))
    .addCommand(drop(context));

const MISSING = { next: "`tributary dlq ls` lists dead letters, `tributary consumers ls` consumers." };

interface Which {
  readonly consumer?: string;
  readonly type?: string;
}

const list = (context: CommandContext): Command =>
  talking(new Command("ls"))
    .description("dead letters, the newest first")
    .option("--consumer <name>", "only this consumer's")
    .option("--type <name>", "only this type", oneEventType)
    .option("--limit <n>", "at most so many", count(200), 50)
    .action(async ({ consumer = "", type = "", limit }: Which & { readonly limit: number }, command: Command) => {
      const hub = hubOf(context, command);
      const answer = await asking(hub, () => hub.deadLetters.listDeadLetters({ consumer, type, pageSize: limit }));
      const { deadLetters = [] } = jsonOf(ListDeadLettersResponseSchema, answer);
      const rows = answer.deadLetters.map((one) => [
        one.id,
        one.consumer,
        one.type,
        shown(one.diedAt),
        String(one.attempts),
        one.reason,
      ]);
      const more = answer.nextPageToken === "" ? [] : ["There are more: --limit, --consumer or --type."];
      const lines = [...table(["ID", "CONSUMER", "TYPE", "DIED", "ATTEMPTS", "REASON"], rows), ...more];
      const json = { deadLetters, more: answer.nextPageToken !== "" };
      report(context, command, json, rows.length === 0 ? ["There are no dead letters."] : lines);
    });

const show = (context: CommandContext): Command =>
  talking(new Command("show"))
    .description("one with its payload")
    .argument("<id>")
    .option("--personal-data", "show fields that carry personal data")
    .action(async (id: string, options: { readonly personalData?: boolean }, command: Command) => {
      const hub = hubOf(context, command);
      const personalData = options.personalData ?? false;
      const answer = await asking(hub, () => hub.deadLetters.getDeadLetter({ id, personalData }), MISSING);
      const json = jsonOf(GetDeadLetterResponseSchema, answer);
      report(context, command, json, [JSON.stringify(json, null, 2)]);
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
    .description("deliver again to the consumer that gave up, with the same id, marked")
    .argument("[id]")
    .option("--consumer <name>", "all of this consumer's")
    .option("--type <name>", "with --consumer: only this type", oneEventType)
    .action(async (id: string | undefined, options: Which, command: Command) => {
      const hub = hubOf(context, command);
      const wish = which(id, options);
      let redriven = 0;
      await asking(
        hub,
        async () => {
          for (let more = true; more;) {
            const answer = await hub.deadLetters.redriveDeadLetters(wish);
            redriven += answer.redriven;
            // One by its id is all there is; a page that moved nothing would never end.
            more = answer.more && id === undefined && answer.redriven > 0;
          }
        },
        MISSING,
      );
      report(context, command, { redriven }, [`${redriven} on the way again.`]);
    });

const drop = (context: CommandContext): Command =>
  talking(new Command("drop"))
    .description("give up for good; a connection that waited behind one goes on")
    .argument("[id]")
    .requiredOption("--reason <text>", "why; it is logged, so no personal data")
    .option("--consumer <name>", "all of this consumer's")
    .option("--type <name>", "with --consumer: only this type", oneEventType)
    .action(async (id: string | undefined, options: Which & { readonly reason: string }, command: Command) => {
      const hub = hubOf(context, command);
      const wish = { ...which(id, options), reason: options.reason };
      let dropped = 0;
      await asking(
        hub,
        async () => {
          for (let more = true; more;) {
            const answer = await hub.deadLetters.dropDeadLetters(wish);
            dropped += answer.dropped;
            more = answer.more && id === undefined && answer.dropped > 0;
          }
        },
        MISSING,
      );
      report(context, command, { dropped }, [`${dropped} dropped.`]);
    });
