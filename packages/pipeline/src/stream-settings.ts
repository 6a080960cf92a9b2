import {
  DiscardPolicy,
  type JetStreamManager,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  type StreamInfo,
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
import { nothingWhen, STREAM_NOT_FOUND } from "./broker-answers.ts";
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
  /** What it holds, and may hold; absent when it does not exist. */
  readonly holds?: {
    readonly messages: number;
    readonly bytes: number;
    /** 0: as much as the broker has room for. */
    readonly bytesMax: number;
    readonly replicas: number;
  };
}

/** What an operator should know about the broker; nothing of it is a reason not to start. */
export type BrokerWarning =
  /** nats-server before 2.12: `sync_interval: always` is slower there, and known losses are not repaired. */
  | "server_before_2_12"
  /** The broker flushes to disk now and then: a power cut may take acknowledged messages with it. */
  | "sync_interval_not_always"
  /** A client is not told `sync_interval`; the monitoring address of nats-server 2.10 or newer tells it. */
  | "sync_interval_unknown"
  /** Of a cluster's servers one alone has the events: while it is away nothing is published or read. */
  | "one_replica_in_cluster";

/** What whoever operates the installation decides about the streams. */
export interface StreamWish {
  /** Days that events are kept. */
  readonly retentionDays: number;
  /** Copies in the cluster, 1 to 5. Absent: a new stream has one, and what an existing one has is left alone. */
  readonly replicas?: number;
}

const DAY_NS = 86_400e9;
const MINUTE_NS = 60e9;
const REPLAY_DAYS = 7;

type Wanted = Pick<StreamConfig, "name" | "subjects" | "storage" | "retention" | "duplicate_window"> &
  Partial<Pick<StreamConfig, "max_age" | "discard" | "num_replicas">>;

/** The streams as they should be. A full event stream refuses what is new and never drops what nobody has read. */
export function wantedStreams({ retentionDays, replicas }: StreamWish): readonly Wanted[] {
  const copies = replicas === undefined ? {} : { num_replicas: replicas };
  const kept = { storage: StorageType.File, retention: RetentionPolicy.Limits, ...copies };
  const shared = { ...kept, duplicate_window: 2 * MINUTE_NS };
  const events = { discard: DiscardPolicy.New, max_age: retentionDays * DAY_NS };
  return [
    { ...shared, ...events, name: EVENT_STREAM, subjects: [...EVENT_SUBJECTS] },
    { ...shared, name: DEAD_LETTER_STREAM, subjects: [...DEAD_LETTER_SUBJECTS] },
    { ...shared, name: REPLAY_STREAM, subjects: [...REPLAY_SUBJECTS], max_age: REPLAY_DAYS * DAY_NS },
  ];
}

/** Makes the streams that are missing, and compares the others; changes nothing that exists. */
export async function ensureStreams(jsm: JetStreamManager, wish: StreamWish): Promise<readonly StreamCheck[]> {
  const checks: StreamCheck[] = [];
  for (const wanted of wantedStreams(wish)) {
    const existing = await streamInfo(jsm, wanted.name);
    if (existing === undefined) await jsm.streams.add(wanted);
    checks.push(compare(wanted, existing));
  }
  return checks;
}

export interface InspectOptions extends StreamWish {
  readonly servers: string | readonly string[];
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
    Promise.all(wantedStreams(options).map(async (wanted) => compare(wanted, await streamInfo(jsm, wanted.name)))),
  );

/**
 * Makes the streams that are missing and changes what differs and can be changed; everything else stays as it is, also
 * where it is more than we ask for.
 * @returns how things were before, and in `left` what still differs.
 */
