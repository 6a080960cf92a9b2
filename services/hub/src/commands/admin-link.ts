import { Command } from "commander";
import { anotherAdminLink } from "../people.ts";
import { type CommandContext, report } from "./command-line.ts";
import { withData } from "./open-data.ts";

/** `tributary admin-link`: the way in for an administrator, when the first one was lost. */
export function adminLinkCommand(context: CommandContext): Command {
  return new Command("admin-link")
    .summary("print a link that lets an administrator in")
    .description(
      "print a link that signs whoever opens it first in as an administrator, within 24 hours; earlier ones end",
    )
    .action((_options: object, command: Command) =>
      withData(context, async ({ config, database }) => {
        const link = await anotherAdminLink(config, database);
        report(context, command, { link, organization: config.organizationId }, [link]);
      }),
    );
}
