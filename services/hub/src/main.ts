import { connectors } from "@tributary/connectors";
import { parseArgs } from "node:util";
import { type Config, ConfigError, forgetSecrets, readConfig } from "./config.ts";
import { runDemo } from "./demo/demo.ts";
import { type SampleSubscriber, startSampleSubscriber } from "./demo/sample-subscriber.ts";
import { type Hub, startHub } from "./hub.ts";
import { createProgress, type Progress } from "./progress.ts";

/**
 * The hub's command: starts it, and with simulated providers shows the whole road once.
 * Exit codes: 0 ok · 1 failed · 2 wrong usage · 3 the operator has to change something.
 */
const USAGE = `Usage: npm start -- [--once] [--json]
  --once   show the road from an account to a subscriber, then stop
  --json   end with one line of JSON; everything else goes to standard error
Settings come from the environment: see docs/SETTINGS.md.`;

const EXIT = { ok: 0, failed: 1, usage: 2, config: 3 } as const;
const STOP_MS_MAX = 10_000;

interface Flags {
  readonly once: boolean;
  readonly json: boolean;
}

function readFlags(argv: readonly string[]): Flags | "help" | undefined {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: { once: { type: "boolean" }, json: { type: "boolean" }, help: { type: "boolean", short: "h" } },
    });
    return values.help === true ? "help" : { once: values.once === true, json: values.json === true };
  } catch {
    return undefined;
  }
}

async function main(argv: readonly string[]): Promise<number> {
  const flags = readFlags(argv);
  if (flags === "help") {
    process.stdout.write(`${USAGE}\n`);
    return EXIT.ok;
  }
  if (flags === undefined) {
    process.stderr.write(`${USAGE}\n`);
    return EXIT.usage;
  }
  const progress = createProgress(flags.json ? process.stderr : process.stdout);
  try {
    const config = readConfig(
      process.env,
      connectors.map(({ id }) => id),
    );
    forgetSecrets(process.env);
    return await run(config, flags, progress);
  } catch (error) {
    progress.fail();
    if (error instanceof ConfigError) {
      process.stderr.write(`tributary: ${error.message}\n`);
      return EXIT.config;
    }
    // A bug or a broken machine: name, message and place; never the objects that an error may carry.
    process.stderr.write(`tributary: ${error instanceof Error ? (error.stack ?? error.message) : "failed"}\n`);
    return EXIT.failed;
  }
}

async function run(config: Config, flags: Flags, progress: Progress): Promise<number> {
  const asked = Promise.withResolvers<"stop">();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => asked.resolve("stop"));
  const hub = await startHub(config, progress.step);
  progress.done(`Tributary is running at ${hub.origin}`);
  if (hub.adminLink !== undefined)
    progress.note(`The first administrator signs in here, within 24 hours (shown once): ${hub.adminLink}`);
  let subscriber: SampleSubscriber | undefined;
  try {
    if (hub.sandbox !== undefined) subscriber = await startSampleSubscriber(hub, config);
    const shown =
      subscriber === undefined ? undefined : await Promise.race([runDemo(hub, subscriber, progress), asked.promise]);
    if (flags.json && shown !== undefined && shown !== "stop") process.stdout.write(`${JSON.stringify(shown)}\n`);
    if (!flags.once && shown !== "stop") {
      progress.note(whereTo(hub));
      subscriber?.follow(progress.note);
      await asked.promise;
    }
    progress.note("Stopping …");
  } finally {
    const force = setTimeout(() => process.exit(EXIT.failed), STOP_MS_MAX);
    await subscriber?.stop();
    await hub.stop();
    // What is not closed by then keeps the process no longer.
    force.unref();
  }
  return EXIT.ok;
}

const whereTo = ({ origin, sandbox }: Hub): string =>
  [
    "",
    `  Connected accounts   ${origin}/connections`,
    ...(sandbox?.places ?? []).map(({ name, url }) => `  ${name.padEnd(20)} ${url}`),
    "",
    sandbox === undefined ? "Ctrl-C stops." : "Change a task there and watch it arrive here. Ctrl-C stops.",
  ].join("\n");

process.exitCode = await main(process.argv.slice(2));
