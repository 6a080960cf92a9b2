import type { AgainEvent } from "./replay-feed.ts";

type Sent = Pick<AgainEvent, "connectionId" | "sequence" | "replayId" | "redrive">;

/** How often each event was sent to a consumer that has not settled it. Memory is bounded. */
export interface Attempts {
  /** @returns how often the event has been sent, this time included. */
  next(event: Sent): number;
  settled(event: Sent): void;
  readonly size: number;
}

/** Twice the largest window. What is settled by way of another process is never told of here: the oldest has to go. */
export const ATTEMPTS_MAX = 20_000;

export function createAttempts(): Attempts {
  /** The longest unsent first. */
  const counts = new Map<string, number>();
  return {
    next: (event) => {
      const name = nameOf(event);
      const attempt = (counts.get(name) ?? 0) + 1;
      counts.delete(name);
      counts.set(name, attempt);
      const [oldest] = counts.keys();
      if (counts.size > ATTEMPTS_MAX && oldest !== undefined) counts.delete(oldest);
      return attempt;
    },
    settled: (event) => void counts.delete(nameOf(event)),
    get size() {
      return counts.size;
    },
  };
}

const nameOf = ({ connectionId, sequence, replayId, redrive }: Sent): string =>
  `${connectionId} ${sequence} ${replayId} ${redrive}`;
