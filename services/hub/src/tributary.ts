import { clientCommands } from "@tributary/cli";
import { connectors } from "@tributary/connectors";
import { runCommandLine } from "./commands/command-line.ts";
import { auditCommand } from "./commands/audit.ts";
import { eraseCommand } from "./commands/erase.ts";
import { adminLinkCommand } from "./commands/admin-link.ts";
import { keysCommand } from "./commands/keys.ts";
import { repairCommand } from "./commands/repair.ts";
import { natsCommand } from "./commands/nats.ts";
import { relayCommand } from "./commands/relay.ts";

/** Whoever reads may have had enough, as `| head -1` has. */
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

/** The operator's command. Each of `commands/<name>.ts` is one word of it. Exit codes: `EXIT` of command-line.ts. */
process.exitCode = await runCommandLine(
  process.argv.slice(2),
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
  {
    env: process.env,
    integrations: connectors.map(({ id }) => id),
    stdout: process.stdout,
    stderr: process.stderr,
    now: () => new Date(),
  },
);
