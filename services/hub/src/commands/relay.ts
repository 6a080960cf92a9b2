import { EVENT_RETENTION_DAYS } from "@tributary/api";
import {
  applyStreams,
  inspectStreams,
  ledgerBacklog,
  parkedConnections,
  type StreamDifference,
  type StreamInspection,
  unparkConnection,
} from "@tributary/pipeline";
import { Command } from "commander";
import { type Config, ConfigError, readConfig } from "../config.ts";
import { type CommandContext, CommandFailure, EXIT, report } from "./command-line.ts";
import { withData } from "./open-data.ts";

/** `tributary relay`: the road from the ledger to the broker. */
export function relayCommand(context: CommandContext): Command {
  const relay = new Command("relay").description("the road from the ledger to the broker");
  relay
    .command("backlog")
    .description("how much waits for the broker")
    .action((_options: object, command: Command) =>
      withData(context, async ({ database, config }) => {
        const backlog = { ...(await ledgerBacklog(database)), bytesMax: config.backlogBytes };
        const { connections, events, bytes, bytesMax } = backlog;
        report(context, command, backlog, [
          `${events} events of ${connections} connections wait, about ${bytes} of ${bytesMax} bytes`,
        ]);
      }),
    );
  relay
    .command("parked")
    .description("connections that stand still, because the broker refuses their next event for good")
    .option("--organization <id>", "only this organisation's")
    .action(({ organization }: { organization?: string }, command: Command) =>
      withData(context, async ({ database }) => {
        const parked = await parkedConnections(database, organization);
        const json = { parked: parked.map((one) => ({ ...one, sequence: Number(one.sequence) })) };
        report(context, command, json, parked.length === 0 ? ["nothing is parked"] : parked.map(parkedLine));
      }),
    );
  relay
    .command("unpark")
    .description("lets a parked connection go on")
    .argument("<connection>", "its id")
    .requiredOption("--organization <id>", "whose connection it is")
    .option("--skip", "leave the refused event out of the stream for good; it stays in the ledger")
    .action((connectionId: string, options: { organization: string; skip?: boolean }, command: Command) =>
      withData(context, async ({ database }) => {
        if (!UUID.test(connectionId)) throw new CommandFailure(EXIT.usage, "a connection's id is a UUID");
        const { organization: organizationId, skip = false } = options;
        if (!(await unparkConnection(database, { organizationId, connectionId, skip })))
          throw new CommandFailure(EXIT.failed, "the organisation has no such connection that is parked");
        report(context, command, { connectionId, skipped: skip }, ["it goes on within a second"]);
      }),
    );
  relay
    .command("stream")
    .description("how the broker's streams differ from what they should be, and what to know about the broker")
    .option("--apply", "make what is missing, and change what differs")
    .action((options: { apply?: boolean }, command: Command) => showStreams(context, command, options.apply === true));
  return relay;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const parkedLine = (one: Awaited<ReturnType<typeof parkedConnections>>[number]): string =>
  `${one.connectionId}  ${one.organizationId}  event ${one.sequence}  ${one.reason}  since ${one.parkedAt}  ${one.waiting} wait`;

async function showStreams(context: CommandContext, command: Command, apply: boolean): Promise<void> {
  const config = readConfig(context.env, context.integrations);
  const options = { servers: brokerOf(config), retentionDays: EVENT_RETENTION_DAYS, ...monitorOf(config) };
  if (!apply) {
    const inspection = await answered(inspectStreams(options));
    const differs = inspection.streams.some(({ exists, differences }) => !exists || differences.length > 0);
    const hint = differs ? ["`tributary relay stream --apply` changes it"] : [];
    report(context, command, inspection, [...inspectionLines(inspection), ...hint]);
    return;
  }
  const applied = await answered(applyStreams(options));
  const after = applied.left.map((one) => `still: ${differenceLine(one)}`);
  report(context, command, applied, [...inspectionLines(applied), "applied", ...after]);
}

function brokerOf({ natsUrl }: Config): string {
  if (natsUrl === undefined) throw new ConfigError("NATS_URL is missing; without a broker there is no stream");
  return natsUrl;
}

const monitorOf = ({ natsMonitorUrl }: Config) => (natsMonitorUrl === undefined ? {} : { monitorUrl: natsMonitorUrl });

/** What the client says may quote its address, which may hold a password. */
const answered = <T>(asked: Promise<T>): Promise<T> =>
  asked.catch(() => {
    throw new CommandFailure(EXIT.unreachable, "NATS at NATS_URL does not answer, or refuses the credentials");
  });

const WARNINGS: Readonly<Record<StreamInspection["warnings"][number], string>> = {
  server_before_2_12: "nats-server 2.12 or newer is recommended",
  sync_interval_not_always:
    "sync_interval is not `always`: a power cut may take acknowledged messages, which are published again",
  one_replica_in_cluster:
    "the event stream has one copy in a cluster: set TRIBUTARY_STREAM_REPLICAS=3, and run `tributary relay stream --apply`",
  sync_interval_unknown: "how the broker flushes cannot be known: set NATS_MONITOR_URL, on nats-server 2.10 or newer",
};

const inspectionLines = ({ version, streams, warnings }: StreamInspection): string[] => [
  `nats-server ${version}`,
  ...warnings.map((warning) => `warning: ${WARNINGS[warning]}`),
  ...streams.flatMap(({ stream, exists, differences }) =>
    !exists
      ? [`${stream}: missing`]
      : differences.length === 0
        ? [`${stream}: as it should be`]
        : differences.map(differenceLine),
  ),
];

const differenceLine = ({ stream, setting, is, should, changeable }: StreamDifference): string =>
  `${stream}: ${setting} is ${is} and should be ${should}${changeable ? "" : "; it stays until the stream is made anew or changed by hand"}`;
