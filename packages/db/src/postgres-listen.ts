import postgres from "postgres";
import { setTimeout as sleep } from "node:timers/promises";

const AGAIN_MS = 250;

/** The driver's own backoff goes to twenty seconds, which a restart of the server does not deserve. */
const RECONNECT_SECONDS_MAX = 1;

/** For the driver: how long to wait before it connects again. */
export const backoff = (retries: number): number => Math.min(RECONNECT_SECONDS_MAX, 0.05 * 2 ** retries);

/**
 * Listens on a connection of its own until stopped, and again whenever that was lost. The driver's own `listen` asks once
 * after a loss: it stays deaf when the server is not back by then.
 */
export async function listenOn(
  url: string,
  channel: string,
  onNotify: (payload: string) => void,
): Promise<() => Promise<void>> {
  const stopping = new AbortController();
  let listening: Promise<void> | undefined;
  const sql = postgres(url, {
    max: 1,
    // Neither ends a connection that only waits.
    idle_timeout: 0,
    max_lifetime: null,
    fetch_types: false,
    backoff,
    onnotice: () => {},
    connection: { application_name: "tributary-listen" },
    onnotify: (heard: string, payload: string) => {
      if (heard === channel) onNotify(payload);
    },
    onclose: () => {
      if (!stopping.signal.aborted) listening ??= again().finally(() => (listening = undefined));
    },
  } as Parameters<typeof postgres>[1]);

  async function again(): Promise<void> {
    while (!stopping.signal.aborted) {
      await sleep(AGAIN_MS, undefined, { signal: stopping.signal }).catch(() => {});
      const heard = await listen().then(
        () => true,
        () => false,
      );
      if (heard) return;
    }
  }
  const listen = async (): Promise<void> => {
    if (!stopping.signal.aborted) await sql`LISTEN ${sql(channel)}`;
  };

  await listen();
  return async () => {
    stopping.abort();
    await sql.end({ timeout: 1 });
    await listening;
  };
}
