import { EVENT_RETENTION_DAYS } from "@tributary/api";
import type { Database } from "@tributary/db";
import {
  applyStreams,
  inspectStreams,
  ledgerBacklog,
  parkedConnections,
  pipelineFigures,
  type StreamDifference,
  type StreamInspection,
  troubleReason,
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
    .command("status")
    .description("show whether somebody publishes, how much waits for the broker and since when, and what stands still")
    .action((_options: object, command: Command) =>
      withData(context, async ({ database, config }) => {
        const status = await statusOf(database, config);
        report(context, command, status, statusLines(status));
      }),
    );
  relay
    .command("parked")
    .description("list connections that stand still, because the broker refuses their next event for good")
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
    .description("let a parked connection go on")
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
    .description("show how the broker's streams differ from what they should be, and what to know about the broker")
    .option("--apply", "make what is missing, and change what differs")
    .action((options: { apply?: boolean }, command: Command) => showStreams(context, command, options.apply === true));
  return relay;
}

async function statusOf(database: Database, { natsUrl, backlogBytes: bytesMax }: Config) {
  const [{ led, parked, acknowledged }, backlog] = await Promise.all([
    pipelineFigures(database),
    ledgerBacklog(database),
  ]);
  const { oldestAtMs, oldestAgeMs = null, ...waiting } = backlog;
  return {
    /** Without a broker nothing is published, and nothing waits. */
    broker: natsUrl !== undefined,
    led,
    acknowledgedAt: acknowledged === undefined ? null : iso(acknowledged.atMs),
    streamSequence: acknowledged?.streamSequence ?? null,
    waiting: { ...waiting, bytesMax, oldestAt: oldestAtMs === undefined ? null : iso(oldestAtMs), oldestAgeMs },
    parked,
  };
}

type Status = Awaited<ReturnType<typeof statusOf>>;

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"] as const;

/** For people; `--json` has the bytes. */
function size(bytes: number): string {
  const power = Math.min(UNITS.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  return `${Number((bytes / 1024 ** power).toFixed(1))} ${UNITS[power]}`;
}

const iso = (ms: number): string => new Date(ms).toISOString();

/** Each line that asks for something names the next step. */
function statusLines({ broker, led, acknowledgedAt, streamSequence, waiting, parked }: Status): string[] {
  const { connections, events, bytes, bytesMax, oldestAt, oldestAgeMs } = waiting;
  const since = oldestAt === null ? "" : ` since ${oldestAt}`;
  const days = (oldestAgeMs ?? 0) / 86_400_000;
  return [
    ...(broker ? [] : ["NATS_URL is not set here: without a broker nothing is published"]),
    led
      ? "a relay leads the event stream"
      : "no relay leads the event stream: start a hub with the role `relay`; why one waits stands in its log and at its /healthz",
    acknowledgedAt === null
      ? "the broker has acknowledged nothing yet"
      : `the broker acknowledged last at ${acknowledgedAt}, up to ${streamSequence} in the stream`,
    events === 0
      ? "nothing waits for the broker"
      : `${events} events of ${connections} connections wait${since}, about ${size(bytes)} of ${size(bytesMax)}`,
    ...(bytes > bytesMax
      ? ["the intake rests until less waits: bring the broker back, or raise TRIBUTARY_BACKLOG_BYTES"]
      : []),
    ...(days > EVENT_RETENTION_DAYS
      ? [`what waits longer than ${EVENT_RETENTION_DAYS} days is kept until it is published`]
      : []),
    ...parked.map(
      ({ reason, connections: count }) => `${count} connections are parked: ${reason}; see \`tributary relay parked\``,
    ),
  ];
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const parkedLine = (one: Awaited<ReturnType<typeof parkedConnections>>[number]): string =>
  `${one.connectionId}  ${one.organizationId}  event ${one.sequence}  ${one.reason}  since ${one.parkedAt}  ${one.waiting} wait`;

async function showStreams(context: CommandContext, command: Command, apply: boolean): Promise<void> {
  const config = readConfig(context.env, context.integrations);
  const { streamReplicas: replicas } = config;
  const options = {
    servers: brokerOf(config),
    retentionDays: EVENT_RETENTION_DAYS,
    ...(replicas === undefined ? {} : { replicas }),
    ...monitorOf(config),
  };
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

/** A code and no more: what the client says may quote its address, which may hold a password. */
const answered = <T>(asked: Promise<T>): Promise<T> =>
  asked.catch((error: unknown) => {
    const reason = troubleReason(error);
    if (reason.startsWith("jetstream_"))
      throw new CommandFailure(
        EXIT.failed,
        `JetStream at NATS_URL refuses: ${reason}; docs/OPERATIONS.md says what to do`,
      );
    throw new CommandFailure(
      EXIT.unreachable,
      `NATS at NATS_URL cannot be used: ${reason}; docs/OPERATIONS.md says what to do`,
    );
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
  ...streams.flatMap(streamLines),
];

function streamLines({ stream, holds, differences }: StreamInspection["streams"][number]): string[] {
  if (holds === undefined) return [`${stream}: missing`];
  const { messages, bytes, bytesMax, replicas } = holds;
  const room = bytesMax === 0 ? "" : ` of ${size(bytesMax)}`;
  const held = `${messages} messages, ${size(bytes)}${room}, ${replicas === 1 ? "1 copy" : `${replicas} copies`}`;
  if (differences.length === 0) return [`${stream}: as it should be (${held})`];
  return [`${stream}: ${held}`, ...differences.map(differenceLine)];
}

const differenceLine = ({ stream, setting, is, should, changeable }: StreamDifference): string =>
  `${stream}: ${setting} is ${is} and should be ${should}${changeable ? "" : "; it stays until the stream is made anew or changed by hand"}`;
