import { Command } from "commander";
import { fetchFrom } from "./asking.ts";
import { type CommandContext, CommandFailure, examples, EXIT, report } from "./command-line.ts";
import { hubOf, talking } from "./hub.ts";

const NONE = "this hub has no simulated providers; TRIBUTARY_SANDBOX=true starts one that has";

/** `tributary trigger <type>`: has a simulated provider do what makes such an event, and the hub read it. */
export const triggerCommand = (context: CommandContext): Command =>
  talking(new Command("trigger"))
    .description("have a simulated provider do something that makes an event of a type")
    .argument("[type]", "full protobuf name; without it, those that can be triggered are listed")
    .addHelpText("after", examples("tributary trigger", "tributary trigger tributary.task.v1.TaskCompleted"))
    .action(async (type: string | undefined, _options: object, command: Command) => {
      const hub = hubOf(context, command);
      const headers = { "content-type": "application/json" };
      const request = type === undefined ? {} : { method: "POST", headers, body: JSON.stringify({ type }) };
      const answer = await fetchFrom(hub, "/api/sandbox/triggers", request, NONE).catch((error: unknown) => {
        throw error instanceof CommandFailure && error.message.startsWith("unknown_action")
          ? new CommandFailure(EXIT.contract, `${error.message} \`tributary trigger\` lists those that can be.`)
          : error;
      });
      const said = (await answer.json()) as Triggers;
      if (type === undefined) report(context, command, { types: said.types }, said.types);
      else report(context, command, { type, did: said.did }, [said.did]);
    });

interface Triggers {
  readonly types: readonly string[];
  readonly did: string;
}
