import type { JsonValue } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { CatalogueResponseSchema, GetResponseSchema, ListResponseSchema } from "@tributary/contracts";
import { Command } from "commander";
import { asking } from "./asking.ts";
import { type CommandContext, CommandFailure, examples, EXIT, report } from "./command-line.ts";
import { eventType } from "./event-type.ts";
import { hubOf, talking } from "./hub.ts";
import { jsonOf } from "./json-of.ts";
import { ago, count, inOrder, shown } from "./moment.ts";
import { LISTED_MAX, listed, onward } from "./pages.ts";
import { replayCommand } from "./replay.ts";
import { plainJson, table } from "./table.ts";

/** `tributary events ls | get | schema | replay`: what the ledger holds, and what it can hold. */
export const eventsCommand = (context: CommandContext): Command =>
  new Command("events")
    .description("what has happened, what can happen, and having it again")
    .addCommand(list(context))
    .addCommand(get(context))
    .addCommand(schema(context))
    .addCommand(replayCommand(context));

interface ListOptions {
  readonly type?: readonly string[];
  readonly connection?: string;
  readonly from?: Timestamp;
  readonly until?: Timestamp;
  readonly limit: number;
  readonly page?: string;
  readonly personalData?: boolean;
}

const MISSING = { what: "event by that id", next: "`tributary events ls` lists events." };
const MISSING_TYPE = {
  what: "event type of that name",
  next: "`tributary events schema` lists the types.",
  exit: EXIT.contract,
};

const list = (context: CommandContext): Command =>
  talking(new Command("ls"))
    .description("list events, the newest first")
    .option("--type <name>", "only this type, by its full protobuf name; may be given several times", eventType)
    .option("--connection <id>", "only this connection")
    .option("--from <time>", "committed at or after: 30m, 12h, 7d, or ISO 8601", ago(context))
    .option("--until <time>", "committed before", ago(context))
    .option("--limit <n>", "at most so many", count(LISTED_MAX), 50)
    .option("--page <token>", "go on where a listing with the same options ended; it names the token")
    .option("--personal-data", "show fields that carry personal data")
    .addHelpText(
      "after",
      examples(
        "tributary events ls --from 1h --type tributary.task.v1.TaskCompleted",
        "tributary events ls --limit 1000 --json",
      ),
    )
    .action(async (options: ListOptions, command: Command) => {
      const hub = hubOf(context, command);
      const { from, until } = options;
      inOrder(from, until);
      const wish = {
        ...(from === undefined ? {} : { from }),
        ...(until === undefined ? {} : { until }),
        types: [...(options.type ?? [])],
        connectionId: options.connection ?? "",
        personalData: options.personalData ?? false,
      };
      const { found: events, nextPageToken } = await asking(hub, () =>
        listed(options, async (place) => {
          const page = await hub.events.list({ ...wish, ...place });
          return { found: page.events, nextPageToken: page.nextPageToken };
        }),
      );
      const rows = events.map(({ committedAt, type, objectKey, connectionId, sequence, id }) => [
        shown(committedAt),
        type,
        objectKey,
        connectionId,
        String(sequence),
        id,
      ]);
      const all = { $typeName: "tributary.api.v1.ListResponse" as const, events: [...events], nextPageToken };
      const json = { ...jsonOf(ListResponseSchema, all), more: nextPageToken !== "" };
      const lines = table(["COMMITTED", "TYPE", "OBJECT", "CONNECTION", "SEQUENCE", "ID"], rows);
      const filtered = [from, until, options.type, options.connection].some((one) => one !== undefined);
      const nothing = filtered ? "There are no such events." : "There are no events yet.";
      report(context, command, json, rows.length === 0 ? [nothing] : [...lines, ...onward(nextPageToken)]);
    });

const get = (context: CommandContext): Command =>
  talking(new Command("get"))
    .description("show one event with its payload, as JSON")
    .argument("<id>")
    .option("--personal-data", "show fields that carry personal data")
    .action(async (id: string, options: { readonly personalData?: boolean }, command: Command) => {
      const hub = hubOf(context, command);
      const personalData = options.personalData ?? false;
      const answer = await asking(hub, () => hub.events.get({ id, personalData }), MISSING);
      const { event = null } = jsonOf(GetResponseSchema, answer);
      report(context, command, event as object, [plainJson(JSON.stringify(event, null, 2))]);
    });

const schema = (context: CommandContext): Command =>
  talking(new Command("schema"))
    .description("list the types of events, or show one with its fields and an example")
    .argument("[type]", "full protobuf name")
    .action(async (type: string | undefined, _options: object, command: Command) => {
      const hub = hubOf(context, command);
      const answer = await asking(hub, () => hub.events.catalogue({ type: type ?? "" }), MISSING_TYPE);
      const { types = [] } = jsonOf(CatalogueResponseSchema, answer) as { types?: JsonValue[] };
      if (type === undefined) {
        const rows = answer.types.map((one) => [one.type, one.meaning]);
        report(context, command, { types }, table(["TYPE", "MEANING"], rows));
        return;
      }
      const [one] = answer.types;
      if (one === undefined) throw new CommandFailure(EXIT.contract, MISSING_TYPE.next);
      const fields = one.fields.map(({ path, type: kind, meaning, personalData }) => [
        path,
        kind,
        personalData ? "personal" : "",
        meaning,
      ]);
      report(context, command, types[0] as object, [
        one.type,
        one.meaning,
        `Subject: ${one.subject}`,
        "",
        ...table(["FIELD", "TYPE", "", "MEANING"], fields),
        "",
        "Example:",
        JSON.stringify((types[0] as { example?: JsonValue }).example ?? {}, null, 2),
      ]);
    });
