/** Values that are read ahead of the consumer at most, of all sources together. */
const AHEAD_MAX = 256;

/**
 * Several sources as one, in the order in which their values come. When one of them fails or the consumer stops
 * reading, the others are told by the signal and closed before this ends. Racing promises of `next` would be shorter,
 * but each race leaves a callback with the source that is silent: a leak of one for every event of the other.
 * @param giveUp told of each value that was read ahead and that nobody will see.
 */
export async function* merge<T>(
  signal: AbortSignal,
  open: (signal: AbortSignal) => readonly AsyncGenerator<T>[],
  giveUp: (value: T) => void,
): AsyncGenerator<T> {
  const over = new AbortController();
  const generators = open(AbortSignal.any([signal, over.signal]));
  const rooms: (() => void)[] = [];
  let ready: T[] = [];
  let running = generators.length;
  let failure: { readonly error: unknown } | undefined;
  let wake = (): void => {};
  const pump = async (generator: AsyncGenerator<T>): Promise<void> => {
    try {
      for await (const value of generator) {
        if (over.signal.aborted) {
          giveUp(value);
          return;
        }
        ready.push(value);
        wake();
        if (ready.length >= AHEAD_MAX) await new Promise<void>((resolve) => rooms.push(resolve));
      }
    } catch (error) {
      failure ??= { error };
    } finally {
      running--;
      wake();
    }
  };
  const pumps = generators.map(pump);
  const makeRoom = (): void => {
    for (const resolve of rooms.splice(0)) resolve();
  };
  let taken: T[] = [];
  let next = 0;
  try {
    for (;;) {
      for (; next < taken.length;) yield taken[next++] as T;
      [taken, ready, next] = [ready, [], 0];
      makeRoom();
      if (taken.length > 0) continue;
      if (failure !== undefined) throw failure.error;
      if (running === 0) return;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    over.abort();
    makeRoom();
    for (const value of [...taken.slice(next), ...ready.splice(0)]) giveUp(value);
    await Promise.allSettled(pumps);
  }
}
