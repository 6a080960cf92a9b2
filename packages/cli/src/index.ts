export {
  type CommandContext,
  CommandFailure,
  EXIT,
  type Explain,
  type MakeCommand,
  report,
  ReportedFailure,
  runCommandLine,
} from "./command-line.ts";
export { clientCommands } from "./client-commands.ts";
