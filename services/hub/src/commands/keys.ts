import { Command } from "commander";
import { type CommandContext, report } from "./command-line.ts";
import { withData } from "./open-data.ts";

/** `tributary keys`: the vault's keys. */
export function keysCommand(context: CommandContext): Command {
  const keys = new Command("keys").description("the vault's keys");
  keys
    .command("status")
    .description("which keys there are, and what each of them wraps")
    .action(async (_options: object, command: Command) => {
      await withData(context, async ({ database }) => {
        report(context, command, { engine: database.engine }, [database.engine]);
      });
    });
  return keys;
}
