import {
  bigint,
  boolean,
  customType,
  date,
  index,
  integer,
  jsonb,
  pgSchema,
  primaryKey,
  text,
  timestamp,
  uuid,
} from "drizzle-orm/pg-core";

/** Tables of this package; `migrations/` creates them and says why each exists. Partitions are made by partitions.ts. */
const pipeline = pgSchema("pipeline");
const instant = (name: string) => timestamp(name, { withTimezone: true, mode: "string" });
const count = (name: string) => bigint(name, { mode: "bigint" });
const bytes = customType<{ data: Uint8Array }>({ dataType: () => "bytea" });

export const event = pipeline.table(
  "event",
  {
    day: date("day").notNull(),
    connectionId: uuid("connection_id").notNull(),
    sequence: count("sequence").notNull(),
    organizationId: text("organization_id").notNull(),
    connector: text("connector").notNull(),
    id: text("id").notNull(),
    type: text("type").notNull(),
    subject: text("subject").notNull(),
    objectKey: text("object_key").notNull(),
    time: instant("time").notNull(),
    backfill: boolean("backfill").notNull(),
    traceparent: text("traceparent").notNull(),
    committedAt: instant("committed_at").notNull(),
    payload: bytes("payload").notNull(),
  },
  (table) => [primaryKey({ columns: [table.connectionId, table.sequence, table.day] })],
);

export const position = pipeline.table(
  "position",
  {
    connectionId: uuid("connection_id").primaryKey(),
    organizationId: text("organization_id").notNull(),
    head: count("head").notNull(),
    day: date("day").notNull(),
    published: count("published").notNull().default(0n),
    parkedSequence: count("parked_sequence"),
    parkedReason: text("parked_reason"),
    parkedAt: instant("parked_at"),
    erased: count("erased").notNull().default(0n),
  },
  (table) => [index("position_organization").on(table.organizationId, table.connectionId)],
);

export const relayLeader = pipeline.table("relay_leader", {
  stream: text("stream").primaryKey(),
  holder: uuid("holder").notNull(),
  token: count("token").notNull(),
  until: instant("until").notNull(),
});

export const ackRange = pipeline.table(
  "ack_range",
  {
    stream: text("stream").notNull(),
    lastStreamSequence: count("last_stream_sequence").notNull(),
    firstStreamSequence: count("first_stream_sequence").notNull(),
    streamCreated: text("stream_created").notNull(),
    ranges: jsonb("ranges").notNull(),
    ackedAt: instant("acked_at").notNull(),
  },
  (table) => [primaryKey({ columns: [table.stream, table.lastStreamSequence] })],
);

export const consumer = pipeline.table(
  "consumer",
  {
    organizationId: text("organization_id").notNull(),
    name: text("name").notNull(),
    types: text("types").array().notNull(),
    createdAt: instant("created_at").notNull(),
    lastSeenAt: instant("last_seen_at").notNull(),
    holder: uuid("holder"),
    until: instant("until").notNull(),
    afterDeadLetter: text("after_dead_letter").$type<"continue" | "hold">().notNull().default("continue"),
  },
  (table) => [primaryKey({ columns: [table.organizationId, table.name] })],
);

export const consumerPosition = pipeline.table(
  "consumer_position",
  {
    organizationId: text("organization_id").notNull(),
    consumer: text("consumer").notNull(),
    connectionId: uuid("connection_id").notNull(),
    settled: count("settled").notNull(),
    ahead: count("ahead").array().notNull().default([]),
  },
  (table) => [primaryKey({ columns: [table.organizationId, table.consumer, table.connectionId] })],
);

export const deadLetter = pipeline.table(
  "dead_letter",
  {
    organizationId: text("organization_id").notNull(),
    consumer: text("consumer").notNull(),
    connectionId: uuid("connection_id").notNull(),
    sequence: count("sequence").notNull(),
    eventId: text("event_id").notNull(),
    type: text("type").notNull(),
    reason: text("reason").notNull(),
    diedAt: instant("died_at").notNull(),
    id: uuid("id").notNull().defaultRandom(),
    road: text("road").$type<"http" | "nats">().notNull().default("http"),
    replayId: text("replay_id").notNull().default(""),
    state: text("state").$type<"dead" | "redriving">().notNull().default("dead"),
    attempts: integer("attempts").notNull().default(0),
    redrives: integer("redrives").notNull().default(0),
    connector: text("connector").notNull().default(""),
    subject: text("subject").notNull().default(""),
    objectKey: text("object_key").notNull().default(""),
    time: instant("time").notNull().defaultNow(),
    backfill: boolean("backfill").notNull().default(false),
    traceparent: text("traceparent").notNull().default(""),
    payload: bytes("payload").notNull(),
  },
  (table) => [
    primaryKey({
      columns: [table.organizationId, table.road, table.consumer, table.connectionId, table.sequence, table.replayId],
    }),
  ],
);

export const replay = pipeline.table(
  "replay",
  {
    organizationId: text("organization_id").notNull(),
    id: uuid("id").notNull(),
    idempotencyKey: text("idempotency_key"),
    consumer: text("consumer"),
    types: text("types").array().notNull(),
    connectionIds: uuid("connection_ids").array().notNull(),
    fromAt: instant("from_at"),
    untilAt: instant("until_at").notNull(),
    eventsPerSecond: integer("events_per_second").notNull(),
    state: text("state").$type<"running" | "done" | "cancelled" | "failed">().notNull().default("running"),
    reason: text("reason").notNull().default(""),
    total: count("total"),
    createdBy: text("created_by").notNull(),
    createdAt: instant("created_at").notNull().defaultNow(),
    endedAt: instant("ended_at"),
    holder: uuid("holder"),
    leaseUntil: instant("lease_until").notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.organizationId, table.id] })],
);

export const replayTarget = pipeline.table(
  "replay_target",
  {
    organizationId: text("organization_id").notNull(),
    replayId: uuid("replay_id").notNull(),
    road: text("road").$type<"http" | "nats">().notNull(),
    consumer: text("consumer").notNull(),
    placeConnection: uuid("place_connection").notNull().default("00000000-0000-0000-0000-000000000000"),
    placeSequence: count("place_sequence").notNull().default(0n),
    done: count("done").notNull().default(0n),
    ended: boolean("ended").notNull().default(false),
    ahead: text("ahead").array().notNull().default([]),
  },
  (table) => [primaryKey({ columns: [table.organizationId, table.replayId, table.road, table.consumer] })],
);