export async function applyStreams(
  options: InspectOptions,
): Promise<StreamInspection & { readonly left: readonly StreamDifference[] }> {
  const left: StreamDifference[] = [];
  const before = await onBroker(options, async (jsm) => {
    const checks: StreamCheck[] = [];
    for (const wanted of wantedStreams(options)) {
      const existing = await streamInfo(jsm, wanted.name);
      checks.push(compare(wanted, existing));
      if (existing === undefined) await jsm.streams.add(wanted);
      else {
        const change = Object.fromEntries(changes(wanted, existing.config).map(({ setting, to }) => [setting, to]));
        if (Object.keys(change).length > 0) await jsm.streams.update(wanted.name, change);
      }
      left.push(...compare(wanted, await streamInfo(jsm, wanted.name)).differences);
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
    const jsm = await jetstreamManager(nc, { checkAPI: false });
    const streams = await work(jsm);
    return { version: nc.info?.version ?? "", streams, warnings: await brokerWarnings(nc, jsm, options) };
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
  jsm: JetStreamManager,
  { monitorUrl, fetch: ask = fetch }: Pick<InspectOptions, "monitorUrl" | "fetch">,
): Promise<readonly BrokerWarning[]> {
  const warnings: BrokerWarning[] = isBefore(nc.info?.version ?? "0", [2, 12]) ? ["server_before_2_12"] : [];
  const always = monitorUrl === undefined ? undefined : await syncsAlways(ask, monitorUrl);
  if (always === undefined) warnings.push("sync_interval_unknown");
  else if (!always) warnings.push("sync_interval_not_always");
  if (await isAlone(jsm)) warnings.push("one_replica_in_cluster");
  return warnings;
}

/** The broker names a cluster only where JetStream is one. */
async function isAlone(jsm: JetStreamManager): Promise<boolean> {
  const info = await streamInfo(jsm, EVENT_STREAM).catch(() => undefined);
  return info?.cluster?.name !== undefined && info.config.num_replicas === 1;
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

/**
 * Settings that must be absent, or the stream is not what the relay takes it for; `--apply` leaves them to whoever set
 * them. What an operator is free to choose is not named: placement, compression, direct reads, and how much disk the
 * stream may take, since a full stream refuses what is new.
 */
const UNWANTED = [
  "max_msgs_per_subject",
  "max_msg_size",
  "max_consumers",
  // Nobody would learn what became of an event.
  "no_ack",
  "sealed",
  // Erasing a person takes their messages out of the stream.
  "deny_delete",
  "mirror",
  "sources",
  "subject_transform",
  // From 2.12 on: answers before the message is on the disk.
  "persist_mode",
] as const satisfies readonly (keyof StreamConfig)[];

function compare(wanted: Wanted, info: StreamInfo | undefined): StreamCheck {
  if (info === undefined) return { stream: wanted.name, exists: false, differences: [] };
  const { config: is, state } = info;
  const fixed = [
    ...(["storage", "retention"] as const).filter((setting) => is[setting] !== wanted[setting]),
    ...UNWANTED.filter((setting) => isSet(is[setting])),
  ];
  const differences = [
    ...changes(wanted, is).map(({ setting, has, should }) => ({ setting, is: has, should, changeable: true })),
    ...fixed.map((setting) => ({ setting, is: describe(is[setting]), should: describe(shouldBe(wanted, setting)) })),
  ];
  const bytesMax = Math.max(0, is.max_bytes);
  return {
    stream: wanted.name,
    exists: true,
    differences: differences.map((one) => ({ changeable: false, ...one, stream: wanted.name })),
    holds: { messages: state.messages, bytes: state.bytes, bytesMax, replicas: is.num_replicas },
  };
}

const shouldBe = (wanted: Wanted, setting: string): unknown =>
  setting === "storage" || setting === "retention" ? wanted[setting] : "unset";

interface Change {
  readonly setting: "subjects" | "discard" | "num_replicas" | "max_age" | "duplicate_window";
  readonly has: string;
  readonly should: string;
  readonly to: unknown;
}

/** What differs and may be changed. The subjects may be more than ours, and the window of message ids may be longer. */
function changes(wanted: Wanted, is: StreamConfig): Change[] {
  const found: Change[] = [];
  const subjects = is.subjects ?? [];
  if (wanted.subjects.some((subject) => !subjects.includes(subject))) {
    const to = [...new Set([...subjects, ...wanted.subjects])];
    found.push({ setting: "subjects", has: subjects.join(","), should: wanted.subjects.join(","), to });
  }
  for (const setting of ["discard", "num_replicas"] as const) {
    const should = wanted[setting];
    if (should !== undefined && is[setting] !== should)
      found.push({ setting, has: String(is[setting]), should: String(should), to: should });
  }
  const age = wanted.max_age ?? 0;
  if (is.max_age !== age) found.push({ setting: "max_age", has: inDays(is.max_age), should: inDays(age), to: age });
  const window = wanted.duplicate_window;
  if (is.duplicate_window < window)
    found.push({
      setting: "duplicate_window",
      has: inSeconds(is.duplicate_window),
      should: inSeconds(window),
      to: window,
    });
  return found;
}

/** As the broker has it: -1 and 0 are no limit, and "default" is the mode that writes before it answers. */
function isSet(value: unknown): boolean {
  if (typeof value === "number") return value > 0;
  if (typeof value === "string") return value !== "" && value !== "default";
  if (Array.isArray(value)) return value.length > 0;
  return value !== undefined && value !== null && value !== false;
}

/** Of a mirror or a transform the fact counts; the broker's own listing has the rest. */
const describe = (value: unknown): string =>
  typeof value === "object" ? "set" : `${value as string | number | boolean}`;

const inSeconds = (ns: number): string => `${ns / 1e9} s`;
const inDays = (ns: number): string => (ns === 0 ? "unlimited" : `${Number((ns / DAY_NS).toFixed(3))} days`);

const streamInfo = (jsm: JetStreamManager, name: string): Promise<StreamInfo | undefined> =>
  jsm.streams.info(name).catch(nothingWhen(STREAM_NOT_FOUND));
