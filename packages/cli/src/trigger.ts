import { Command } from "commander";
import { type CommandContext, CommandFailure, EXIT, report } from "./command-line.ts";
import { hubOf, talking } from "./hub.ts";

/** `tributary trigger <type>`: has a simulated provider do what makes such an event, and the hub read it. */
export const triggerCommand = (context: CommandContext): Command =>
  talking(new Command("trigger"))
    .description("have a simulated provider do something that makes an event of a type")
    .argument("[type]", "full protobuf name; without it, those that can be triggered are listed")
    .action(async (type: string | undefined, _options: object, command: Command) => {
      const hub = hubOf(context, command);
      const url = new URL("/api/sandbox/triggers", hub.origin);
      const headers = { authorization: `Bearer ${hub.token}`, "content-type": "application/json" };
      const request = type === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify({ type }) };
      const answer = await fetch(url, request).catch(() => {
        throw new CommandFailure(EXIT.unreachable, `no hub answers at ${hub.origin}`);
      });
      const said = (await answer.json().catch(() => ({}))) as Triggers & Record<string, string>;
      if (!answer.ok) {
        const next = said["error"] === "unknown_action" ? " `tributary trigger` lists those that can be." : "";
        throw new CommandFailure(EXIT_OF[answer.status] ?? EXIT.failed, `${said["message"] ?? "refused"}${next}`);
      }
      if (type === undefined) report(context, command, { types: said.types }, said.types);
      else report(context, command, { type, did: said.did }, [said.did]);
    });

interface Triggers {
  readonly types: readonly string[];
  readonly did: string;
}

const EXIT_OF: Readonly<Record<number, number>> = {
  401: EXIT.notAllowed,
  403: EXIT.notAllowed,
  422: EXIT.contract,
  503: EXIT.unreachable,
};
