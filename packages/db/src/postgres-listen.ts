import postgres from "postgres";
import { setTimeout as sleep } from "node:timers/promises";

const AGAIN_MS = 250;

/**
 * Listens on a connection of its own until stopped, and again whenever that was lost. The driver's own `listen` asks once
 * after a loss: it stays deaf when the server is not back by then.
 */
export async function listenOn(
  url: string,
  channel: string,
  onNotify: (payload: string) => void,
): Promise<() => Promise<void>> {
  let stopped = false;
  let listening: Promise<void> | undefined;
  const sql = postgres(url, {
    max: 1,
    // Neither ends a connection that only waits.
    idle_timeout: 0,
    max_lifetime: null,
    fetch_types: false,
    onnotice: () => {},
    connection: { application_name: "tributary-listen" },
    onnotify: (heard: string, payload: string) => {
      if (heard === channel) onNotify(payload);
    },
    onclose: () => {
      if (!stopped) listening ??= again().finally(() => (listening = undefined));
    },
  } as Parameters<typeof postgres>[1]);

  async function again(): Promise<void> {
    while (!stopped) {
      await sleep(AGAIN_MS);
      const heard = await listen().then(
        () => true,
        () => false,
      );
      if (heard) return;
    }
  }
  const listen = async (): Promise<void> => {
    if (!stopped) await sql`LISTEN ${sql(channel)}`;
  };

  await listen();
  return async () => {
    stopped = true;
    await sql.end({ timeout: 1 });
    await listening;
  };
}
