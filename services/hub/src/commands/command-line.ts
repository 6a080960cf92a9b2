import {
  type CommandContext as AnyContext,
  CommandFailure,
  EXIT,
  type MakeCommand as Make,
  runCommandLine as run,
} from "@tributary/cli";
import { IntegrationError } from "@tributary/integrations";
import { VaultError } from "@tributary/vault";
import { ConfigError } from "../config.ts";

export { CommandFailure, EXIT, report, ReportedFailure } from "@tributary/cli";

/** What the hub's own commands are given besides. */
export interface CommandContext extends AnyContext {
  /** Ids of the connectors, whose OAuth clients the settings may name. */
  readonly integrations: readonly string[];
}

export type MakeCommand = Make<CommandContext>;

/** The command line with what only the hub can say of its own failures. */
export const runCommandLine = (
  argv: readonly string[],
  commands: readonly MakeCommand[],
  context: CommandContext,
): Promise<number> => run(argv, commands, context, explain);

function explain(error: unknown): CommandFailure | undefined {
  if (error instanceof ConfigError) return new CommandFailure(EXIT.config, error.message);
  if (error instanceof IntegrationError)
    return new CommandFailure(error.code === "temporarily_unavailable" ? EXIT.unreachable : EXIT.failed, error.message);
  if (!(error instanceof VaultError)) return undefined;
  return new CommandFailure(/^(key|erasure_ledger)_/.test(error.code) ? EXIT.config : EXIT.failed, error.message);
}
