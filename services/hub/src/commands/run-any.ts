import { clientCommands, type CommandContext as AnyContext } from "@tributary/cli";
import { connectors } from "@tributary/connectors";
import { adminLinkCommand } from "./admin-link.ts";
import { auditCommand } from "./audit.ts";
import { runCommandLine } from "./command-line.ts";
import { eraseCommand } from "./erase.ts";
import { keysCommand } from "./keys.ts";
import { natsCommand } from "./nats.ts";
import { relayCommand } from "./relay.ts";
import { repairCommand } from "./repair.ts";

/** Every word of the operator's command; each of `<name>.ts` here is one. */
export const runAny = (argv: readonly string[], context: AnyContext): Promise<number> =>
  runCommandLine(
    argv,
    [
      ...clientCommands,
      keysCommand,
      eraseCommand,
      adminLinkCommand,
      auditCommand,
      repairCommand,
      relayCommand,
      natsCommand,
    ],
    { ...context, integrations: connectors.map(({ id }) => id) },
  );
