import { connectors } from "@tributary/connectors";
import { keysCommand } from "./commands/keys.ts";
import { runCommandLine } from "./commands/command-line.ts";

/** The operator's command. Each of `commands/<name>.ts` is one word of it. Exit codes: `EXIT` of command-line.ts. */
process.exitCode = await runCommandLine(process.argv.slice(2), [keysCommand], {
  env: process.env,
  integrations: connectors.map(({ id }) => id),
  stdout: process.stdout,
  stderr: process.stderr,
  now: () => new Date(),
});
