import { create } from "@bufbuild/protobuf";
import { type Timestamp, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { ConnectRouter, HandlerContext } from "@connectrpc/connect";
import {
  type AckRequest,
  type CatalogueField,
  EventService,
  type EventType,
  CONSUMER_NAME,
  EventTypeSchema,
  eventCatalogue,
  eventTypes,
  KNOWN_CONSUMER,
  Outcome,
  ReplayState,
  type ReplayStatus,
  ReplayStatusSchema,
  Road,
  type StoredEvent,
  StoredEventSchema,
  type SubscribeResponse,
  SubscribeResponseSchema,
} from "@tributary/contracts";
import {
  PAGE_EVENTS_MAX,
  type ReadEvent,
  ReplayRefused,
  type ReplayView,
  SettlementRefused,
  type StreamedEvent,
  WINDOW_MAX,
} from "@tributary/pipeline";
import { setTimeout as sleep } from "node:timers/promises";
import { payloadJson } from "./event-payload.ts";
import { callerOf, demand, identityOf, invalid, notThere, refused } from "./rpc-context.ts";
import type { RpcOptions } from "./rpc-options.ts";
import { createStreamPlaces } from "./stream-places.ts";
import { untilExpiry } from "./until-expiry.ts";

const WINDOW_DEFAULT = 256;
const PAGE_DEFAULT = 50;
const RATE_MAX = 100_000;
const CONNECTIONS_MAX = 100;
const WATCH_EVERY_MS = 1_000;
/** Whoever asks may have a clock that runs ahead of ours. */
const CLOCKS_APART_MS = 60_000;

/** Events: to subscribe to, to look at, to have again. */
export function eventService(
  router: ConnectRouter,
  { stream, reader, replays, connections, runtime }: RpcOptions,
): void {
  const places = createStreamPlaces();
  router.service(EventService, {
    async *subscribe(request, context) {
      const identity = identityOf(context);
      const consumer = consumerName(request.consumer);
      const window = request.window === 0 ? WINDOW_DEFAULT : request.window;
      if (window > WINDOW_MAX) throw invalid(`window is at most ${WINDOW_MAX}`);
      const leave = places.take(identity.organizationId);
      const { signal, expired, done } = untilExpiry(identity, context.signal, runtime.now);
      try {
        const wish = {
          organizationId: identity.organizationId,
          consumer,
          types: knownTypes(request.types),
          window,
          tellGone: request.tellGone,
        };
        for await (const event of stream.subscribe({ ...wish, signal })) yield responseOf(event);
        if (expired()) throw refused("invalid_token", "the proof of who asks has expired");
      } finally {
        done();
        leave();
      }
    },
    async ack(request, context) {
      const { organizationId } = identityOf(context);
      const outcome = chosen(OUTCOMES, request.outcome, "outcome");
      await stream
        .settle({
          organizationId,
          consumer: consumerName(request.consumer),
          connectionId: request.connectionId,
          sequence: request.sequence,
          outcome,
          replayId: request.replayId,
          redrive: request.redrive,
          ...(outcome === "dead_letter" ? lastWords(request) : {}),
        })
        .catch((error: unknown) => {
          throw error instanceof SettlementRefused ? refused("not_found", error.message) : error;
        });
      return {};
    },
    async get(request, context) {
      const { organizationId } = identityOf(context);
      if (request.personalData) demand(context, "integrations.manage");
      // Text with a zero byte is none to PostgreSQL, and nobody's id.
      const event = request.id.includes("\0") ? undefined : await reader.get(organizationId, request.id);
      if (event === undefined) throw notThere();
      return { event: storedEvent(event, request.personalData) };
    },
    async list(request, context) {
      const { organizationId } = identityOf(context);
      if (request.personalData) demand(context, "integrations.manage");
      const page = await reader.list({
        organizationId,
        types: knownTypes(request.types),
        limit: pageSize(request.pageSize),
        ...(request.from === undefined ? {} : { fromMs: instant(request.from) }),
        ...(request.until === undefined ? {} : { untilMs: instant(request.until) }),
        ...(request.connectionId === "" ? {} : { connectionId: uuid(request.connectionId, "connection_id") }),
        ...(request.pageToken === "" ? {} : { after: request.pageToken }),
      });
      const events = page.events.map((event) => storedEvent(event, request.personalData));
      return { events, nextPageToken: page.next ?? "" };
    },
    catalogue(request) {
      const types = catalogue.filter(({ type }) => request.type === "" || type === request.type);
      if (types.length === 0) throw notThere();
      return { types };
    },
    async replay(request, context) {
      const { organizationId, name } = identityOf(context);
      const { eventsPerSecond, connectionIds, idempotencyKey } = request;
      if (eventsPerSecond > RATE_MAX) throw invalid(`events_per_second is at most ${RATE_MAX}`);
      if (connectionIds.length > CONNECTIONS_MAX) throw invalid(`connection_ids are at most ${CONNECTIONS_MAX}`);
      if (!/^[a-z0-9-]{0,64}$/.test(idempotencyKey))
        throw invalid("idempotency_key is at most 64 of a-z, 0-9 and hyphen");
      const { from, until } = request;
      const end = until === undefined ? runtime.now().getTime() + CLOCKS_APART_MS : instant(until);
      if (from !== undefined && instant(from) >= end)
        throw invalid(until === undefined ? "from must not lie ahead" : "from must be before until");
      const wanted = connectionIds.map((id) => uuid(id, "connection_ids"));
      for (const id of new Set(wanted)) await mustBeThere(context, id);
      const replay = await replays
        .start({
          organizationId,
          createdBy: name,
          types: knownTypes(request.types),
          connectionIds: wanted,
          ...(request.consumer === "" ? {} : { consumer: knownConsumer(request.consumer) }),
          ...(from === undefined ? {} : { fromMs: instant(from) }),
          ...(until === undefined ? {} : { untilMs: instant(until) }),
          ...(eventsPerSecond === 0 ? {} : { eventsPerSecond }),
          ...(idempotencyKey === "" ? {} : { idempotencyKey }),
        })
        .catch((error: unknown) => {
          throw error instanceof ReplayRefused && error.code === "unknown_consumer" ? notThere() : error;
        });
      return { replay: replayStatus(replay) };
    },
    async getReplay({ id }, context) {
      const replay = await replays.get(identityOf(context).organizationId, id);
      if (replay === undefined) throw notThere();
      return { replay: replayStatus(replay) };
    },
    async *watchReplay({ id }, context) {
      const identity = identityOf(context);
      const leave = places.take(identity.organizationId);
      const { signal, expired, done } = untilExpiry(identity, context.signal, runtime.now);
      try {
        while (!signal.aborted) {
          const replay = await replays.get(identity.organizationId, id);
          if (replay === undefined) throw notThere();
          yield { replay: replayStatus(replay) };
          if (replay.state !== "running") return;
          await sleep(WATCH_EVERY_MS, undefined, { signal }).catch(() => {});
        }
        if (expired()) throw refused("invalid_token", "the proof of who asks has expired");
      } finally {
        done();
        leave();
      }
    },
    async listReplays(request, context) {
      const page = await replays.list(identityOf(context).organizationId, {
        limit: pageSize(request.pageSize),
        ...(request.pageToken === "" ? {} : { after: request.pageToken }),
      });
      return { replays: page.replays.map(replayStatus), nextPageToken: page.next ?? "" };
    },
    async cancelReplay({ id }, context) {
      const replay = await replays.cancel(identityOf(context).organizationId, id);
      if (replay === undefined) throw notThere();
      return { replay: replayStatus(replay) };
    },
  });

  /** Either something of it is retained, whoever linked it, or it is the caller's own. */
  async function mustBeThere(context: HandlerContext, connectionId: string): Promise<void> {
    const { organizationId } = identityOf(context);
    const { events } = await reader.list({ organizationId, connectionId, types: [], limit: 1 });
    if (events.length === 0) await connections.get(callerOf(context), connectionId);
  }
}

/** What the consumer says of an event that it gives up. @throws ConnectError validation_failed. */
function lastWords({ reason, attempts, eventId, type, subject }: AckRequest) {
  for (const [field, text] of Object.entries({ event_id: eventId, type, subject }))
    if (!VISIBLE.test(text)) throw invalid(`${field} is at most 256 visible ASCII characters`);
  return { reason, attempts, said: { id: eventId, type, subject } };
}

const VISIBLE = /^[\x21-\x7e]{0,256}$/;

const OUTCOMES: Readonly<Record<number, "handled" | "dead_letter">> = {
  [Outcome.UNSPECIFIED]: "handled",
  [Outcome.HANDLED]: "handled",
  [Outcome.DEAD_LETTER]: "dead_letter",
};

/** What an enum's number stands for: proto3 lets every number through. @throws ConnectError validation_failed. */
export function chosen<T>(meanings: Readonly<Record<number, T>>, value: number, field: string): T {
  const meaning = meanings[value];
  if (meaning === undefined) throw invalid(`${field} is none of the contract's`);
  return meaning;
}

/** @throws ConnectError validation_failed. */
export function consumerName(name: string): string {
  if (!CONSUMER_NAME.test(name)) throw invalid("consumer must be 1 to 64 of a-z, 0-9 and -");
  return name;
}

/** One that stands: "_" is in front of those on NATS that hear every organisation. @throws ConnectError validation_failed. */
export function knownConsumer(name: string): string {
  if (!KNOWN_CONSUMER.test(name)) throw invalid("consumer must be 1 to 64 of a-z, 0-9 and -, after a _ or not");
  return name;
}

/** @param type "" for none. @throws ConnectError validation_failed. */
export function knownType(type: string): string | undefined {
  if (type !== "" && !eventTypes.has(type)) throw invalid("type is no event type");
  return type === "" ? undefined : type;
}

/** @throws ConnectError validation_failed. */
export function knownTypes(types: readonly string[]): readonly string[] {
  if (types.some((type) => !eventTypes.has(type))) throw invalid("types holds a name that is no event type");
  return types;
}

/** @throws ConnectError validation_failed. */
export function pageSize(asked: number): number {
  if (asked > PAGE_EVENTS_MAX) throw invalid(`page_size is at most ${PAGE_EVENTS_MAX}`);
  return asked === 0 ? PAGE_DEFAULT : asked;
}

/** Years 1 to 9999, as protobuf has them; bytes can say more. */
function instant(timestamp: Timestamp): number {
  const ms = timestampMs(timestamp);
  if (!(ms >= -62_135_596_800_000 && ms <= 253_402_300_799_999)) throw invalid("a time is of the years 1 to 9999");
  return ms;
}

function uuid(id: string, field: string): string {
  if (!/^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/.test(id)) throw invalid(`${field} must be a UUID`);
  return id;
}

const responseOf = (event: StreamedEvent): SubscribeResponse =>
  event.gone === undefined ? eventOf(event) : goneOf(event, event.gone);

const goneOf = ({ organizationId, connectionId, sequence }: StreamedEvent, gone: bigint): SubscribeResponse =>
  create(SubscribeResponseSchema, { organizationId, connectionId, sequence, gone });

const eventOf = (event: StreamedEvent): SubscribeResponse =>
  create(SubscribeResponseSchema, {
    id: event.id,
    type: event.type,
    organizationId: event.organizationId,
    connectionId: event.connectionId,
    connector: event.connector,
    objectKey: event.objectKey,
    sequence: event.sequence,
    subject: event.subject,
    time: timestampFromMs(event.timeMs),
    data: event.payload,
    backfill: event.backfill,
    traceparent: event.traceparent,
    attempt: event.attempt,
    replayId: event.replayId,
    redrive: event.redrive,
  });

function storedEvent(event: ReadEvent, personalData: boolean): StoredEvent {
  const { id, type, connectionId, connector, sequence, objectKey, subject, backfill, traceparent } = event;
  const shared = { id, type, connectionId, connector, sequence, objectKey, subject, backfill, traceparent };
  const payload = payloadJson(type, event.payload, personalData);
  return create(StoredEventSchema, {
    ...shared,
    time: timestampFromMs(event.timeMs),
    committedAt: timestampFromMs(event.committedAtMs),
    ...(payload === undefined ? {} : { payload }),
    ...(personalData ? { data: event.payload } : {}),
  });
}

const STATES = {
  running: ReplayState.RUNNING,
  done: ReplayState.DONE,
  cancelled: ReplayState.CANCELLED,
  failed: ReplayState.FAILED,
} as const satisfies Record<ReplayView["state"], ReplayState>;

const replayStatus = (replay: ReplayView): ReplayStatus =>
  create(ReplayStatusSchema, {
    id: replay.id,
    state: STATES[replay.state],
    consumer: replay.consumer ?? "",
    until: timestampFromMs(replay.untilMs),
    types: [...replay.types],
    connectionIds: [...replay.connectionIds],
    eventsPerSecond: replay.eventsPerSecond,
    total: BigInt(replay.total ?? 0),
    done: BigInt(replay.done),
    targets: replay.targets.map(({ consumer, road, done, ended }) => ({
      consumer,
      road: road === "http" ? Road.HTTP : Road.NATS,
      done: BigInt(done),
      ended,
    })),
    createdAt: timestampFromMs(replay.createdAtMs),
    reason: replay.reason,
    ...(replay.fromMs === undefined ? {} : { from: timestampFromMs(replay.fromMs) }),
    ...(replay.endedAtMs === undefined ? {} : { endedAt: timestampFromMs(replay.endedAtMs) }),
  });

/** Fields of messages inside an event stand in the list by their path. */
const catalogue: readonly EventType[] = eventCatalogue.events.map(({ type, meaning, subject, fields, example }) =>
  create(EventTypeSchema, {
    type,
    meaning,
    subject: subject.replace("{organization}", "<organization>").replace("{connector}", "<connector>"),
    fields: fieldsOf(fields, "", 4),
    example,
  }),
);

function fieldsOf(fields: readonly CatalogueField[], prefix: string, depth: number): { [key: string]: unknown }[] {
  return fields.flatMap((field) => {
    const path = `${prefix}${field.jsonName}${field.repeated ? "[]" : ""}`;
    const inside = eventCatalogue.types.find(({ type, kind }) => type === field.type && kind === "message");
    const { type, meaning, personalData } = field;
    return [
      { path, type, meaning, personalData },
      ...(inside === undefined || depth === 0 ? [] : fieldsOf(inside.fields, `${path}.`, depth - 1)),
    ];
  });
}
