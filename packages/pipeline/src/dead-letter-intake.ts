import { type Database, run, withOrganization } from "@tributary/db";
import { storable } from "./dead-letters.ts";
import type { BrokerLetter, SideRoad } from "./side-road.ts";

/**
 * Takes in what consumers on NATS gave up on, so that one list has the dead letters of both roads. Every hub may: the
 * broker gives each letter to one of them, and keeping one twice changes nothing.
 * @returns a function that stops it.
 */
export function startDeadLetterIntake(database: Database, nats: SideRoad): () => Promise<void> {
  const stopping = new AbortController();
  const taking = nats.takeLetters((letter) => keepLetter(database, letter), stopping.signal);
  return async () => {
    stopping.abort();
    await taking;
  };
}

/** The event is the ledger's where it is still retained: a sender's word counts only for what nobody else knows. */
const KEEP = `
WITH given AS (
  SELECT $1::text AS organization_id, $2::text AS consumer, $3::uuid AS connection_id, $4::bigint AS sequence,
    $5::text AS event_id, $6::text AS type, $7::text AS subject, $8::text AS connector, $9::text AS object_key,
    to_timestamp($10::float8 / 1000) AS time, $11::boolean AS backfill, $12::text AS traceparent, $13::bytea AS payload
)
INSERT INTO pipeline.dead_letter AS d (organization_id, road, consumer, connection_id, sequence, event_id, type, subject,
  connector, object_key, time, backfill, traceparent, payload, replay_id, redrives, reason, attempts, died_at)
SELECT g.organization_id, 'nats', g.consumer, g.connection_id, g.sequence, coalesce(e.id, g.event_id),
  coalesce(e.type, g.type), coalesce(e.subject, g.subject), coalesce(e.connector, g.connector),
  coalesce(e.object_key, g.object_key), coalesce(e.time, g.time), coalesce(e.backfill, g.backfill),
  coalesce(e.traceparent, g.traceparent), coalesce(e.payload, g.payload), $14, $15, $16, $17,
  to_timestamp($18::float8 / 1000)
FROM given g LEFT JOIN pipeline.event e
  ON e.organization_id = g.organization_id AND e.connection_id = g.connection_id AND e.sequence = g.sequence
ON CONFLICT (organization_id, road, consumer, connection_id, sequence, replay_id) DO UPDATE
SET reason = excluded.reason, attempts = excluded.attempts, redrives = greatest(d.redrives, excluded.redrives),
  died_at = greatest(d.died_at, excluded.died_at)`;

export async function keepLetter(database: Database, letter: BrokerLetter): Promise<void> {
  const { consumer, event, replayId, redrives, reason, attempts, diedAtMs } = letter;
  const { organizationId, connectionId, sequence, id, type, subject, connector, objectKey } = event;
  const given = [organizationId, consumer, connectionId, sequence, id, type, subject, connector, objectKey];
  const rest = [event.timeMs, event.backfill, event.traceparent, event.payload];
  const fate = [replayId, redrives, storable(reason), attempts, diedAtMs];
  await withOrganization(database, organizationId, (tx) => run(tx, KEEP, [...given, ...rest, ...fate]));
}
