import { clientCommands, runCommandLine } from "@tributary/cli";

/** Whoever reads may have had enough, as `| head -1` has. */
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

const context = { env: process.env, stdout: process.stdout, stderr: process.stderr, now: () => new Date() };
const argv = process.argv.slice(2);
const word = argv.find((one) => !one.startsWith("-"));

/**
 * The operator's command. Exit codes: `EXIT` of command-line.ts. What talks to a hub needs nothing of one: the vault and
 * the connectors are read from disk only for the words that are the hub's own, which would make each of them wait.
 */
process.exitCode = clientCommands.some((make) => make(context).name() === word)
  ? await runCommandLine(argv, clientCommands, context)
  : await (await import("./commands/run-any.ts")).runAny(argv, context);
