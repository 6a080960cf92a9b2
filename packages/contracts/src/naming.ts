import { type DescMessage, getOption, hasOption } from "@bufbuild/protobuf";
import { hash } from "node:crypto";
import { KNOWN_CONSUMER } from "./consumer-names.ts";
import { event_subject } from "./gen/tributary/options/v1/options_pb.ts";

/** The JetStream stream that holds every event, and the subjects it binds. */
export const EVENT_STREAM = "TRIBUTARY_EVENTS";
export const EVENT_SUBJECTS = ["evt.v1.>", "sys.v1.>"] as const;

/** The JetStream stream that keeps what subscribers gave up on. */
export const DEAD_LETTER_STREAM = "TRIBUTARY_DEAD_LETTERS";
export const DEAD_LETTER_SUBJECTS = ["dlq.v1.>"] as const;

/** The JetStream stream that carries replays and redriven dead letters, apart from the live events. */
export const REPLAY_STREAM = "TRIBUTARY_REPLAYS";
export const REPLAY_SUBJECTS = ["rpl.v1.>"] as const;

/** What the runtime knows about an event besides its payload; travels as headers, never inside the payload. */
export interface EventAttributes {
  /** Deterministic: see {@link eventId}. Also the `Nats-Msg-Id`. */
  readonly id: string;
  /** Full protobuf name of the payload, such as "tributary.task.v1.TaskCompleted". */
  readonly type: string;
  readonly organizationId: string;
  readonly connectionId: string;
  /** Id of the connector, such as "todoist". */
  readonly connector: string;
  /** What the event is about: "<object>/<provider's id>". */
  readonly objectKey: string;
  /** Position within the connection, from 1, without gaps. */
  readonly sequence: bigint;
  /** When it happened, by the provider's clock; ISO 8601. */
  readonly time: string;
  /** True when it was read from history rather than as it happened. */
  readonly backfill: boolean;
  /** W3C trace context of the run that committed it; "" when there is none. */
  readonly traceparent: string;
  /** Id of the replay that brings the event again; absent for a live event. */
  readonly replayId?: string;
  /** How often this dead letter was delivered again, from 1; absent for an event that is no redriven dead letter. */
  readonly redrive?: number;
  /** The only consumer that a replayed or redriven event is for, as its organisation knows it; absent: for all. */
  readonly onlyFor?: string;
}

/**
 * The last two tokens of the subject of an event type: `["task", "completed"]` for TaskCompleted.
 * @throws TypeError for a message that is not an event (it has no `event_subject` option).
 */
export function eventTokens(schema: DescMessage): EventTokens {
  const known = tokens.get(schema);
  if (known !== undefined) return known;
  const [object, verb, ...rest] = hasOption(schema, event_subject) ? getOption(schema, event_subject).split(".") : [];
  if (object === undefined || verb === undefined || rest.length > 0)
    throw new TypeError(`${schema.typeName} is not an event`);
  const read = { object, verb };
  tokens.set(schema, read);
  return read;
}

export interface EventTokens {
  readonly object: string;
  readonly verb: string;
}

/** Reading an option decodes it: 12 µs, which was more than everything else that is done for an event. */
const tokens = new WeakMap<DescMessage, EventTokens>();

/** `evt.v1.<organization>.<connector>.<object>.<verb>`, or `sys.v1.…` for what the runtime says of itself. */
export function eventSubject(schema: DescMessage, organizationId: string, connector: string): string {
  const { object, verb } = eventTokens(schema);
  const root = schema.typeName.startsWith("tributary.system.") ? "sys" : "evt";
  return `${root}.v1.${subjectToken(organizationId)}.${subjectToken(connector)}.${object}.${verb}`;
}

/** A subject that matches every organisation's and connector's events of one type. */
export function eventSubjectFilter(schema: DescMessage, organizationId = "*"): string {
  const { object, verb } = eventTokens(schema);
  const root = schema.typeName.startsWith("tributary.system.") ? "sys" : "evt";
  return `${root}.v1.${organizationId === "*" ? "*" : subjectToken(organizationId)}.*.${object}.${verb}`;
}

/**
 * Where a replay of an event goes: `rpl.v1.<replay>.<organization>.<connector>.<object>.<verb>`, for events and system
 * events alike. A redriven dead letter takes the same road under an id of its own.
 * @throws TypeError for what is no subject of an event.
 */
export function replaySubject(replayId: string, subject: string): string {
  const [, rest] = /^(?:evt|sys)\.v1\.(.+)$/.exec(subject) ?? [];
  if (rest === undefined) throw new TypeError("not the subject of an event");
  return `rpl.v1.${subjectToken(replayId)}.${rest}`;
}

/** Every replay of an organisation's events; "*" for every organisation's. */
export const replaySubjectFilter = (organizationId = "*"): string =>
  `rpl.v1.*.${organizationId === "*" ? "*" : subjectToken(organizationId)}.>`;

