const GIVEN_UP_AFTER_MS = 5_000;

/** A connection was lost, and the transaction did not end by itself. Whether it was committed is not known. */
export class TransactionLost extends Error {
  override readonly name = "TransactionLost";
  readonly code = "transaction_lost";
  constructor() {
    super("transaction_lost: a connection to the database was lost, and the transaction got no answer");
  }
}

/**
 * Ends what the driver forgets: when the server goes away at a bad moment, a statement of a transaction may wait for ever
 * for an answer on a connection that is gone (seen with postgres 3.4.9 about once in fifteen immediate shutdowns; the
 * crash harness shows it). Whatever began before a connection was lost and has not ended five seconds later is given up.
 */
export interface Losses {
  /** Told of every connection that closed. */
  lost(): void;
  /** @throws TransactionLost; whatever the work throws. */
  bounded<T>(work: Promise<T>): Promise<T>;
}

export function createLosses(): Losses {
  const waiting = new Set<() => void>();
  return {
    lost: () => {
      for (const begin of waiting) begin();
    },
    bounded: (work) =>
      new Promise((resolve, reject) => {
        let timer: NodeJS.Timeout | undefined;
        const begin = (): void => {
          timer ??= setTimeout(() => reject(new TransactionLost()), GIVEN_UP_AFTER_MS);
        };
        waiting.add(begin);
        work.then(resolve, reject).finally(() => {
          waiting.delete(begin);
          clearTimeout(timer);
        });
      }),
  };
}
