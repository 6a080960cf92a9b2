import { asOwner, type Database, run } from "@tributary/db";
import { postgresInbox } from "@tributary/subscriber";
import type { StreamedEvent } from "@tributary/pipeline";
import type { HubProcess } from "./hub-process.ts";
import { mortalDatabase } from "./mortal-database.ts";
import { createProcess, inProcess, type Process } from "./processes.ts";
import type { Turns } from "./turns.ts";

/** A service that follows one organisation's events, and writes each of them down once. */
export interface SubscriberProcess {
  readonly process: Process;
  readonly organizationId: string;
  readonly servedBy: HubProcess;
  /** The hub sees that the connection is gone. */
  hangUp(): void;
}

interface Tx {
  query(text: string, parameters: unknown[]): Promise<{ rows: object[] }>;
}

const CONSUMER = "simulation";
const WINDOW = 8;
const EFFECT = `
INSERT INTO sim.effect (connection_id, sequence, event_id, type, object_key, payload) VALUES ($1, $2, $3, $4, $5, $6)`;

export interface SubscriberParts {
  readonly database: Database;
  readonly turns: Turns;
  readonly servedBy: HubProcess;
  /** It cannot go on, and ends. */
  readonly failed: (subscriber: SubscriberProcess, error: unknown) => void;
}

export function startSubscriber(
  name: string,
  organizationId: string,
  { database, turns, servedBy, failed }: SubscriberParts,
): SubscriberProcess {
  const process = createProcess(name);
  const own = mortalDatabase(database, { process, turns, engine: "postgres", committed: () => {} });
  const inbox = postgresInbox<Tx>({
    consumer: CONSUMER,
    table: "sim.inbox",
    transaction: (work) =>
      asOwner(own, (tx) => work({ query: async (text, params) => ({ rows: await run<object>(tx, text, params) }) })),
  });
  /** What the hub does for it is the hub's, as over HTTP: it dies with the hub. */
  const atHub = <T>(work: () => T): T => inProcess(servedBy.process, work);
  const key = { organizationId, consumer: CONSUMER };
  const gone = new AbortController();
  const events = atHub(() => servedBy.stream.subscribe({ ...key, types: [], window: WINDOW, signal: gone.signal }));

  /** Handles one event after the other. What it could not settle is sent again to whoever subscribes next. */
  async function follow(): Promise<void> {
    for (;;) {
      const { value: event, done } = await atHub(() => events.next());
      if (done === true) return;
      await inbox.once(event.id, (tx) => effect(tx, event));
      const { connectionId, sequence } = event;
      await atHub(() => servedBy.stream.settle({ ...key, connectionId, sequence, outcome: "handled" }));
    }
  }
  const subscriber: SubscriberProcess = {
    process,
    organizationId,
    servedBy,
    hangUp: () =>
      atHub(() => {
        gone.abort();
        void events.return(undefined).catch(() => {});
      }),
  };
  turns.start(process, () => follow().catch((error: unknown) => failed(subscriber, error)));
  return subscriber;
}

async function effect(tx: Tx, { connectionId, sequence, id, type, objectKey, payload }: StreamedEvent): Promise<void> {
  await tx.query(EFFECT, [connectionId, sequence, id, type, objectKey, payload]);
}
