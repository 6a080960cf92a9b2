import type { RpcOptions } from "@tributary/api";
import type { Database } from "@tributary/db";
import type { Log } from "@tributary/integrations";
import {
  createConsumers,
  createDeadLetters,
  createEventReader,
  createReplays,
  type EventStream,
  openSideRoad,
  startDeadLetterIntake,
  startReplayRunner,
} from "@tributary/pipeline";
import { randomUUID } from "node:crypto";
import type { Config } from "./config.ts";

export type EventServices = Pick<RpcOptions, "reader" | "replays" | "deadLetters" | "consumers">;

/**
 * What stands beside the stream of live events: looking at the ledger, replays, dead letters, consumers; with a broker,
 * over both roads. Its parts are closed by what is added to `opened`, the last one first.
 */
export function openEventServices(
  config: Pick<Config, "natsUrl" | "organizationId" | "replayEventsPerSecond">,
  { database, stream, log }: { readonly database: Database; readonly stream: EventStream; readonly log: Log },
  opened: (() => Promise<void> | void)[],
): EventServices {
  const nats = config.natsUrl === undefined ? undefined : openSideRoad({ servers: config.natsUrl, log });
  const road = nats === undefined ? {} : { nats };
  if (nats !== undefined) {
    opened.push(() => nats.close());
    opened.push(startDeadLetterIntake(database, nats));
  }
  opened.push(startReplayRunner({ database, ...road, holder: randomUUID(), log }));
  const operator = config.organizationId;
  return {
    reader: createEventReader(database, () => Date.now()),
    deadLetters: createDeadLetters(database, nats),
    consumers: createConsumers({
      database,
      ...road,
      operator,
      outstanding: (organizationId, consumer) => stream.outstanding(organizationId, consumer),
    }),
    replays: createReplays({
      database,
      ...road,
      operator,
      uuid: randomUUID,
      eventsPerSecond: config.replayEventsPerSecond,
    }),
  };
}
