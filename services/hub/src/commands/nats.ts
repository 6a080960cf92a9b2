import { natsConfig, type NatsOrganization, passwordVariable } from "@tributary/pipeline";
import { Command } from "commander";
import { type CommandContext, CommandFailure, EXIT, report } from "./command-line.ts";

/** `tributary nats`: what nats-server has to be told. */
export function natsCommand(context: CommandContext): Command {
  const nats = new Command("nats").description("what nats-server has to be told");
  nats
    .command("permissions")
    .description(
      "prints the authorization block of nats-server's configuration: the hub's user, and for each organisation one " +
        "that hears its own events through its own consumers and can do nothing else",
    )
    .argument("<organisation:consumer...>", "each consumer that an organisation's services subscribe as")
    .option("--nkey <organisation=nkey...>", "sign in by this public nkey instead of a password")
    .action((consumers: string[], options: { nkey?: string[] }, command: Command) => {
      const organizations = parse(consumers, options.nkey ?? []);
      const config = made(organizations);
      const variables = [
        "TRIBUTARY_NATS_PASSWORD",
        ...organizations.filter(({ nkey }) => nkey === undefined).map((one) => passwordVariable(one.organizationId)),
      ];
      context.stderr.write(`nats-server takes these from its environment: ${variables.join(", ")}\n`);
      report(context, command, { config, variables }, [config.trimEnd()]);
    });
  return nats;
}

function parse(consumers: readonly string[], nkeys: readonly string[]): NatsOrganization[] {
  const keys = new Map(nkeys.map((text) => pair(text, "=")));
  const names = new Map<string, string[]>();
  for (const text of consumers) {
    const [organizationId, name] = pair(text, ":");
    names.set(organizationId, [...(names.get(organizationId) ?? []), name]);
  }
  return [...names].map(([organizationId, of]) => {
    const nkey = keys.get(organizationId);
    return { organizationId, consumers: of, ...(nkey === undefined ? {} : { nkey }) };
  });
}

function pair(text: string, separator: string): readonly [string, string] {
  const [left = "", right = "", ...rest] = text.split(separator);
  if (left === "" || right === "" || rest.length > 0)
    throw new CommandFailure(EXIT.usage, `each is <organisation>${separator}<…>`);
  return [left, right];
}

function made(organizations: readonly NatsOrganization[]): string {
  try {
    return natsConfig(organizations);
  } catch (error) {
    if (error instanceof TypeError) throw new CommandFailure(EXIT.usage, error.message);
    throw error;
  }
}
