import { DEATH } from "./agreed.ts";

/**
 * The steps of the path, and how a process is seen to be at one. Nothing in production code knows of them: statements
 * are told by their text where the database is handed in, messages by what is on the socket to the broker, or between hub
 * and subscriber, and everything else by a function that is handed in as well.
 */
export interface Point {
  readonly name: string;
  readonly role: Role;
  readonly means: string;
  /** A statement: before it is sent, and when its answer is there, inside the transaction. */
  readonly statement?: RegExp;
  /** The transaction that ran such a statement: before COMMIT is sent, and when it is acknowledged. */
  readonly transaction?: RegExp;
  /** A frame on the wire: before it is written, when half of it is written, and when all of it is. */
  readonly sent?: RegExp;
  /** A frame from the wire: before it is looked at, and after. */
  readonly received?: RegExp;
  /** Where only one road has it. */
  readonly road?: Road;
  readonly moments: readonly Moment[];
}

/** "serve": the part of a hub that subscribers ask. "append": commits events without a run, as a second writer. */
export type Role = "commit" | "relay" | "subscribe" | "serve" | "append";
/** What a subscriber reads: the stream of a broker, or a hub's, which is the ledger. */
export type Road = "nats" | "http";
/** "half": part of a window is on the wire, and the rest never follows. */
export type Moment = "before" | "half" | "after";

const BOTH = ["before", "after"] as const;
const THREE = ["before", "half", "after"] as const;

export const POINTS: readonly Point[] = [
  {
    name: "commit.claim",
    role: "commit",
    means: "the lease of a due connection",
    transaction: /SET lease_token = c\.lease_token \+ 1/,
    moments: BOTH,
  },
  {
    name: "commit.cursor",
    role: "commit",
    means: "reading the cursor",
    statement: /inner join "integrations"\."credential"/,
    moments: BOTH,
  },
  { name: "commit.fetch", role: "commit", means: "asking the provider", moments: BOTH },
  {
    name: "commit.guard",
    role: "commit",
    means: "the lease checked and the cursor moved, in the transaction",
    statement: /SET meta = CASE WHEN/,
    moments: BOTH,
  },
  {
    name: "commit.state",
    role: "commit",
    means: "deciding what is new",
    statement: /INSERT INTO integrations\.object_state/,
    moments: BOTH,
  },
  { name: "commit.append", role: "commit", means: "the events and their sequences", moments: BOTH },
  {
    name: "commit.commit",
    role: "commit",
    means: "COMMIT of cursor and events",
    transaction: /SET meta = CASE WHEN/,
    moments: BOTH,
  },
  { name: "commit.handoff", role: "commit", means: "telling the relay", moments: BOTH },
  {
    name: "commit.settle",
    role: "commit",
    means: "the end of the run, the lease given back",
    transaction: /SET failures = \$4, lease_until = NULL/,
    moments: BOTH,
  },
  {
    name: "relay.lead",
    role: "relay",
    means: "taking and renewing the leadership",
    transaction: /INSERT INTO pipeline\.relay_leader/,
    moments: BOTH,
  },
  {
    name: "relay.reconcile",
    role: "relay",
    means: "asking what was acknowledged last",
    statement: /SELECT last_stream_sequence AS last/,
    moments: BOTH,
  },
  {
    name: "relay.look",
    role: "relay",
    means: "looking for connections with unpublished events",
    statement: /head > published AND parked_sequence IS NULL AND connection_id > \$1/,
    moments: BOTH,
  },
  {
    name: "relay.read",
    role: "relay",
    means: "reading a window from the ledger",
    statement: /pipeline\.events_after\(c\.id/,
    moments: BOTH,
  },
  {
    name: "relay.publish",
    role: "relay",
    means: "a window on the wire",
    sent: /HPUB (?:evt|sys)\.v1\./,
    moments: THREE,
  },
  {
    name: "relay.ack",
    role: "relay",
    means: "the broker's acknowledgements",
    received: /MSG _INBOX\.\S+ .*\r\n\{"stream":/,
    moments: BOTH,
  },
  {
    name: "relay.record",
    role: "relay",
    means: "COMMIT of positions and acknowledged ranges",
    transaction: /INSERT INTO pipeline\.ack_range/,
    moments: BOTH,
  },
  {
    name: "subscribe.deliver",
    role: "subscribe",
    means: "events from the broker",
    received: /HMSG (?:evt|sys)\.v1\.|tributary\.task\.v1\.Task/,
    moments: BOTH,
  },
  {
    name: "subscribe.inbox",
    role: "subscribe",
    means: "the inbox row",
    statement: /INSERT INTO crash\.inbox/,
    moments: BOTH,
  },
  {
    name: "subscribe.effect",
    role: "subscribe",
    means: "the effect",
    statement: /INSERT INTO crash\.effect/,
    moments: BOTH,
  },
  {
    name: "subscribe.commit",
    role: "subscribe",
    means: "COMMIT of effect and inbox row",
    transaction: /INSERT INTO crash\.inbox/,
    moments: BOTH,
  },
  {
    name: "subscribe.letter",
    role: "subscribe",
    means: "a dead letter on its way",
    sent: new RegExp(DEATH),
    moments: BOTH,
  },
  {
    name: "subscribe.ack",
    role: "subscribe",
    means: "the acknowledgement",
    sent: /PUB \$JS\.ACK\.|EventService\/Ack/,
    moments: BOTH,
  },
  // Before those that are told by less of a frame.
  {
    name: "serve.again",
    role: "serve",
    means: "replayed and redriven events on their way to the broker",
    sent: /HPUB rpl\.v1\./,
    road: "nats",
    moments: THREE,
  },
  {
    name: "serve.acquire",
    role: "serve",
    means: "taking a consumer over, to serve it",
    transaction: /INSERT INTO pipeline\.consumer AS c/,
    road: "http",
    moments: BOTH,
  },
  {
    name: "serve.read",
    role: "serve",
    means: "reading a consumer's next events",
    statement: /pipeline\.events_after\(\$1, \$3, \$4, \$6\)/,
    road: "http",
    moments: BOTH,
  },
  {
    name: "serve.send",
    role: "serve",
    means: "events on their way to a subscriber",
    sent: /tributary\.task\.v1\.Task/,
    road: "http",
    moments: THREE,
  },
  {
    name: "serve.settle",
    role: "serve",
    means: "COMMIT of how far a consumer has come",
    transaction: /INSERT INTO pipeline\.consumer_position AS c .*\nSELECT organization_id/,
    road: "http",
    moments: BOTH,
  },
  {
    name: "serve.letter",
    role: "serve",
    means: "COMMIT of a dead letter",
    transaction: /INSERT INTO pipeline\.dead_letter AS d/,
    moments: BOTH,
  },
  {
    name: "serve.redrive",
    role: "serve",
    means: "COMMIT that dead letters are delivered again",
    transaction: /SET state = 'redriving'/,
    moments: BOTH,
  },
  {
    name: "serve.revive",
    role: "serve",
    means: "COMMIT that a dead letter is none any more",
    transaction: /DELETE FROM pipeline\.dead_letter (?:d USING unnest|WHERE organization_id = \$1 AND road)/,
    moments: BOTH,
  },
  {
    name: "serve.replay",
    role: "serve",
    means: "COMMIT of how far a replay has come",
    transaction: /UPDATE pipeline\.replay_target (?:t )?SET place_connection/,
    moments: BOTH,
  },
];