/** Where the dead letters of a consumer go. @param consumer what {@link consumerKnownAs} says. */
export function deadLetterSubject(consumer: string, organizationId: string): string {
  if (!KNOWN_CONSUMER.test(consumer)) throw new TypeError(`not a consumer's name: ${JSON.stringify(consumer)}`);
  return `dlq.v1.${consumer}.${subjectToken(organizationId)}`;
}

/**
 * Where the broker answers an organisation's subscribers, as the client's `inboxPrefix`. Whoever may listen to the
 * default `_INBOX.>` hears what the broker sends to everybody.
 */
export const brokerInbox = (organizationId: string): string => `_INBOX_${subjectToken(organizationId)}`;

/**
 * The id of an event: the same change of the same object always has the same id, so reading it again publishes
 * nothing new. 128 bits of SHA-256 over an injective encoding, base64url, 22 characters.
 */
export function eventId(connectionId: string, type: string, objectKey: string, revision: string): string {
  return hash("sha256", `${connectionId}\n${type}\n${revision.length}:${revision}\n${objectKey}`, "base64url").slice(
    0,
    22,
  );
}

/** Names of the headers of a message on NATS: CloudEvents 1.0 in binary mode (NATS protocol binding §3.1), then ours. */
export const HEADER = {
  specVersion: "ce-specversion",
  id: "ce-id",
  source: "ce-source",
  type: "ce-type",
  subject: "ce-subject",
  time: "ce-time",
  contentType: "ce-datacontenttype",
  sequence: "ce-sequence",
  traceparent: "traceparent",
  organization: "trib-organization",
  connection: "trib-connection",
  backfill: "trib-backfill",
  replay: "trib-replay",
  redrive: "trib-redrive",
  onlyFor: "trib-consumer",
  deadLetterReason: "trib-dead-letter-reason",
  deadLetterAttempts: "trib-dead-letter-attempts",
} as const;

/** The headers of an event, in the order they are written. Values are printable ASCII: NATS has no escape. */
export function eventHeaders(event: EventAttributes): readonly (readonly [string, string])[] {
  const headers: [string, string][] = [
    [HEADER.specVersion, "1.0"],
    [HEADER.id, event.id],
    [HEADER.source, `/${event.connector}/${event.connectionId}`],
    [HEADER.type, event.type],
    [HEADER.subject, encodeHeader(event.objectKey)],
    [HEADER.time, event.time],
    [HEADER.contentType, "application/protobuf"],
    [HEADER.sequence, event.sequence.toString()],
    [HEADER.organization, event.organizationId],
    [HEADER.connection, event.connectionId],
  ];
  if (event.traceparent !== "") headers.push([HEADER.traceparent, event.traceparent]);
  if (event.backfill) headers.push([HEADER.backfill, "true"]);
  if (event.replayId !== undefined) headers.push([HEADER.replay, event.replayId]);
  if (event.redrive !== undefined) headers.push([HEADER.redrive, String(event.redrive)]);
  if (event.onlyFor !== undefined) headers.push([HEADER.onlyFor, event.onlyFor]);
  return headers;
}

/**
 * Reads {@link eventHeaders} back.
 * @throws TypeError when a header that every event has is missing: the message is not one of Tributary's.
 */
export function parseEventHeaders(get: (name: string) => string | undefined): EventAttributes {
  const required = (name: string): string => {
    const value = get(name);
    if (value === undefined || value === "") throw new TypeError(`header ${name} is missing`);
    return value;
  };
  const [, connector = ""] = required(HEADER.source).split("/");
  const replayId = get(HEADER.replay) ?? "";
  const redrive = Number(get(HEADER.redrive) ?? 0);
  const onlyFor = get(HEADER.onlyFor) ?? "";
  return {
    ...(replayId === "" ? {} : { replayId }),
    ...(redrive > 0 ? { redrive } : {}),
    ...(onlyFor === "" ? {} : { onlyFor }),
    id: required(HEADER.id),
    type: required(HEADER.type),
    organizationId: required(HEADER.organization),
    connectionId: required(HEADER.connection),
    connector,
    objectKey: decodeURIComponent(required(HEADER.subject)),
    sequence: BigInt(required(HEADER.sequence)),
    time: required(HEADER.time),
    backfill: get(HEADER.backfill) === "true",
    traceparent: get(HEADER.traceparent) ?? "",
  };
}

/** CloudEvents' percent-encoding of header values (HTTP binding §3.1.3.2); plain ids pass as they are. */
const encodeHeader = (value: string): string => (/^[!#-$&-~]+$/.test(value) ? value : encodeURIComponent(value));

/** @throws TypeError for what NATS would read as a separator or a wildcard. */
function subjectToken(token: string): string {
  if (!/^[a-z0-9_-]{1,64}$/.test(token)) throw new TypeError(`not a subject token: ${JSON.stringify(token)}`);
  return token;
}
