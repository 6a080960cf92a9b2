import { connectors } from "@tributary/connectors";
import { erasePeople, membershipsOf } from "@tributary/auth";
import type { Database } from "@tributary/db";
import {
  createRegistry,
  erase,
  type EraseReport,
  type EraseTarget,
  organizationsOf,
  type Runtime,
} from "@tributary/integrations";
import { append, eraseMessages } from "@tributary/pipeline";
import { openVault } from "@tributary/vault";
import { Command, Option } from "commander";
import { randomUUID } from "node:crypto";
import { keySourceOf } from "../config.ts";
import { createLog } from "../log.ts";
import { type CommandContext, CommandFailure, EXIT, report } from "./command-line.ts";
import { type OpenData, withData } from "./open-data.ts";

interface Options {
  readonly yes?: true;
  readonly organization?: string;
}

/** `tributary erase`: takes a person or an organisation out, for good. */
export function eraseCommand(context: CommandContext): Command {
  const command = new Command("erase")
    .summary("erase a person or a whole organisation, for good")
    .description(
      "withdraw consents, destroy keys, and delete credentials and events: of a person, or of a whole organisation",
    );
  command
    .command("person")
    .description("erase one person")
    .argument("<id>", "the person's id")
    .addOption(new Option("--organization <id>", "in this organisation only; default: in every one"))
    .option("--yes", "it cannot be undone, and you know")
    .action((id: string, options: Options, self: Command) => {
      assertConfirmed(options);
      return withData(context, async (data) => {
        const organizations =
          options.organization === undefined ? await everywhere(data.database, id) : [options.organization];
        if (organizations.length === 0)
          throw new CommandFailure(
            EXIT.failed,
            "nobody by that id belongs to an organisation or has linked anything; nothing was erased",
          );
        const targets = organizations.map((organizationId) => ({ organizationId, userId: id }));
        await eraseAll(context, self, data, targets);
      });
    });
  command
    .command("organisation")
    .alias("organization")
    .description("erase a whole organisation")
    .argument("<id>", "the organisation's id")
    .option("--yes", "it cannot be undone, and you know")
    .action((organizationId: string, options: Options, self: Command) => {
      assertConfirmed(options);
      return withData(context, (data) => eraseAll(context, self, data, [{ organizationId }]));
    });
  return command;
}

/** Where somebody has linked something, and where they belong. */
async function everywhere(database: Database, userId: string): Promise<readonly string[]> {
  const linked = await organizationsOf(database, userId);
  return [...new Set([...linked, ...(await membershipsOf(database, userId))])].toSorted();
}

function assertConfirmed({ yes }: Options): void {
  if (yes !== true)
    throw new CommandFailure(EXIT.usage, "erasing cannot be undone, not even from a backup: say --yes if you mean it");
}

async function eraseAll(
  context: CommandContext,
  command: Command,
  data: OpenData,
  targets: readonly { readonly organizationId: string; readonly userId?: string }[],
): Promise<void> {
  const runtime = await runtimeOf(context, data);
  // With simulated providers the real ones were never asked, and the simulated ones run only with the hub.
  const revoke = data.config.sandbox === undefined;
  const reports: EraseReport[] = [];
  const servers = data.config.natsUrl;
  const messages = servers === undefined ? {} : { messages: { servers, erase: eraseMessages } };
  const people = (target: EraseTarget): Promise<number> => erasePeople(data.database, target);
  for (const target of targets) reports.push(await erase(runtime, target, { revoke, people, ...messages }));
  report(context, command, { erased: reports, revocation: revoke ? "asked" : "simulated providers are not running" }, [
    ...reports.map(
      ({ id, connections, keys, credentials, events, messages: erased, people: forgotten }) =>
        `erased ${connections} connections, ${forgotten} people, ${credentials} credentials, ${keys} key pairs, ${events} events` +
        `${erased === undefined ? "" : `, ${erased} published messages`} (entry ${id})`,
    ),
    ...(revoke
      ? reports.map(
          ({ revoked, notRevoked }) => `providers confirmed ${revoked} withdrawals and left ${notRevoked} open`,
        )
      : ["the simulated providers run only with the hub: no consent was withdrawn"]),
  ]);
}

/** What erasing needs of a hub, without its servers. */
async function runtimeOf(context: CommandContext, { config, database }: OpenData): Promise<Runtime> {
  return {
    database,
    vault: await openVault({
      database,
      keys: keySourceOf(config),
      clients: config.oauthClients.map((client) => ({ ...client, contextId: client.integration })),
      publicOrigin: config.publicOrigin,
      erasureLedger: config.erasureLedger,
      now: context.now,
    }),
    registry: createRegistry(connectors),
    append,
    committed: () => {},
    now: context.now,
    uuid: randomUUID,
    random: Math.random,
    log: createLog(config.logLevel),
  };
}
