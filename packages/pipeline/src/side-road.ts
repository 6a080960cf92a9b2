import type { LedgerEvent } from "./ledger.ts";

/** An event that is delivered again, and what marks it. */
export interface SideEvent {
  readonly event: LedgerEvent;
  /** What brings it: the replay, or the dead letter. It is a token of the subject, and part of the message id. */
  readonly via: string;
  readonly replayId?: string;
  readonly redrive?: number;
  /** The only consumer that it is for. */
  readonly onlyFor?: string;
}

/** A consumer of JetStream, as an organisation may know it. */
export interface BrokerConsumer {
  /** Of the organisation; "_" in front of one that hears every organisation. */
  readonly name: string;
  /** "" when it hears everything. */
  readonly filterSubject: string;
  /** Messages that it has not been sent. */
  readonly pending: number;
  /** Sent and not settled. */
  readonly outstanding: number;
  /** Whether somebody pulls. */
  readonly connected: boolean;
  readonly lastSeenAtMs: number | undefined;
  readonly createdAtMs: number;
}

/** A dead letter that a subscriber left on NATS. */
export interface BrokerLetter {
  readonly consumer: string;
  readonly event: LedgerEvent;
  readonly replayId: string;
  readonly redrives: number;
  readonly reason: string;
  readonly attempts: number;
  readonly diedAtMs: number;
}

/** The broker beside the live events: replays and redriven letters go out, dead letters come in. */
export interface SideRoad {
  /**
   * Publishes in order, on the replay stream.
   * @returns what the broker can never take, because it is too large. @throws SideRoadAway when not all else is stored.
   */
  publish(events: readonly SideEvent[]): Promise<ReadonlySet<LedgerEvent>>;
  /** The last event that was stored for a replay; undefined when none is. */
  lastPublished(replayId: string): Promise<{ readonly connectionId: string; readonly sequence: bigint } | undefined>;
  /**
   * The consumers that an organisation has, by their names on the broker.
   * @param everybodys Also those that hear every organisation.
   */
  consumers(organizationId: string, everybodys: boolean): Promise<readonly BrokerConsumer[]>;
  /** @returns whether it was made; false when one of that name stands, which is left as it is. */
  createConsumer(organizationId: string, name: string): Promise<boolean>;
  /** @returns whether the organisation, or with "_" in front everybody, had one of that name. */
  removeConsumer(organizationId: string, name: string): Promise<boolean>;
  /**
   * Hands every dead letter to `keep` and forgets it once that resolved. What is no letter of ours is let go.
   * Runs until the signal aborts.
   */
  takeLetters(keep: (letter: BrokerLetter) => Promise<void>, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** The broker does not answer, or does not take what it is given. Nothing is lost: it can be asked again. */
export class SideRoadAway extends Error {
  readonly code = "temporarily_unavailable";
  constructor(options?: ErrorOptions) {
    super("temporarily_unavailable: the broker does not take it now", options);
  }
}
