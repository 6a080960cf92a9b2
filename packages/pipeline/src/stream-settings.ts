import {
  DiscardPolicy,
  JetStreamApiError,
  type JetStreamManager,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import {
  DEAD_LETTER_STREAM,
  DEAD_LETTER_SUBJECTS,
  EVENT_STREAM,
  EVENT_SUBJECTS,
  REPLAY_STREAM,
  REPLAY_SUBJECTS,
} from "@tributary/contracts";
import { connectNats } from "./nats-connection.ts";

/** One setting of one stream that is not what it should be. */
export interface StreamDifference {
  readonly stream: string;
  /** The broker's own name of the setting, such as "duplicate_window". */
  readonly setting: string;
  readonly is: string;
  readonly should: string;
  /** Whether the broker lets it be changed on a stream that exists. Otherwise the stream has to be made anew. */
  readonly changeable: boolean;
}

export interface StreamCheck {
  readonly stream: string;
  readonly exists: boolean;
  readonly differences: readonly StreamDifference[];
}

/** What an operator should know about the broker; nothing of it is a reason not to start. */
export type BrokerWarning =
  /** nats-server before 2.12: `sync_interval: always` is slower there, and known losses are not repaired. */
  | "server_before_2_12"
  /** The broker flushes to disk now and then: a power cut may take acknowledged messages with it. */
  | "sync_interval_not_always"
  /** A client is not told `sync_interval`; the monitoring address of nats-server 2.10 or newer tells it. */
  | "sync_interval_unknown";

const DAY_NS = 86_400e9;
const MINUTE_NS = 60e9;
const REPLAY_DAYS = 7;

type Wanted = Pick<StreamConfig, "name" | "subjects" | "storage" | "retention"> &
  Partial<Pick<StreamConfig, "max_age" | "duplicate_window" | "discard">>;

/**
 * The streams as they should be. A full event stream refuses what is new and never drops what nobody has read.
 * @param retentionDays how long events are kept.
 */
export function wantedStreams(retentionDays: number): readonly Wanted[] {
  const kept = { storage: StorageType.File, retention: RetentionPolicy.Limits };
  const shared = { ...kept, duplicate_window: 2 * MINUTE_NS };
  const events = { discard: DiscardPolicy.New, max_age: retentionDays * DAY_NS };
  return [
    { ...shared, ...events, name: EVENT_STREAM, subjects: [...EVENT_SUBJECTS] },
    { ...shared, name: DEAD_LETTER_STREAM, subjects: [...DEAD_LETTER_SUBJECTS] },
    { ...shared, name: REPLAY_STREAM, subjects: [...REPLAY_SUBJECTS], max_age: REPLAY_DAYS * DAY_NS },
  ];
}

/** Makes the streams that are missing, and compares the others; changes nothing that exists. */
export async function ensureStreams(jsm: JetStreamManager, retentionDays: number): Promise<readonly StreamCheck[]> {
  const checks: StreamCheck[] = [];
  for (const wanted of wantedStreams(retentionDays)) {
    const existing = await streamConfig(jsm, wanted.name);
    if (existing === undefined) await jsm.streams.add(wanted);
    checks.push(compare(wanted, existing));
  }
  return checks;
}

export interface InspectOptions {
  readonly servers: string | readonly string[];
  readonly retentionDays: number;
  /** `http://host:8222` of nats-server's monitoring, if it may be asked. */
  readonly monitorUrl?: string;
  readonly fetch?: typeof fetch;
}

export interface StreamInspection {
  /** Of nats-server, such as "2.12.1". */
  readonly version: string;
  readonly streams: readonly StreamCheck[];
  readonly warnings: readonly BrokerWarning[];
}

/** Looks at the broker and its streams, and changes nothing. @throws Error when the broker does not answer. */
export const inspectStreams = (options: InspectOptions): Promise<StreamInspection> =>
  onBroker(options, (jsm) =>
    Promise.all(
      wantedStreams(options.retentionDays).map(async (wanted) => compare(wanted, await streamConfig(jsm, wanted.name))),
    ),
  );

/**
 * Makes the streams that are missing and changes what differs and can be changed; settings that are not ours to name
 * stay as they are.
 * @returns how things were before, and in `left` what still differs.
 */
export async function applyStreams(
  options: InspectOptions,
): Promise<StreamInspection & { readonly left: readonly StreamDifference[] }> {
  const left: StreamDifference[] = [];
  const before = await onBroker(options, async (jsm) => {
    const checks: StreamCheck[] = [];
    for (const wanted of wantedStreams(options.retentionDays)) {
      const existing = await streamConfig(jsm, wanted.name);
      const check = compare(wanted, existing);
      checks.push(check);
      if (existing === undefined) await jsm.streams.add(wanted);
      else if (check.differences.some(({ changeable }) => changeable)) {
        const { name, storage: _storage, retention: _retention, ...changeable } = wanted;
        const subjects = [...new Set([...existing.subjects, ...wanted.subjects])];
        await jsm.streams.update(name, { ...changeable, subjects });
      }
      left.push(...compare(wanted, await streamConfig(jsm, wanted.name)).differences);
    }
    return checks;
  });
  return { ...before, left };
}

async function onBroker(
  options: InspectOptions,
  work: (jsm: JetStreamManager) => Promise<readonly StreamCheck[]>,
): Promise<StreamInspection> {
  const nc = await connectNats({ servers: options.servers, name: "tributary-stream" });
  try {
    const streams = await work(await jetstreamManager(nc, { checkAPI: false }));
    return { version: nc.info?.version ?? "", streams, warnings: await brokerWarnings(nc, options) };
  } finally {
    await nc.close();
  }
}

/**
 * What a client can know: the version stands in the server's greeting. `sync_interval` does not, and no API of JetStream
 * tells it; from 2.10 on the monitoring endpoint `/varz` has it under `jetstream.config`.
 */
export async function brokerWarnings(
  nc: NatsConnection,
  { monitorUrl, fetch: ask = fetch }: Pick<InspectOptions, "monitorUrl" | "fetch">,
): Promise<readonly BrokerWarning[]> {
  const warnings: BrokerWarning[] = isBefore(nc.info?.version ?? "0", [2, 12]) ? ["server_before_2_12"] : [];
  const always = monitorUrl === undefined ? undefined : await syncsAlways(ask, monitorUrl);
  if (always === undefined) warnings.push("sync_interval_unknown");
  else if (!always) warnings.push("sync_interval_not_always");
  return warnings;
}

interface Varz {
  readonly version?: string;
  readonly jetstream?: { readonly config?: { readonly sync_interval?: number; readonly sync_always?: boolean } };
}

const MONITOR_MS_MAX = 3_000;

/** Undefined when it is not told. */
async function syncsAlways(ask: typeof fetch, monitorUrl: string): Promise<boolean | undefined> {
  try {
    const answer = await ask(new URL("/varz", monitorUrl), { signal: AbortSignal.timeout(MONITOR_MS_MAX) });
    const { jetstream } = (await answer.json()) as Varz;
    if (jetstream?.config?.sync_always === true) return true;
    return jetstream?.config?.sync_interval === undefined ? undefined : false;
  } catch {
    return undefined;
  }
}

function isBefore(version: string, [major, minor]: readonly [number, number]): boolean {
  const [isMajor = 0, isMinor = 0] = version.split(".").map((part) => Number.parseInt(part, 10));
  return isMajor < major || (isMajor === major && isMinor < minor);
}

/** The subjects may be more than ours, and the window of message ids may be longer; everything else is as it should be or differs. */
function compare(wanted: Wanted, is: StreamConfig | undefined): StreamCheck {
  if (is === undefined) return { stream: wanted.name, exists: false, differences: [] };
  const differences: StreamDifference[] = [];
  const differs = (setting: string, has: unknown, should: unknown, changeable: boolean): void => {
    differences.push({ stream: wanted.name, setting, is: String(has), should: String(should), changeable });
  };
  const unbound = wanted.subjects.filter((subject) => !is.subjects.includes(subject));
  if (unbound.length > 0) differs("subjects", is.subjects, wanted.subjects, true);
  if (is.storage !== wanted.storage) differs("storage", is.storage, wanted.storage, false);
  if (is.retention !== wanted.retention) differs("retention", is.retention, wanted.retention, false);
  if (wanted.discard !== undefined && is.discard !== wanted.discard)
    differs("discard", is.discard, wanted.discard, true);
  const age = wanted.max_age ?? 0;
  if (is.max_age !== age) differs("max_age", inDays(is.max_age), inDays(age), true);
  const window = wanted.duplicate_window ?? 0;
  if (is.duplicate_window < window)
    differs("duplicate_window", `${is.duplicate_window / 1e9} s`, `${window / 1e9} s`, true);
  for (const limit of ["max_msgs", "max_bytes", "max_msgs_per_subject"] as const)
    if (is[limit] > 0) differs(limit, is[limit], "unlimited", false);
  return { stream: wanted.name, exists: true, differences };
}

const inDays = (ns: number): string => (ns === 0 ? "unlimited" : `${Number((ns / DAY_NS).toFixed(3))} days`);

const STREAM_NOT_FOUND = 10059;

async function streamConfig(jsm: JetStreamManager, name: string): Promise<StreamConfig | undefined> {
  try {
    return (await jsm.streams.info(name)).config;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === STREAM_NOT_FOUND) return undefined;
    throw error;
  }
}
