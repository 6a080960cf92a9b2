import { Command, CommanderError } from "commander";
import { plainJson } from "./table.ts";

/** What every command ends with, so that a script can tell what to do about it. */
export const EXIT = { ok: 0, failed: 1, usage: 2, config: 3, unreachable: 4, notAllowed: 5, contract: 6 } as const;

const EXIT_HELP = `Exit codes:
  0  done
  1  failed
  2  usage: the command line is wrong
  3  config: a setting or the key is missing or wrong
  4  unreachable: the hub or what it needs does not answer
  5  not allowed: the key is wrong, or may not do this
  6  contract: there is no such type or method`;

/** What a command is given: everything outside itself. */
export interface CommandContext {
  readonly env: Record<string, string | undefined>;
  readonly stdout: TextSink;
  /** Progress and complaints: standard output holds the result alone. */
  readonly stderr: TextSink;
  readonly now: () => Date;
}

interface TextSink {
  write(text: string): unknown;
}

/** A word of the command line, with its subcommands. */
export type MakeCommand<Context extends CommandContext = CommandContext> = (context: Context) => Command;

/** An end that is no bug: one line for the operator, and the exit code that says whose turn it is. */
export class CommandFailure extends Error {
  readonly exitCode: number;
  constructor(exitCode: number, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
  override get name(): string {
    return "CommandFailure";
  }
}

/** The command has reported what it found, and that is a failure: exit code 1, and nothing more is said. */
export class ReportedFailure extends Error {
  override get name(): string {
    return "ReportedFailure";
  }
}

/** What a program says of errors of its own kinds; undefined for those that it does not know. */
export type Explain = (error: unknown) => CommandFailure | undefined;

/**
 * Runs one command to its end. With `--json` standard output is one line of JSON (of a command that goes on, one for
 * each event), also when it fails: then `error` says which exit code it was, and `message` why. `--help` is text always.
 * @returns the exit code; never throws.
 */
export async function runCommandLine<Context extends CommandContext>(
  argv: readonly string[],
  commands: readonly MakeCommand<Context>[],
  context: Context,
  explain: Explain = () => undefined,
): Promise<number> {
  const program = new Command("tributary")
    .description("Operates this installation. Settings come from the environment: see docs/SETTINGS.md.")
    .usage("<command> [options]")
    .option("--json", "print the result, or the failure, as one line of JSON; help stays text")
    .addHelpText("after", `\n${EXIT_HELP}`);
  for (const make of commands) program.addCommand(make(context));
  // Not the parsed option: a command line that cannot be parsed has to be answered as well.
  const json = argv.includes("--json");
  listenTo(program, context, json);
  try {
    await program.parseAsync([...argv], { from: "user" });
    return EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
    if (error instanceof ReportedFailure) return EXIT.failed;
    const { exitCode, message } = failureOf(error, explain);
    const name = Object.entries(EXIT).find(([, code]) => code === exitCode)?.[0] ?? "failed";
    if (json) context.stdout.write(`${JSON.stringify({ error: name, message })}\n`);
    else if (!(error instanceof CommanderError)) context.stderr.write(`tributary: ${message}\n`);
    return exitCode;
  }
}

/** Text to stand behind a command's help: how it is typed. */
export const examples = (...lines: readonly string[]): string =>
  ["", "Examples:", ...lines.map((line) => `  ${line}`)].join("\n");

/** Prints a command's result: `lines` for people, `json` for programs. */
export function report(context: CommandContext, command: Command, json: object, lines: readonly string[]): void {
  const text = command.optsWithGlobals()["json"] === true ? plainJson(JSON.stringify(json)) : lines.join("\n");
  context.stdout.write(`${text}\n`);
}

/** No command ends the process by itself, nor writes past the context; each says in its help what all of them take. */
function listenTo(command: Command, context: CommandContext, json: boolean, above = ""): void {
  const name = `${above}${command.name()}`;
  command
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => void context.stdout.write(text),
      writeErr: (text) => void context.stderr.write(text),
      // With --json the failure is on standard output.
      outputError: (text, write) => {
        const words = wordsOf(text);
        // Some name a command of their own already.
        const next = words.includes("`") ? "" : `; \`${name} --help\` says what can be given`;
        if (!json) write(`tributary: ${words}${next}\n`);
      },
    });
  for (const child of command.commands) listenTo(child, context, json, `${name} `);
}

/** What commander says, without its mark, on one line. */
const wordsOf = (text: string): string =>
  text
    .replace(/^error: /, "")
    .trim()
    .replaceAll(/\.?\n/g, " ")
    .replace(/\.$/, "");

function failureOf(error: unknown, explain: Explain): { readonly exitCode: number; readonly message: string } {
  if (error instanceof CommanderError && error.code === "commander.help")
    return { exitCode: EXIT.usage, message: "name a command; --help lists them" };
  if (error instanceof CommanderError) return { exitCode: EXIT.usage, message: wordsOf(error.message) };
  if (error instanceof CommandFailure) return error;
  const explained = explain(error);
  if (explained !== undefined) return explained;
  // A bug or a broken machine: name and place; the message of a library may quote what it was given.
  const place = error instanceof Error ? (error.stack ?? "").split("\n").slice(1, 4).join("\n") : "";
  return { exitCode: EXIT.failed, message: `${error instanceof Error ? error.name : "failed"}\n${place}` };
}
