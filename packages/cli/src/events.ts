import type { JsonValue } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { CatalogueResponseSchema, GetResponseSchema, ListResponseSchema, type StoredEvent } from "@tributary/contracts";
import { Command } from "commander";
import { type CommandContext, CommandFailure, EXIT, report } from "./command-line.ts";
import { eventType } from "./event-type.ts";
import { asking, hubOf, talking } from "./hub.ts";
import { jsonOf } from "./json-of.ts";
import { ago, count, inOrder, shown } from "./moment.ts";
import { replayCommand } from "./replay.ts";
import { table } from "./table.ts";

/** `tributary events ls | get | schema | replay`: what the ledger holds, and what it can hold. */
export const eventsCommand = (context: CommandContext): Command =>
  new Command("events")
    .description("what has happened, and what can")
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

const MISSING = { next: "`tributary events ls` lists events." };
const MISSING_TYPE = {
  next: "`tributary events schema` lists the types.",
  exit: EXIT.contract,
};

/** The hub's pages hold so many at most. */
const PAGE_MAX = 200;

const list = (context: CommandContext): Command =>
  talking(new Command("ls"))
    .description("events, the newest first")
    .option("--type <name>", "only this type, by its full protobuf name; may be given several times", eventType)
    .option("--connection <id>", "only this connection")
    .option("--from <time>", "committed at or after: 30m, 12h, 7d, or ISO 8601", ago(context))
    .option("--until <time>", "committed before", ago(context))
    .option("--limit <n>", "at most so many", count(100_000), 50)
    .option("--page <token>", "go on where a listing with the same options ended; it names the token")
    .option("--personal-data", "show fields that carry personal data")
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
      const events: StoredEvent[] = [];
      let pageToken = options.page ?? "";
      await asking(hub, async () => {
        for (;;) {
          const pageSize = Math.min(PAGE_MAX, options.limit - events.length);
          const page = await hub.events.list({ ...wish, pageSize, pageToken });
          events.push(...page.events);
          pageToken = page.nextPageToken;
          if (pageToken === "" || events.length >= options.limit) return;
        }
      });
      const rows = events.map(({ committedAt, type, objectKey, connectionId, sequence, id }) => [
        shown(committedAt),
        type,
        objectKey,
        connectionId,
        String(sequence),
        id,
      ]);
      const lines = table(["COMMITTED", "TYPE", "OBJECT", "CONNECTION", "SEQUENCE", "ID"], rows);
      const more = pageToken !== "";
      const onward = more ? [`There are more: --page ${pageToken}, or a greater --limit.`] : [];
      const json = jsonOf(ListResponseSchema, {
        $typeName: "tributary.api.v1.ListResponse",
        events,
        nextPageToken: pageToken,
      });
      report(
        context,
        command,
        { ...json, more },
        events.length === 0 ? ["There are no events."] : [...lines, ...onward],
      );
    });

const get = (context: CommandContext): Command =>
  talking(new Command("get"))
    .description("one event with its payload")
    .argument("<id>")
    .option("--personal-data", "show fields that carry personal data")
    .action(async (id: string, options: { readonly personalData?: boolean }, command: Command) => {
      const hub = hubOf(context, command);
      const personalData = options.personalData ?? false;
      const answer = await asking(hub, () => hub.events.get({ id, personalData }), MISSING);
      const { event = null } = jsonOf(GetResponseSchema, answer);
      report(context, command, event as object, [JSON.stringify(event, null, 2)]);
    });

const schema = (context: CommandContext): Command =>
  talking(new Command("schema"))
    .description("the types of events, or one with its fields and an example")
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
