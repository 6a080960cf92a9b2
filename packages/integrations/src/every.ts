/** Whoever stops a chore waits so long for the turn under way: longer than one request to a provider takes, shorter than an orchestrator's patience. */
const STOP_MS_MAX = 15_000;

export interface EveryOptions {
  /** Between the beginnings of two turns, at least. */
  readonly everyMs: number;
  /** Told what a turn failed with; the next one comes all the same. */
  readonly onError: (error: unknown) => void;
  /** How long stopping waits. Default 15,000. */
  readonly stopMsMax?: number;
}

/**
 * Does a chore now and then, once at a time: a turn that is due while another is under way is left out. The first is due
 * after `everyMs`.
 * @returns a function that ends it: no turn begins any more, and it waits for the one under way, within a bound.
 */
export function every(chore: () => Promise<unknown>, options: EveryOptions): () => Promise<void> {
  const { everyMs, onError, stopMsMax = STOP_MS_MAX } = options;
  let turn: Promise<void> | undefined;
  const timer = setInterval(() => {
    turn ??= begin(chore)
      .catch(onError)
      .finally(() => (turn = undefined));
  }, everyMs);
  return async () => {
    clearInterval(timer);
    if (turn === undefined) return;
    const bound = Promise.withResolvers<void>();
    const patience = setTimeout(bound.resolve, stopMsMax);
    await Promise.race([turn, bound.promise]);
    clearTimeout(patience);
  };
}

/** What is thrown at once is a failed turn as well. */
const begin = async (chore: () => Promise<unknown>): Promise<void> => {
  await chore();
};
