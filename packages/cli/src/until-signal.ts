/** Somebody pressed Ctrl-C, a supervisor wants the end, or the terminal was closed. */
const ENDING = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Runs what goes on until somebody ends it. @param work its signal aborts when the process is told to end. */
export async function untilSignal<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const ended = new AbortController();
  const end = (): void => ended.abort();
  for (const name of ENDING) process.once(name, end);
  try {
    return await work(ended.signal);
  } finally {
    for (const name of ENDING) process.off(name, end);
  }
}
