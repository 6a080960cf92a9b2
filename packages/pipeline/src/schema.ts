import {
  bigint,
  boolean,
  customType,
  date,
  index,
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
  },
  (table) => [primaryKey({ columns: [table.organizationId, table.consumer, table.connectionId, table.sequence] })],
);
