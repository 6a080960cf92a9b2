/**
 * Several sources as one, in the order in which their values come. When one of them fails or the consumer stops
 * reading, the others are told by the signal and closed before this ends.
 * @param giveUp told of each value that was read ahead and that nobody will see.
 */
export async function* merge<T>(
  signal: AbortSignal,
  open: (signal: AbortSignal) => readonly AsyncGenerator<T>[],
  giveUp: (value: T) => void,
): AsyncGenerator<T> {
  const over = new AbortController();
  const generators = open(AbortSignal.any([signal, over.signal]));
  const ask = (generator: AsyncGenerator<T>) => generator.next().then((result) => ({ generator, result }));
  const asked = new Map(generators.map((generator) => [generator, ask(generator)]));
  try {
    while (asked.size > 0) {
      const { generator, result } = await Promise.race(asked.values());
      if (result.done === true) asked.delete(generator);
      else {
        asked.set(generator, ask(generator));
        yield result.value;
      }
    }
  } finally {
    over.abort();
    for (const ahead of await Promise.allSettled(asked.values()))
      if (ahead.status === "fulfilled" && ahead.value.result.done !== true) giveUp(ahead.value.result.value);
    await Promise.allSettled(generators.map((generator) => generator.return(undefined)));
  }
}
